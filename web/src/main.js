/** The page: what is pressed or dropped, and what is shown. */

import { Bars, strongest } from "./bars.js";
import { CameraError, openCamera } from "./camera.js";
import { decodePhoto, PhotoError, readPixels } from "./photo.js";
import { load, StartError } from "./predictor.js";
import { photoRecord } from "./record.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const stage = new Stage($("stage"));
const frameCanvas = document.createElement("canvas");

let predictor, bars, view;
let photo = null; // {name, image, found: [{box, score}], chosen, face, detector, timing}
let stopCamera = null;
let opening = 0; // of two photos chosen in a hurry the later one counts

start();

async function start() {
  try {
    predictor = await load();
    predictor.warmUp();
  } catch (error) {
    return say(error instanceof StartError ? error.message : `The network did not start (${error.message}).`, true);
  }
  const { model } = predictor.about;
  $("input").textContent = `${model.size} x ${model.size} px`;
  $("model").textContent = model.id;
  bars = new Bars($("bars"), predictor.faceModel.blendshapeNames);
  await startView();
  for (const id of ["file", "sample", "camera"]) $(id).disabled = false;
  listen();
  say("Ready. Choose a photo, drop one on the page, or use the sample.");
}

/** Without WebGL the page goes on without its 3D face. */
async function startView() {
  try {
    const { View } = await import("./view.js");
    view = new View($("view"), predictor.faceModel);
    view.show(predictor.faceModel.mean, [0, 0, 0], false);
  } catch {
    $("view").hidden = true;
    $("view-error").hidden = false;
    $("view-error").textContent = "This browser draws no WebGL, so there is no 3D face; everything else works.";
    for (const id of ["pose", "front"]) $(id).disabled = true;
  }
}

function listen() {
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    if (file) openPhoto(file, file.name);
    $("file").value = ""; // so that the same file can be chosen again
  });
  $("sample").addEventListener("click", openSample);
  $("camera").addEventListener("click", () => (stopCamera ? endCamera("The camera is off.") : startCamera()));
  $("mesh").addEventListener("change", drawFace);
  $("pose").addEventListener("change", drawFace);
  $("front").addEventListener("click", () => view?.reset());
  $("draw").addEventListener("click", askForBox);
  $("save").addEventListener("click", save);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const [file] = event.dataTransfer.files;
    if (file) openPhoto(file, file.name);
    else say("What was dropped is not a file; a photo is expected.", true);
  });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) openPhoto(file, file.name);
  });
}

async function openSample() {
  try {
    const response = await fetch("sample.jpg");
    if (!response.ok) throw new Error(response.status);
    await openPhoto(await response.blob(), "the sample");
  } catch {
    say("The sample could not be loaded.", true);
  }
}

async function openPhoto(blob, name) {
  if (stopCamera) endCamera();
  const turn = ++opening;
  say(`Reading ${name}…`);
  try {
    const started = performance.now();
    const { bitmap, image } = await decodePhoto(blob, name);
    if (turn !== opening) return bitmap.close();
    const decoded = performance.now();
    photo = null;
    for (const id of ["save", "draw"]) $(id).disabled = true;
    $("invitation").hidden = true;
    $("stage").hidden = false;
    stage.show(bitmap, image.width, image.height);
    bitmap.close();
    say(`Looking for faces in ${name}…`);
    const shown = performance.now();
    const found = await predictor.detect(image);
    if (turn !== opening) return;
    const detected = performance.now();
    const timing = { read: decoded - started, detect: detected - shown };
    photo = { name, image, found, detector: "BlazeFace", timing };
    $("draw").disabled = false;
    if (found.length) choose(0);
    else askForBox();
  } catch (error) {
    say(error instanceof PhotoError ? error.message : `${name} could not be read (${error.message}).`, true);
  }
}

/** The person draws the box: no face was found, or another one is meant. */
function askForBox() {
  const none = !photo.found.length;
  const how = "with the pointer, or with the arrow keys, then Enter";
  say(`${none ? `No face was found in ${photo.name}. ` : ""}Draw a box around a face, from forehead to chin: ${how}.`);
  forget();
  stage.openEditor((box) => {
    stage.closeEditor();
    photo = { ...photo, found: [{ box, score: null }], detector: null, timing: { ...photo.timing, detect: null } };
    choose(0);
  });
}

/** Reads one of the faces and shows it. */
function choose(index) {
  const { box, score } = photo.found[index];
  const started = performance.now();
  const face = predictor.read(photo.image, box, score);
  photo.timing.network = performance.now() - started;
  photo = { ...photo, face, chosen: index };
  // Before the new ones: a button that had the focus keeps it.
  const focused = document.activeElement?.classList.contains("face");
  stage.showFaces(photo.found.map((one) => one.box), index, choose);
  if (focused) $("stage").querySelectorAll(".face")[index].focus();
  showFace(true);
  const count = photo.found.length;
  const which = count > 1 ? `Face ${index + 1} of ${count}` : photo.detector ? "One face found" : "The face in the box";
  say(`${which}: ${strongest(face.blendshapes)}. ${doubt(face.quality)}`.trim());
}

