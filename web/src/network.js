/**
 * Runs a .tflite file (as tflite.js reads it) on TensorFlow.js' WebAssembly kernels, which are XNNPACK's.
 *
 * Only the kernels that the two networks need are bundled, and they are called by their names: a tenth of a runtime for
 * all of TensorFlow Lite, and the same file as on a phone.
 */

import { engine, env, registerKernel, setBackend } from "@tensorflow/tfjs-core/dist/base.js";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm/dist/base.js";
import { addConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/Add.js";
import { fusedConv2DConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/FusedConv2D.js";
import { fusedDepthwiseConv2DConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/FusedDepthwiseConv2D.js";
import { identityConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/Identity.js";
import { maxPoolConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/MaxPool.js";
import { meanConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/Mean.js";
import { multiplyConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/Multiply.js";
import { padV2Config } from "@tensorflow/tfjs-backend-wasm/dist/kernels/PadV2.js";
import { reluConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/Relu.js";
import { reshapeConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/Reshape.js";
import { resizeBilinearConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/ResizeBilinear.js";
import { sigmoidConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/Sigmoid.js";

const KERNELS = [
  addConfig, fusedConv2DConfig, fusedDepthwiseConv2DConfig, identityConfig, maxPoolConfig, meanConfig, multiplyConfig,
  padV2Config, reluConfig, reshapeConfig, resizeBilinearConfig, sigmoidConfig,
];

// The smallest module with a vector instruction: i32.const 0, i8x16.splat, drop.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 9, 1, 7, 0, 65, 0, 253, 15, 26, 11];

/** Whether this browser has WebAssembly with SIMD (all of 2023 or later do). */
export function isSupported() {
  return typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(SIMD));
}

/** Loads the runtime from the address of its .wasm file. One thread: more would need headers that few hosts send. */
export async function startRuntime(wasm) {
  env().set("WASM_HAS_SIMD_SUPPORT", true);
  env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
  const names = ["tfjs-backend-wasm.wasm", "tfjs-backend-wasm-simd.wasm", "tfjs-backend-wasm-threaded-simd.wasm"];
  setWasmPaths(Object.fromEntries(names.map((name) => [name, wasm])));
  KERNELS.forEach(registerKernel);
  if (!(await setBackend("wasm"))) throw new Error("The WebAssembly runtime did not start.");
}

/** A network ready to run: its weights lie in the runtime's memory. Make it after `startRuntime`. */
export class Network {
  #graph;
  #weights = new Map();

  constructor(graph) {
    this.#graph = graph;
    for (const operator of graph.operators) this.#load(operator);
  }

  /**
   * @param {Float32Array} input values of the one input, batch 1
   * @returns {Object<string, Float32Array>} the outputs by name
   */
  run(input) {
    const { tensors, inputs, outputs, operators } = this.#graph;
    return engine().tidy(() => {
      const values = new Map(this.#weights);
      const shape = [1, ...tensors[inputs[0]].shape.slice(1)];
      values.set(inputs[0], engine().makeTensor(input, shape, "float32"));
      for (const operator of operators) {
        const [result] = operator.outputs;
        if (!values.has(result)) values.set(result, this.#compute(operator, values));
      }
      return Object.fromEntries(outputs.map((index) => [tensors[index].name, values.get(index).dataSync().slice()]));
    });
  }

  /** Puts an operator's constants where its kernel reads them, in the layout that it takes. */
  #load({ name, inputs, outputs }) {
    const { tensors } = this.#graph;
    const constants = inputs.filter((index) => index >= 0 && tensors[index].values);
    if (name === "DEQUANTIZE" && constants.length) {
      // Weights stored as halves: already floats here, so the operator has nothing left to do.
      tensors[outputs[0]].values = tensors[inputs[0]].values;
      return;
    }
    if (["PAD", "RESHAPE", "RESIZE_BILINEAR", "MEAN"].includes(name)) return; // small integers, read in #compute
    for (const index of constants) {
      let { shape, values } = tensors[index];
      if (index === inputs[1] && name === "FULLY_CONNECTED") shape = [shape[0], 1, 1, shape[1]];
      if (index === inputs[1] && (name === "CONV_2D" || name === "FULLY_CONNECTED")) {
        values = outputsLast(values, shape[0]);
        shape = [...shape.slice(1), shape[0]];
      }
      if (index === inputs[1] && name === "DEPTHWISE_CONV_2D") shape = [...shape.slice(1), 1];
      this.#weights.set(index, keep(values, shape));
    }
  }

  #compute({ name, inputs, outputs, options }, values) {
    const { tensors } = this.#graph;
    const [x, y, bias] = inputs.map((index) => values.get(index));
    const integers = (place) => Array.from(tensors[inputs[place]].values);
    const run = (kernel, tensors, settings = {}) => engine().runKernel(kernel, tensors, settings);
    switch (name) {
      case "CAST":
        return x; // the photo's bytes are floats from the start
      case "CONV_2D":
        return run("FusedConv2D", { x, filter: y, bias }, { ...options, dataFormat: "NHWC" });
      case "DEPTHWISE_CONV_2D":
        return run("FusedDepthwiseConv2D", { x, filter: y, bias }, { ...options, dataFormat: "NHWC" });
      case "FULLY_CONNECTED": {
        // The same as a convolution of one pixel.
        const pixel = run("Reshape", { x }, { shape: [1, 1, 1, x.size] });
        const settings = { ...options, pad: "valid", strides: 1, dilations: 1, dataFormat: "NHWC" };
        return run("FusedConv2D", { x: pixel, filter: y, bias }, settings);
      }
      case "ADD":
        return this.#activate(options, run("Add", { a: x, b: y }));
      case "MUL":
        return this.#activate(options, run("Multiply", { a: x, b: y }));
      case "RELU":
        return run("Relu", { x });
      case "LOGISTIC":
        return run("Sigmoid", { x });
      case "MAX_POOL_2D":
        return this.#activate(options, run("MaxPool", { x }, options));
      case "PAD": {
        const flat = integers(1);
        const paddings = x.shape.map((_, axis) => flat.slice(2 * axis, 2 * axis + 2));
        return run("PadV2", { x }, { paddings, constantValue: 0 });
      }
      case "RESIZE_BILINEAR":
        return run("ResizeBilinear", { images: x }, { ...options, size: integers(1) });
      case "MEAN":
        return run("Mean", { x }, { ...options, axis: integers(1) });
      case "RESHAPE":
        return run("Reshape", { x }, { shape: [1, ...tensors[outputs[0]].shape.slice(1)] });
      default:
        throw new Error(`The operator ${name} is not run here.`);
    }
  }

  #activate({ activation }, x) {
    if (activation === "linear") return x;
    if (activation === "relu") return engine().runKernel("Relu", { x });
    throw new Error(`The activation ${activation} is run after a convolution only.`);
  }
}

/** A tensor that stays. */
function keep(values, shape) {
  return engine().keep(engine().makeTensor(values, shape, "float32"));
}

/** [outputs, ...] -> [..., outputs]. */
function outputsLast(values, outputs) {
  const rest = values.length / outputs;
  const result = new Float32Array(values.length);
  for (let o = 0; o < outputs; o++) for (let i = 0; i < rest; i++) result[i * outputs + o] = values[o * rest + i];
  return result;
}
