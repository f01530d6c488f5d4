/**
 * Where the faces are: BlazeFace, full range (Google MediaPipe, Apache-2.0), as expnet_tf/detect.py runs it. The
 * constants are measured; they are explained there.
 */

import { cutOut, resize, roundHalfEven } from "./pixels.js";

const EAR_SHIFT = 0.5;
const RISE = 0.073;
const WIDTH = 0.83;
const HEIGHT = 1.13;
const TILT_LOSS = 0.19;

const SIDE = 192;
const CELLS = 48;
const WHOLE = 192;
const TIGHT = 96;
const FINE = [480, 960];
const OVERLAP = 38;
const LARGE = 96;
const MIN_LOGIT = 0; // a score of 0.5

/**
 * Faces of a photo, largest box first: {box: [x, y, w, h] px, score: 0 to 1}.
 *
 * A photo of small faces, or of none, is searched in windows, for a second and more: between them the page may go on.
 *
 * @param network the Network of blazeface_full_range.tflite
 * @param image as in pixels.js
 */
export async function detect(network, image) {
  let found = search(network, image, WHOLE);
  if (!found.length) found = search(network, image, TIGHT);
  let faces = suppress(found);
  const longer = Math.max(image.width, image.height);
  for (const level of FINE) {
    // level > longer: the photo itself is coarser.
    if (level > longer || faces.some((face) => face.side * level > LARGE * longer)) break;
    for (const windows of searches(network, image, level)) {
      found = found.concat(windows);
      await new Promise((resolve) => setTimeout(resolve));
    }
    faces = suppress(found);
  }
  return detections(faces);
}

/** The same from one look at the whole photo, at once: for frames of a camera. */
export function detectLarge(network, image) {
  return detections(suppress(search(network, image, WHOLE)));
}

function detections(faces) {
  return faces
    .map((face) => ({ box: houseBox(face), score: face.score }))
    .sort((a, b) => b.box[2] * b.box[3] - a.box[2] * a.box[3]);
}

// Faces as BlazeFace sees them are {score, side, points: [7][x, y]}: centre, two eyes, nose tip, mouth, two ears, px.

function search(network, image, longer) {
  return [...searches(network, image, longer)].flat();
}

/** Scales the photo to this longer side and searches it in windows of 192 px; gives the faces of one after another. */
function* searches(network, image, longer) {
  const scale = longer / Math.max(image.width, image.height);
  const columns = Math.max(1, roundHalfEven(image.width * scale));
  const rows = Math.max(1, roundHalfEven(image.height * scale));
  const x = Math.max(0, SIDE - columns) >> 1;
  const y = Math.max(0, SIDE - rows) >> 1;
  const small = resize(image, columns, rows);
  // A picture smaller than the window is put into its middle, as in the network's training.
  const picture = cutOut(small, -x, -y, Math.max(SIDE, columns), Math.max(SIDE, rows));
  for (const top of windowStarts(picture.height)) {
    for (const left of windowStarts(picture.width)) {
      yield searchWindow(network, picture, top, left).map((face) => ({
        score: face.score,
        side: face.side / scale,
        points: face.points.map(([u, v]) => [(u - x) * (image.width / columns), (v - y) * (image.height / rows)]),
      }));
    }
  }
}

function searchWindow(network, picture, top, left) {
  return run(network, cutOut(picture, left, top, SIDE, SIDE))
    .map((face) => ({ ...face, points: face.points.map(([u, v]) => [u + left, v + top]) }))
    .filter(({ side, points: [[x, y]] }) => {
      // A face cut by an edge of the window that is no edge of the photo: another window has it whole.
      const half = side / 2;
      return (
        (x - half >= left || left === 0) &&
        (x + half <= left + SIDE || left + SIDE === picture.width) &&
        (y - half >= top || top === 0) &&
        (y + half <= top + SIDE || top + SIDE === picture.height)
      );
    });
}