function showFace(ease) {
  const { face, timing } = photo;
  bars.show(face.blendshapes);
  // Not in the status line: screen readers would read out every frame.
  $("strongest").textContent = stopCamera ? `Now: ${strongest(face.blendshapes)}.` : "";
  $("ms-detect").textContent = milliseconds(timing.detect);
  $("ms-network").textContent = milliseconds(timing.network);
  $("ms-frame").textContent = milliseconds((timing.read ?? 0) + (timing.detect ?? 0) + timing.network);
  $("quality").textContent = face.quality === null ? "not said" : face.quality.toFixed(2);
  showCrop(face.crop);
  $("save").disabled = false;
  drawFace(ease);
}

/** What a low quality means (docs/quality.md). */
function doubt(quality) {
  if (quality === null || quality >= 0.4) return "";
  const why = quality < 0.2 ? "there is hardly a face" : "something may be in the way, or the face is small or turned";
  return `Quality ${quality.toFixed(2)}: ${why}.`;
}

/** The mesh, on the photo and in 3D. `ease` is true, or not an event's: move there. */
function drawFace(ease) {
  if (!photo?.face) return;
  const { face } = photo;
  const { faceModel } = predictor;
  const vertices = faceModel.vertices(face.identity, face.expression);
  stage.showMesh(face, $("mesh").checked ? vertices : null, skin());
  const rotation = $("pose").checked && face.pose ? Array.from(face.pose.subarray(0, 3)) : [0, 0, 0];
  view?.show(vertices, rotation, ease !== false);
}

/** What was read is of another photo, or of another box: nothing of it stays. */
function forget() {
  photo = { ...photo, face: null };
  $("save").disabled = true;
  bars.show(Object.fromEntries(predictor.faceModel.blendshapeNames.map((name) => [name, 0])));
  for (const id of ["quality", "ms-network", "ms-frame"]) $(id).textContent = "–";
  $("ms-detect").textContent = milliseconds(photo.timing.detect);
  $("crop").getContext("2d", { willReadFrequently: true }).clearRect(0, 0, $("crop").width, $("crop").height);
  view?.show(predictor.faceModel.mean, [0, 0, 0], true);
}

let skinTriangles = null;
/** Triangles of the face's surface: what is inside the head would be a blot. */
function skin() {
  const { regions, regionNames, triangles } = predictor.faceModel;
  const shown = new Set(["skin", "lips", "eyelids", "brows", "nose"].map((name) => regionNames.indexOf(name)));
  const isShown = (first) => triangles.subarray(first, first + 3).every((vertex) => shown.has(regions[vertex]));
  skinTriangles ??= triangles.filter((_, i) => isShown(i - (i % 3)));
  return skinTriangles;
}

function showCrop({ width, height, data }) {
  const canvas = $("crop");
  canvas.width = width;
  canvas.height = height;
  const pixels = new ImageData(width, height);
  for (let i = 0, j = 0; i < data.length; i += 3, j += 4) pixels.data.set([data[i], data[i + 1], data[i + 2], 255], j);
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(pixels, 0, 0);
}

async function startCamera() {
  say("Starting the camera…");
  const turn = ++opening;
  $("camera").disabled = true;
  try {
    const stop = await openCamera(readFrame, (why) => endCamera(why));
    if (turn !== opening) return stop(); // a photo was chosen meanwhile
    stopCamera = stop;
  } catch (error) {
    return say(error instanceof CameraError ? error.message : `The camera did not start (${error.message}).`, true);
  } finally {
    $("camera").disabled = false;
  }
  $("camera").focus();
  $("camera").textContent = "Stop the camera";
  $("camera").setAttribute("aria-pressed", "true");
  $("draw").disabled = true;
  $("invitation").hidden = true;
  $("stage").hidden = false;
  document.body.classList.add("live");
  for (const id of ["stage", "view"]) $(id).classList.add("mirror");
  say("The camera is on, shown as a mirror. Frames stay in this page.");
}

function readFrame(video) {
  const started = performance.now();
  const image = readPixels(video, video.videoWidth, video.videoHeight, frameCanvas);
  const read = performance.now();
  const [largest] = predictor.detectLarge(image);
  const detected = performance.now();
  stage.show(video, image.width, image.height);
  if (!largest) {
    $("strongest").textContent = "No face in view.";
    return;
  }
  const face = predictor.read(image, largest.box, largest.score);
  const timing = { read: read - started, detect: detected - read, network: performance.now() - detected };
  photo = { name: "camera", image, found: [largest], chosen: 0, face, detector: "BlazeFace", timing };
  showFace(false);
}

function endCamera(message) {
  stopCamera?.();
  stopCamera = null;
  $("camera").textContent = "Use the camera";
  $("camera").setAttribute("aria-pressed", "false");
  $("draw").disabled = !photo;
  document.body.classList.remove("live");
  for (const id of ["stage", "view"]) $(id).classList.remove("mirror");
  if (message) say(message);
}

function save() {
  const { name, image, face, detector, timing } = photo;
  const text = `${JSON.stringify(photoRecord(predictor.about, name, image, [face], detector, timing), null, 1)}\n`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `${name.replace(/[^\w.-]+/g, "_")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

const milliseconds = (ms) => (ms == null ? "not needed" : `${ms.toFixed(1)} ms`);
