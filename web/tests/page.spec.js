/** The built page in Chromium: its numbers against the project's own, what people do, and what it must not do. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { expect, test } from "@playwright/test";

const GOLDEN = "../build/web-golden";
const golden = JSON.parse(readFileSync(`${GOLDEN}/golden.json`, "utf8"));
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// z may differ by 0.02 sigma. Weights in float16 alone make 0.003 (docs/exports.md).
const Z = 0.02;
const largest = (a, b) => Math.max(...a.map((value, i) => Math.abs(value - b[i])));

const status = (page) => page.getByRole("status");
const open = async (page) => {
  await page.goto("/");
  await expect(status(page)).toHaveText(/^Ready/, { timeout: 30_000 });
};
/** A golden photo by its name, or {name, mimeType, buffer}. */
const choose = (page, file) =>
  page.getByLabel("Choose a photo").setInputFiles(typeof file === "string" ? `${GOLDEN}/${file}` : file);
const saved = async (page) => {
  const waiting = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save as JSON" }).click();
  const download = await waiting;
  return JSON.parse(readFileSync(await download.path(), "utf8"));
};
/** RGB of the crop that the page shows. */
const crop = (page) =>
  page.evaluate(() => {
    const canvas = document.getElementById("crop");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return Array.from(data).filter((_, i) => i % 4 < 3);
  });

let problems;
test.beforeEach(({ page, baseURL }) => {
  problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("request", (request) => {
    const own = ["data:", `${baseURL}/`, `blob:${baseURL}/`].some((start) => request.url().startsWith(start));
    if (!own) problems.push(`a request to ${request.url()}`);
    if (request.method() !== "GET") problems.push(`a ${request.method()} request`);
  });
});
test.afterEach(() => expect(problems).toEqual([]));

test.describe("numbers", () => {
  for (const [name, faces] of Object.entries(golden)) {
    test(`${name}: boxes, pixels, z and pose are the project's own`, async ({ page }) => {
      expect(faces.length).toBeGreaterThan(0);
      await open(page);
      await choose(page, name);
      const buttons = page.getByRole("button", { name: /^Face \d of/ });
      await expect(buttons).toHaveCount(faces.length);
      for (const [index, face] of faces.entries()) {
        await buttons.nth(index).click();
        const { faces: [read], model } = await saved(page);
        const { x, y, side } = read.crop;
        const errors = [largest(read.box, face.box), largest(read.expression, face.expression)];
        const [px, sigma] = errors.map((error) => error.toExponential(1));
        console.log(`${name} ${index}: box off by ${px} px, z by ${sigma} sigma`);
        expect(model.size).toBe(96);
        expect(errors[0]).toBeLessThan(0.05);
        expect([x, y, side]).toEqual(face.square);
        expect(largest(await crop(page), [...Buffer.from(face.crop, "base64")])).toBeLessThanOrEqual(1);
        expect(errors[1]).toBeLessThan(Z);
        expect(Math.abs(read.quality - face.quality)).toBeLessThan(0.01);
        expect(largest([...read.pose.rotation_vector], face.pose.slice(0, 3))).toBeLessThan(0.005);
        expect(largest([...read.pose.translation_mm], face.pose.slice(3))).toBeLessThan(2);
        for (const [key, weight] of Object.entries(face.blendshapes)) {
          expect(Math.abs(read.blendshapes[key] - weight)).toBeLessThan(0.02);
        }
      }
    });
  }
});

test("the sample: words, bars, milliseconds, mesh, and a 3D face that changed", async ({ page }) => {
  await open(page);
  const before = await page.locator("#view").screenshot();
  await page.getByRole("button", { name: "Use the sample" }).click();
  await expect(status(page)).toHaveText(/^One face found: .*mouthSmile/);
  const smile = await page.locator("#bars li", { hasText: "mouthSmileLeft" }).locator(".value").textContent();
  expect(Number(smile)).toBeCloseTo(golden["sample.jpg"][0].blendshapes.mouthSmileLeft, 1);
  await expect(page.locator("#bars li")).toHaveCount(52);
  await expect(page.locator("#ms-network")).toHaveText(/^\d+\.\d ms$/);
  await expect.poll(async () => (await page.locator("#view").screenshot()).equals(before)).toBe(false);
  const drawn = () =>
    page.evaluate(() => {
      const context = document.querySelector(".mesh").getContext("2d");
      return context.getImageData(0, 0, 512, 512).data.some((value) => value);
    });
  expect(await drawn()).toBe(true);
  await page.getByLabel("Mesh on the photo").uncheck();
  expect(await drawn()).toBe(false);
});