/** The network on one window: the anchors that see a face, in px of the window. */
function run(network, window) {
  const input = new Float32Array(window.data.length);
  for (let i = 0; i < input.length; i++) input[i] = window.data[i] / 127.5 - 1;
  const outputs = Object.values(network.run(input));
  const [logits, geometry] = outputs.sort((a, b) => a.length - b.length);
  const cell = SIDE / CELLS;
  const found = [];
  logits.forEach((logit, anchor) => {
    if (logit < MIN_LOGIT) return;
    const values = geometry.subarray(16 * anchor, 16 * anchor + 16);
    const middle = [((anchor % CELLS) + 0.5) * cell, (Math.floor(anchor / CELLS) + 0.5) * cell];
    // Centre x y, width, height, 6 points x y; points count from the middle of the anchor's cell.
    const point = (i) => [values[i] + middle[0], values[i + 1] + middle[1]];
    found.push({
      score: 1 / (1 + Math.exp(-Math.min(logit, 80))),
      side: (values[2] + values[3]) / 2,
      points: [0, 4, 6, 8, 10, 12, 14].map(point),
    });
  });
  return found;
}

/** Anchors -> faces, best first; anchors of one face are averaged by score, as MediaPipe does. */
function suppress(found) {
  const faces = [];
  let rest = [...found].sort((a, b) => b.score - a.score);
  while (rest.length) {
    const [best] = rest;
    const same = [];
    const others = [];
    for (const face of rest) {
      const common = intersection(best, face);
      const [area, other] = [best.side ** 2, face.side ** 2];
      if (face === best || common > 0.3 * (area + other - common)) same.push(face);
      // Of two that lie one in the other the better stays.
      else if (common <= 0.7 * Math.min(area, other)) others.push(face);
    }
    const total = same.reduce((sum, face) => sum + face.score, 0);
    const mean = (value) => same.reduce((sum, face) => sum + face.score * value(face), 0) / total;
    faces.push({
      score: best.score,
      side: mean((face) => face.side),
      points: best.points.map((_, i) => [mean((face) => face.points[i][0]), mean((face) => face.points[i][1])]),
    });
    rest = others;
  }
  return faces;
}

/** Common area of two squares, px^2. */
function intersection(one, other) {
  const common = (axis) => {
    const [a, b] = [one.points[0][axis], other.points[0][axis]];
    return Math.min(a + one.side / 2, b + other.side / 2) - Math.max(a - one.side / 2, b - other.side / 2);
  };
  return Math.max(0, common(0)) * Math.max(0, common(1));
}

/** BlazeFace's square and points -> the house's box [x, y, w, h] in px: forehead to chin, ear to ear. */
function houseBox({ side, points }) {
  const [center, eye, otherEye, , mouth, ear, otherEar] = points;
  const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  const eyes = middle(eye, otherEye);
  const ears = middle(ear, otherEar);
  const length = Math.hypot(eyes[0] - mouth[0], eyes[1] - mouth[1]);
  const up = length > 0 ? [(eyes[0] - mouth[0]) / length, (eyes[1] - mouth[1]) / length] : [0, -1];
  const right = [-up[1], up[0]];
  const shift = EAR_SHIFT * ((ears[0] - center[0]) * right[0] + (ears[1] - center[1]) * right[1]);
  const [x, y] = [0, 1].map((axis) => center[axis] + shift * right[axis] + RISE * side * up[axis]);
  const upright = side / (1 - TILT_LOSS * (2 * up[0] * up[1]) ** 2);
  // Around the tilted head, taken as an ellipse.
  const w = upright * Math.hypot(WIDTH * up[1], HEIGHT * up[0]);
  const h = upright * Math.hypot(HEIGHT * up[1], WIDTH * up[0]);
  return [x - w / 2, y - h / 2, w, h];
}

/** First rows (or columns) of windows, evenly spread, that cover `length` >= 192 px. */
function windowStarts(length) {
  const steps = Math.ceil((length - SIDE) / (SIDE - OVERLAP));
  return Array.from({ length: steps + 1 }, (_, i) => (steps ? roundHalfEven((i * (length - SIDE)) / steps) : 0));
}
