"""TensorRT and TensorRT-RTX engines, from the float16 ONNX graph. `image` uint8 [batch, S, S, 3] -> heads float32.

The network is strongly typed: every tensor has the type that the graph gives it. TensorRT 11 knows nothing else, and
10 can do it, so both build the same engine here. TensorRT times its kernels on the GPU that the engine is for and
builds nowhere else; TensorRT-RTX builds on any machine, and compiles for the GPU when the engine is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import onnx

from expnet_tf.export import ExportError
from expnet_tf.export.onnx_fp16 import convert_float16
from expnet_tf.export.runner import CannotRun
from expnet_tf.export.tensorrt_runner import TensorRTRTXRunner, TensorRTRunner, bindings, cuda_runtime, message_log
from expnet_tf.files import write_whole
from expnet_tf.network import ModelInfo


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is built; TensorRT-RTX takes the batch sizes only."""

    batch: tuple[int, int, int] = (1, 8, 32)  # images at once: the fewest, the number to be fastest at, the most
    timing_cache: Path | None = None  # file of kernel timings, read and written: the next engine is built sooner
    version_compatible: bool = False  # later versions of TensorRT load it; larger, and may be slower
    hardware_compatible: bool = False  # Ampere and all newer GPUs run it; may be slower

    def __post_init__(self) -> None:
        fewest, best, most = self.batch
        if not 1 <= fewest <= best <= most:
            raise ExportError(f"Batch sizes {self.batch}; accepted are three from 1 up, in this order: min, opt, max.")


def write(model: keras.Model, info: ModelInfo, path: Path, options: EngineOptions = EngineOptions()) -> None:
    """Build a TensorRT engine for the GPU of this machine.

    Raises ExportError without a GPU or TensorRT, and as `build` and `onnx_fp16.convert_float16` do.
    """
    try:
        cuda_runtime("Building a TensorRT engine")
        trt = bindings("Building a TensorRT engine", TensorRTRunner.packages)
    except CannotRun as error:
        raise ExportError(str(error)) from None
    path.write_bytes(build(trt, convert_float16(model, info), options))


def write_rtx(model: keras.Model, info: ModelInfo, path: Path, options: EngineOptions = EngineOptions()) -> None:
    """Build a TensorRT-RTX engine; needs no GPU.

    Raises ExportError without TensorRT-RTX, and as `build` and `onnx_fp16.convert_float16` do.
    """
    try:
        trt = bindings("Building a TensorRT-RTX engine", TensorRTRTXRunner.packages)
    except CannotRun as error:
        raise ExportError(str(error)) from None
    path.write_bytes(build(trt, convert_float16(model, info), options))


def build(trt: Any, proto: onnx.ModelProto, options: EngineOptions) -> bytes:
    """The serialised engine of a float16 graph; `trt` is the module of TensorRT 10 or 11, or of TensorRT-RTX.

    Raises ExportError with TensorRT's words where it refuses the graph or an option.
    """
    log = message_log(trt)
    builder = trt.Builder(log)
    network = parse(trt, builder, proto, log)
    config = configure(trt, builder, network, options, log)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(f"TensorRT {trt.__version__} cannot build the engine: {log.last}")
    if options.timing_cache:
        write_whole(options.timing_cache, bytes(config.get_timing_cache().serialize()))
    return bytes(engine)


def parse(trt: Any, builder: Any, proto: onnx.ModelProto, log: Any) -> Any:
    """The graph as a strongly typed network; raises ExportError where its ends are not those of the graph."""
    # 10 has to be told; 11 does it always, and may drop the flag.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(proto.SerializeToString()):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        reasons = "; ".join(f"{e.desc()} in {e.node_operator()} {e.node_name()}" for e in errors)
        raise ExportError(f"TensorRT {trt.__version__} cannot read the ONNX graph: {reasons or log.last}")
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    types = {onnx.TensorProto.UINT8: trt.uint8, onnx.TensorProto.FLOAT: trt.float32}
    for tensors, declared in ((inputs, proto.graph.input), (outputs, proto.graph.output)):
        found = {t.name: (t.dtype, tuple(t.shape)) for t in tensors}
        expected = {}
        for value in declared:
            kind = value.type.tensor_type
            expected[value.name] = types[kind.elem_type], tuple(d.dim_value or -1 for d in kind.shape.dim)
        if found != expected:
            raise ExportError(f"TensorRT {trt.__version__} reads {found} from the ONNX graph; expected is {expected}.")
    return network


def configure(trt: Any, builder: Any, network: Any, options: EngineOptions, log: Any) -> Any:
    """The builder's configuration, with a profile of the batch sizes; raises ExportError as `build` does."""
    chosen = options.timing_cache or options.version_compatible or options.hardware_compatible
    if chosen and "rtx" in trt.__name__:
        raise ExportError(
            "TensorRT-RTX times no kernels, its engines run on Ampere and newer as they are, and none is made for "
            "later versions; accepted are the batch sizes alone."
        )
    config = builder.create_builder_config()
    # What the graph keeps in float32 it keeps for its precision: TF32 would multiply it with half's 11 bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    image = network.get_input(0)
    profile = builder.create_optimization_profile()
    profile.set_shape(image.name, *((count, *tuple(image.shape)[1:]) for count in options.batch))
    config.add_optimization_profile(profile)
    if options.timing_cache:
        known = options.timing_cache.read_bytes() if options.timing_cache.exists() else b""
        cache = config.create_timing_cache(known)
        if not cache or not config.set_timing_cache(cache, ignore_mismatch=False):
            raise ExportError(
                f"{options.timing_cache}: not a timing cache of TensorRT {trt.__version__} on this GPU "
                f"({log.last}); remove it, or name another file."
            )
    return config