test("bad files: one sentence each, and the page goes on", async ({ page }) => {
  await open(page);
  const file = (name, buffer) => ({ name, mimeType: "image/jpeg", buffer });
  await choose(page, file("notes.jpg", Buffer.from("no picture at all")));
  await expect(status(page)).toHaveText(/^notes.jpg is not an image that this browser reads; a JPEG, PNG or WebP/);
  await choose(page, file("empty.jpg", Buffer.alloc(0)));
  await expect(status(page)).toHaveText("empty.jpg is empty.");
  await page.evaluate(() => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(65 * 2 ** 20)], "huge.jpg"));
    dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
  });
  await expect(status(page)).toHaveText("huge.jpg has 65 MB; at most 64 MB are read.");
  const whole = readFileSync(`${GOLDEN}/sample.jpg`);
  await choose(page, file("half.jpg", whole.subarray(0, whole.length / 2)));
  await expect(status(page)).toHaveText(/^half.jpg is not an image that this browser reads/);
  await choose(page, "pixels.png");
  await expect(status(page)).toHaveText("pixels.png has 8000 x 7000 pixels; at most 50 million are read.");
  await choose(page, "sample.jpg");
  await expect(status(page)).toHaveText(/^One face found/);
});

test("a photo dropped on the page is read", async ({ page }) => {
  await open(page);
  const bytes = readFileSync(`${GOLDEN}/rendered0.png`).toString("base64");
  await page.evaluate((text) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], "dropped.png"));
    dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
  }, bytes);
  await expect(status(page)).toHaveText(/^One face found/);
});

test("no face: a box is drawn, with the keyboard alone", async ({ page }) => {
  await open(page);
  await choose(page, "sample.jpg");
  await expect(status(page)).toHaveText(/^One face/);
  const blank = await page.evaluate(() => {
    const canvas = document.createElement("canvas");
    canvas.width = 300;
    canvas.height = 200;
    canvas.getContext("2d").fillRect(0, 0, 300, 200);
    return canvas.toDataURL("image/png").split(",")[1];
  });
  await choose(page, { name: "blank.png", mimeType: "image/png", buffer: Buffer.from(blank, "base64") });
  await expect(status(page)).toHaveText(/^No face was found in blank.png. Draw a box/);
  const editor = page.getByRole("button", { name: /^Box at/ });
  await expect(editor).toBeFocused();
  // Nothing of the photo before may be taken for this one's.
  expect(await page.locator("#bars .value").allTextContents()).toEqual(Array(52).fill("0.00"));
  await expect(page.getByRole("button", { name: "Save as JSON" })).toBeDisabled();
  await expect(editor).toHaveAccessibleName(/^Box at 110, 50, 80 by 100 pixels/);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Shift+ArrowDown");
  await expect(editor).toHaveAccessibleName(/^Box at 114, 50, 80 by 104 pixels/);
  await page.keyboard.press("Enter");
  await expect(status(page)).toHaveText(/^The face in the box/);
  const { detector, faces: [{ box, score }] } = await saved(page);
  expect([detector, score, ...box]).toEqual([null, null, 114, 50, 80, 104]);
});

test("a box is drawn with the pointer", async ({ page }) => {
  await open(page);
  await choose(page, "sample.jpg");
  await expect(status(page)).toHaveText(/^One face/);
  await page.getByRole("button", { name: "Draw a box" }).click();
  await page.locator("#stage").scrollIntoViewIfNeeded();
  const frame = await page.locator("#stage .photo").boundingBox();
  const at = (x, y) => [frame.x + (x / 512) * frame.width, frame.y + (y / 512) * frame.height];
  await page.mouse.move(...at(180, 55));
  await page.mouse.down();
  await page.mouse.move(...at(270, 175), { steps: 4 });
  await page.mouse.up();
  await expect(status(page)).toHaveText(/^The face in the box: .*mouthSmile/);
  const { faces: [{ box }] } = await saved(page);
  expect(largest(box, [180, 55, 90, 120])).toBeLessThan(3);
});

