/** The page of `expnet live`: a picture for each time that one was drawn, and the bars of the newest message. */

const GROUPS = [
  ["Brows", /^brow/],
  ["Eyes", /^eye(?!Look)/],
  ["Cheeks and nose", /^(cheek|nose)/],
  ["Jaw", /^jaw/],
  ["Mouth", /^mouth/],
  ["Not read, always 0", /^(eyeLook|tongue)/],
];
const WORDS = 2000; // ms between the sentences of the strongest, which are for reading
const at = (id) => document.getElementById(id);
const canvas = at("picture"), pen = canvas.getContext("2d");
const rows = new Map(); // blendshape -> its bar, its number and its line
let newest = null; // message
let paused = false, ended = false, spoken = 0, arrivals = [];
let mirrored = false;

function socket(path) {
  const address = new URL(path + location.search, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const made = new WebSocket(address);
  made.binaryType = "arraybuffer";
  made.addEventListener("close", (event) => {
    ended = true;
    // Browsers do not tell pages why a connection was refused.
    say(event.code === 1001 ? "It has ended." : "The connection is lost: expnet live has stopped, or has too many clients.");
  });
  return made;
}

const pictures = socket("picture");
pictures.addEventListener("open", () => pictures.send("next"));
pictures.addEventListener("message", async ({ data }) => {
  const image = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
  draw(image);
  image.close();
  requestAnimationFrame(ask);
});

function ask() {
  if (!paused && pictures.readyState === WebSocket.OPEN) pictures.send("next");
}

const messages = socket("blendshapes");
messages.addEventListener("message", ({ data }) => {
  const now = performance.now();
  arrivals = [...arrivals.filter((time) => now - time < 2000), now];
  if (paused) return;
  const first = newest === null;
  newest = JSON.parse(data);
  if (first) requestAnimationFrame(show);
});

/** Draws the newest message once a frame of the screen, however many have come. */
function show() {
  if (ended) return;
  if (!paused) update(newest);
  requestAnimationFrame(show);
}

function update(message) {
  const ids = message.faces.map((face) => face.id);
  choose(ids);
  const face = message.faces.find((one) => String(one.id) === at("person").value) ?? message.faces[0];
  say(ids.length === 0 ? "Nobody is seen." : ids.length === 1 ? "One face." : `${ids.length} faces.`);
  if (arrivals.length > 1) at("rate").textContent = ((arrivals.length - 1) * 1000 / (arrivals.at(-1) - arrivals[0])).toFixed(0);
  at("latency").textContent = `${message.latency_ms.toFixed(0)} ms`;
  at("quality").textContent = face?.quality == null ? "–" : face.quality.toFixed(2);
  at("turn").textContent = face ? turned(face.rotation).map((angle) => `${angle.toFixed(0)}°`).join(", ") : "–";
  if (!face) return;
  if (rows.size === 0) build(Object.keys(face.blendshapes));
  for (const [name, weight] of Object.entries(face.blendshapes)) {
    const { bar, value, line } = rows.get(name);
    bar.style.setProperty("--weight", weight.toFixed(3));
    value.textContent = weight.toFixed(2);
    line.classList.toggle("zero", weight < 0.005);
  }
  if (performance.now() - spoken > WORDS) {
    spoken = performance.now();
    at("strongest").textContent = `Strongest: ${strongest(face.blendshapes)}.`;
  }
}

/** Degrees to the person's own left, down, and tilted to its own left, from a quaternion x y z w. */
function turned([x, y, z, w]) {
  const degrees = 180 / Math.PI;
  const left = Math.atan2(2 * (x * z + w * y), 1 - 2 * (x * x + y * y));
  const down = Math.asin(Math.max(-1, Math.min(1, 2 * (w * x - y * z))));
  const tilt = Math.atan2(2 * (x * y + w * z), 1 - 2 * (x * x + z * z));
  return [left * degrees, down * degrees, -tilt * degrees];
}

function strongest(weights) {
  const sorted = Object.entries(weights).filter(([, weight]) => weight >= 0.1).sort((a, b) => b[1] - a[1]);
  return sorted.slice(0, 4).map(([name, weight]) => `${name} ${weight.toFixed(2)}`).join(", ") || "none, a neutral face";
}

function draw(image) {
  if (canvas.width !== image.width || canvas.height !== image.height) {
    canvas.width = image.width;
    canvas.height = image.height;
  }
  pen.save();
  if (mirrored) pen.setTransform(-1, 0, 0, 1, canvas.width, 0);
  pen.drawImage(image, 0, 0);
  pen.restore();
  const faces = newest?.faces ?? [];
  if (faces.length < 2) return;
  const scale = canvas.width / newest.width;
  pen.font = `600 ${Math.max(14, canvas.width / 40)}px system-ui, sans-serif`;
  pen.textAlign = "center";
  pen.lineWidth = 4;
  pen.strokeStyle = "#000";
  pen.fillStyle = "#5eead4";
  for (const { id, box: [x, y, w] } of faces) {
    const middle = (x + w / 2) * scale, place = mirrored ? canvas.width - middle : middle;
    pen.strokeText(id, place, Math.max(20, y * scale - 6));
    pen.fillText(id, place, Math.max(20, y * scale - 6));
  }
}

function choose(ids) {
  const select = at("person");
  const known = [...select.options].map((option) => option.value).join();
  if (known === ids.join()) return;
  const before = select.value;
  select.replaceChildren(...ids.map((id) => new Option(id, id)));
  if (ids.map(String).includes(before)) select.value = before;
  at("choice").hidden = ids.length < 2;
}

function build(names) {
  for (const [title, pattern] of GROUPS) {
    const group = element("div", "group", at("bars"));
    element("h3", "", group).textContent = title;
    const list = element("ul", "", group);
    for (const name of names.filter((name) => pattern.test(name))) {
      const line = element("li", "", list);
      element("span", "name", line).textContent = name;
      const bar = element("span", "bar", line);
      bar.setAttribute("aria-hidden", "true");
      rows.set(name, { line, bar, value: element("span", "value", line) });
    }
  }
}

function element(tag, className, parent) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  return parent.appendChild(made);
}

function say(text) {
  // A live region speaks whenever it is written to.
  if (at("status").textContent !== text) at("status").textContent = text;
}

at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  if (!paused) ask();
});
at("mirror").addEventListener("change", ({ target }) => { mirrored = target.checked; });
