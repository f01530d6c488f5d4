/**
 * Reads a .tflite file: the graph and its weights, float32 or float16. Nothing is computed here.
 *
 * A .tflite file is a flatbuffer; field numbers and codes below are those of TensorFlow Lite's schema
 * (schema.fbs, version 3).
 */

const TYPES = { 0: "float32", 1: "float16", 2: "int32", 3: "uint8" };
const OPERATORS = {
  0: "ADD", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: "DEQUANTIZE", 9: "FULLY_CONNECTED", 14: "LOGISTIC",
  17: "MAX_POOL_2D", 18: "MUL", 19: "RELU", 22: "RESHAPE", 23: "RESIZE_BILINEAR", 34: "PAD", 40: "MEAN", 53: "CAST",
};
const ACTIVATIONS = { 0: "linear", 1: "relu", 3: "relu6" };
const PADDINGS = { 0: "same", 1: "valid" };

/**
 * The graph of a .tflite file.
 *
 * @param {Uint8Array} bytes the whole file
 * @returns {{tensors: {name, shape, type, values}[], inputs: number[], outputs: number[],
 *   operators: {name, inputs: number[], outputs: number[], options: object}[]}} values is null where the tensor is
 *   computed; numbers point into tensors
 * @throws {Error} not a .tflite file, or one with an operator or a type that is not read here
 */
export function readGraph(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 8 || String.fromCharCode(...bytes.subarray(4, 8)) !== "TFL3") {
    throw new Error("The model is not a .tflite file.");
  }
  const model = table(view, view.getUint32(0, true));
  const buffers = model.tables(4);
  const [graph] = model.tables(2);
  const codes = model.tables(1).map((code) => Math.max(code.int8(0), code.int32(3)));
  const tensors = graph.tables(0).map((tensor) => {
    const type = TYPES[tensor.int8(1)];
    const data = buffers[tensor.int32(2)].bytes(0);
    return { name: tensor.text(3), shape: tensor.ints(0), type, values: data.length ? numbers(data, type) : null };
  });
  const operators = graph.tables(3).map((operator) => {
    const code = codes[operator.int32(0)];
    const name = OPERATORS[code];
    if (!name) {
      const known = Object.values(OPERATORS).join(", ");
      throw new Error(`The model has the operator ${code} of TensorFlow Lite; only ${known} are run here.`);
    }
    return { name, inputs: operator.ints(1), outputs: operator.ints(2), options: options(name, operator.table(4)) };
  });
  return { tensors, inputs: graph.ints(1), outputs: graph.ints(2), operators };
}

/** What an operator is told, by its own table of options. */
function options(name, from) {
  if (!from) return {};
  switch (name) {
    case "CONV_2D":
      return { ...sliding(from, 3), dilations: [from.int32(5, 1), from.int32(4, 1)] };
    case "DEPTHWISE_CONV_2D":
      return { ...sliding(from, 4), dilations: [from.int32(6, 1), from.int32(5, 1)] };
    case "MAX_POOL_2D":
      return { ...sliding(from, 5), filterSize: [from.int32(4), from.int32(3)] };
    case "ADD":
    case "MUL":
    case "FULLY_CONNECTED":
      return { activation: ACTIVATIONS[from.int8(0)] };
    case "RESIZE_BILINEAR":
      return { alignCorners: from.int8(2) === 1, halfPixelCenters: from.int8(3) === 1 };
    case "MEAN":
      return { keepDims: from.int8(0) === 1 };
    default:
      return {};
  }
}

/** What convolutions and pools have in common; `activation` is the number of that field. */
function sliding(from, activation) {
  return {
    pad: PADDINGS[from.int8(0)],
    strides: [from.int32(2), from.int32(1)],
    activation: ACTIVATIONS[from.int8(activation)],
  };
}

function numbers(data, type) {
  // A copy, since the bytes may lie at an odd address.
  const { buffer } = data.slice();
  if (type === "float32") return new Float32Array(buffer);
  if (type === "int32") return new Int32Array(buffer);
  if (type === "float16") return Float32Array.from(new Uint16Array(buffer), halfToFloat);
  throw new Error(`The model has constants of type ${type ?? "unknown"}; float32, float16 and int32 are read here.`);
}

/** An IEEE 754 half, given as its 16 bits. */
export function halfToFloat(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** A flatbuffer table at `position`: its fields by number, with a default where one is left out. */
function table(view, position) {
  const fields = position - view.getInt32(position, true);
  const place = (field) => {
    const entry = 4 + 2 * field;
    const offset = entry < view.getUint16(fields, true) ? view.getUint16(fields + entry, true) : 0;
    return offset && position + offset;
  };
  const follow = (at) => at + view.getUint32(at, true);
  const vector = (field) => {
    const at = place(field);
    if (!at) return { start: 0, length: 0 };
    const start = follow(at);
    return { start: start + 4, length: view.getUint32(start, true) };
  };
  const self = {
    int8: (field, other = 0) => (place(field) ? view.getInt8(place(field)) : other),
    int32: (field, other = 0) => (place(field) ? view.getInt32(place(field), true) : other),
    table: (field) => (place(field) ? table(view, follow(place(field))) : null),
    tables: (field) => {
      const { start, length } = vector(field);
      return Array.from({ length }, (_, i) => table(view, follow(start + 4 * i)));
    },
    ints: (field) => {
      const { start, length } = vector(field);
      return Array.from({ length }, (_, i) => view.getInt32(start + 4 * i, true));
    },
    bytes: (field) => {
      const { start, length } = vector(field);
      return new Uint8Array(view.buffer, view.byteOffset + start, length);
    },
    text: (field) => new TextDecoder().decode(self.bytes(field)),
  };
  return self;
}
