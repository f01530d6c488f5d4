/** What tests/test_web.py asks the page's modules: node node.js FOLDER, which holds input.json; writes output.json. */

import { readFileSync, writeFileSync } from "node:fs";
import { detect } from "../src/detect.js";
import { FaceModel, project } from "../src/face.js";
import { crop } from "../src/pixels.js";
import { readGraph } from "../src/tflite.js";

const folder = process.argv[2];
const read = (name) => readFileSync(`${folder}/${name}`);
const floats = (name) => new Float32Array(read(name).buffer.slice(0));
const image = ({ file, width, height, channels }) => ({ width, height, channels, data: read(file) });
const { crops, photo, graph, face } = JSON.parse(read("input.json"));

const bytes = crops.map((one) => Array.from(crop(image(one.image), one.box, one.size, one.factor).data));

let asked = null;
const network = {
  run(input) {
    asked = Array.from(input);
    return { geometry: floats("geometry.f32"), logits: floats("logits.f32") };
  },
};
const found = await detect(network, image(photo));

const { tensors, inputs, outputs, operators } = readGraph(new Uint8Array(readFileSync(graph)));
const constants = tensors.filter(({ values }) => values).map(({ name, shape, type, values }) => {
  const sum = values.reduce((total, value) => total + Math.abs(value), 0);
  return { name, shape, type, count: values.length, sum, last: values.at(-1) };
});

const model = new FaceModel(face.about, new Uint8Array(read("face.bin")));
const vertices = model.vertices(face.identity, face.expression);

writeFileSync(`${folder}/output.json`, JSON.stringify({
  crops: bytes,
  asked,
  found,
  graph: {
    constants,
    inputs: inputs.map((index) => tensors[index].name),
    outputs: outputs.map((index) => tensors[index].name),
    operators: operators.map(({ name }) => name),
  },
  vertices: Array.from(vertices),
  places: Array.from(project(vertices, face.pose, face.focal, face.center)),
  blendshapes: model.blendshapes(face.expression),
}));
