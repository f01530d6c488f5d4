import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { defineConfig } from "@playwright/test";

const PORT = Number(process.env.PORT ?? 47613);
// A browser from the system, since Playwright's own is downloaded from elsewhere; CHROMIUM names another.
const camera = resolve("../build/web-golden/camera.mjpeg");
const installed = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

export default defineConfig({
  testDir: "tests",
  outputDir: "../build/web-results",
  workers: 1,
  timeout: 60_000,
  reporter: "list",
  use: {
    baseURL: `http://127.0.0.1:${PORT}`,
    launchOptions: {
      executablePath: process.env.CHROMIUM || installed,
      // As root, and in containers, Chromium's sandbox cannot start; WebGL is drawn by the CPU.
      args: [
        "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream", `--use-file-for-fake-video-capture=${camera}`,
      ],
    },
  },
  webServer: { command: `npx esbuild --servedir=dist --serve=127.0.0.1:${PORT}`, port: PORT, stderr: "ignore" },
});