test("everything is reached with the keyboard", async ({ page }) => {
  await open(page);
  const reached = [];
  for (let i = 0; i < 8; i++) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate(() => document.activeElement.id || document.activeElement.tagName));
  }
  expect(reached).toEqual(["file", "sample", "camera", "mesh", "view", "pose", "front", "A"]);
  await page.getByRole("button", { name: "Use the sample" }).focus();
  await page.keyboard.press("Enter");
  await expect(status(page)).toHaveText(/^One face/);
  const view = page.locator("#view");
  await page.waitForTimeout(500);
  const before = await view.screenshot();
  await view.focus();
  await page.keyboard.press("ArrowRight");
  await expect.poll(async () => (await view.screenshot()).equals(before)).toBe(false);
});

test("the camera is read until it is stopped", async ({ page }) => {
  await open(page);
  await page.getByRole("button", { name: "Use the camera" }).click();
  await expect(page.locator("#strongest")).toHaveText(/mouthSmile/, { timeout: 30_000 });
  await page.getByRole("button", { name: "Stop the camera" }).click();
  await expect(status(page)).toHaveText("The camera is off.");
  const { file, faces: [{ expression }] } = await saved(page);
  expect(file).toBe("camera");
  // The browser's camera goes through YUV and smaller frames: another picture of the same face.
  expect(largest(expression, golden["sample.jpg"][0].expression)).toBeLessThan(0.5);
});

test("without WebGL the numbers are still there", async ({ page }) => {
  await page.addInitScript(() => {
    const original = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
      return kind.startsWith("webgl") ? null : original.call(this, kind, ...rest);
    };
  });
  await open(page);
  await expect(page.getByText("This browser draws no WebGL")).toBeVisible();
  await page.getByRole("button", { name: "Use the sample" }).click();
  await expect(status(page)).toHaveText(/^One face found: .*mouthSmile/);
  problems = problems.filter((problem) => !problem.includes("WebGL"));
});

test("without WebAssembly the page says so", async ({ page }) => {
  await page.addInitScript(() => delete window.WebAssembly);
  await page.goto("/");
  await expect(status(page)).toHaveText(/^This browser lacks WebAssembly with SIMD/);
  await expect(page.getByRole("button", { name: "Use the sample" })).toBeDisabled();
});

test("a missing file is named", async ({ page }) => {
  await page.route("**/face.bin.gz", (route) => route.fulfill({ status: 404 }));
  await page.goto("/");
  await expect(status(page)).toHaveText("face.bin.gz could not be loaded (404); it has to lie beside the page.");
  problems = problems.filter((problem) => !problem.includes("404"));
});

test("the page's own rules forbid connections elsewhere", async ({ page }) => {
  await open(page);
  const refused = await page.evaluate(async () => {
    const events = [];
    addEventListener("securitypolicyviolation", (event) => events.push(event.effectiveDirective));
    await fetch("http://127.0.0.1:9/").catch(() => events.push("refused"));
    await new Promise((resolve) => setTimeout(resolve, 100));
    return events;
  });
  expect(refused.sort()).toEqual(["connect-src", "refused"]);
  problems = problems.filter((problem) => !/Content Security Policy|violates/.test(problem));
});

test("what a visitor loads stays below 5 MB", async ({ page }) => {
  const sizes = [];
  page.on("requestfinished", (request) => sizes.push(request.sizes()));
  await open(page);
  await page.getByRole("button", { name: "Use the sample" }).click();
  await expect(status(page)).toHaveText(/^One face/);
  const bytes = (await Promise.all(sizes)).reduce((sum, { responseBodySize }) => sum + responseBodySize, 0);
  console.log(`loaded: ${bytes} bytes in ${sizes.length} files`);
  expect(bytes).toBeGreaterThan(3_000_000);
  expect(bytes).toBeLessThan(5_000_000);
});

for (const [width, height] of [[360, 740], [1280, 900]]) {
  for (const colorScheme of ["light", "dark"]) {
    test(`${width} px, ${colorScheme}: nothing wider than the screen, no finding of axe`, async ({ page }) => {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await open(page);
      await page.screenshot({ path: `../build/web-shots/${width}-${colorScheme}-start.png` });
      await page.getByRole("button", { name: "Use the sample" }).click();
      await expect(status(page)).toHaveText(/^One face/);
      await page.waitForTimeout(400);
      await page.screenshot({ path: `../build/web-shots/${width}-${colorScheme}.png`, fullPage: true });
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      await page.evaluate(axe);
      const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
      const { violations } = await page.evaluate((runOnly) => window.axe.run(document, { runOnly }), rules);
      expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target)}`)).toEqual([]);
    });
  }
}
