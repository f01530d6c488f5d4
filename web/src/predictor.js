/** The main road, as in expnet_tf/predictor.py: a photo in, faces with expression, identity and pose out. */

import { detect, detectLarge } from "./detect.js";
import { FaceModel } from "./face.js";
import { isSupported, Network, startRuntime } from "./network.js";
import { crop, cropSquare } from "./pixels.js";
import { readGraph } from "./tflite.js";

/** This browser cannot run the networks, or a file of the page did not arrive; one sentence. */
export class StartError extends Error {}

/** Loads runtime, networks and face model from beside the page; raises StartError. */
export async function load() {
  if (!isSupported()) {
    throw new StartError(
      "This browser lacks WebAssembly with SIMD, which the network needs; any of 2023 or later will do.",
    );
  }
  const [about, network, blazeface, face] = await Promise.all([
    fetchFile("model.json").then((response) => response.json()),
    fetchPacked("network.tflite.gz"),
    fetchPacked("blazeface.tflite.gz"),
    fetchPacked("face.bin.gz"),
    startRuntime("tfjs-backend-wasm-simd.wasm"),
  ]);
  const [reader, detector] = [network, blazeface].map((bytes) => new Network(readGraph(bytes)));
  return new Predictor(about, reader, detector, new FaceModel(about, face));
}

export class Predictor {
  #network;
  #detector;

  constructor(about, network, detector, faceModel) {
    this.about = about;
    this.faceModel = faceModel;
    this.#network = network;
    this.#detector = detector;
  }

  /** Compiles the kernels, so that the first photo takes no longer than the others. */
  warmUp() {
    const black = { width: 192, height: 192, channels: 3, data: new Uint8Array(192 * 192 * 3) };
    this.detectLarge(black);
    this.read(black, [0, 0, 192, 192]);
  }

  /** All faces of a photo, largest first: a promise of [{box, score}]. */
  detect(image) {
    return detect(this.#detector, image);
  }

  /** Faces that one look finds: [{box, score}], at once. */
  detectLarge(image) {
    return detectLarge(this.#detector, image);
  }

  /**
   * The face in a box [x, y, w, h], px: forehead to chin and ear to ear.
   *
   * @returns {{box, score, quality, square, crop, expression: Float32Array, identity: Float32Array, pose: Float32Array,
   *   focal: number, center: number[], blendshapes: Object<string, number>}} units as in docs/face-json.md
   */
  read(image, box, score = null) {
    const { size, crop_factor: factor } = this.about.model;
    const seen = crop(image, box, size, factor);
    const outputs = this.#network.run(Float32Array.from(seen.data));
    const { expression, identity = null, pose = null, quality } = outputs;
    if (!expression.every(Number.isFinite)) throw new Error("The network's answer is not finite; its file is broken.");
    const square = cropSquare(box, factor);
    return {
      box, score, square, crop: seen, expression, identity, pose, quality: quality ? quality[0] : null,
      focal: this.about.nominal_focal * square.side,
      center: [square.x0 + square.side / 2, square.y0 + square.side / 2],
      blendshapes: this.faceModel.blendshapes(expression),
    };
  }
}

async function fetchFile(name) {
  let response;
  try {
    response = await fetch(name);
  } catch {
    throw new StartError(`${name} could not be loaded; the page has to come from a web server, with all its files.`);
  }
  if (!response.ok) {
    throw new StartError(`${name} could not be loaded (${response.status}); it has to lie beside the page.`);
  }
  return response;
}

async function fetchPacked(name) {
  const response = await fetchFile(name);
  const bytes = new Uint8Array(await response.arrayBuffer());
  // Some hosts declare .gz files as Content-Encoding: the browser has then unpacked them already.
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}
