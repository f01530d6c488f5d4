"""ONNX with the convolutions in float16, for GPUs. The same names, shapes and types at both ends as in `onnx.py`.

The precision is written into the graph, which is how TensorRT takes it: 11 knows no other way, and 10 takes it as well.
Two parts stay in float32. Up to the subtraction of the mean image: half would round the mean, and then the difference
once more, and float32 costs nothing there, where a GPU computes element by element as it reads the pixels. And from the
pooling on: the average is a sum, the heads are a thousandth of the work, and around the 900 mm of the pose half knows
every half millimetre only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from expnet_tf.export import ExportError
from expnet_tf.export.onnx import convert, save
from expnet_tf.network import ModelInfo

# What a tensor may reach on the probe, of the largest float16. Photos are wilder than sixteen renders, and where an
# engine adds up products in half its sums are larger, on the way, than what comes out.
LIMIT = float(np.finfo(np.float16).max) / 8
PROBE_FACES = 16
PROBE_SEED = 16


def write(model: keras.Model, info: ModelInfo, path: Path) -> None:
    """Write the graph of `convert_float16`; raises ExportError as it does."""
    save(convert_float16(model, info), path)


def convert_float16(model: keras.Model, info: ModelInfo) -> onnx.ModelProto:
    """The float16 graph, after the float32 one has been seen to stay in range on rendered faces.

    Raises ExportError as `halve` and `check_range` do.
    """
    proto = convert(model, info)
    half = halve(proto)
    check_range(proto, half, probe(info))
    return half


def halve(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 graph as `onnx.convert` makes it, with the nodes from the transpose to the pooling in float16.

    Two casts are added, one at either end of that part. Raises ExportError where the graph has no such parts.
    """
    nodes = list(proto.graph.node)
    first, last = _trunk(nodes)
    start, end = nodes[first].input[0], nodes[last].input[0]
    trunk = _model(proto, nodes[first:last], [_untold(start)], [_untold(end)], _constants(proto, nodes[first:last]))
    # By itself the library leaves a cast to half and back on every tensor between nodes that it is told to spare, with
    # the rounding they were to be spared: so it is shown the part alone.
    half = convert_float_to_float16(trunk, keep_io_types=True)
    OnnxModel(half).topological_sort()  # it appends its casts

    entry, heads = nodes[:first], nodes[last:]
    constants = [*_constants(proto, entry + heads), *half.graph.initializer]
    return _model(proto, [*entry, *half.graph.node, *heads], proto.graph.input, proto.graph.output, constants)


def check_range(proto: onnx.ModelProto, half: onnx.ModelProto, images: np.ndarray) -> None:
    """See that what `half` computes in float16 stays in range: constants, and what `proto`, float32, computes there.

    images: uint8 [n, S, S, 3]. Raises ExportError that names the first tensor beyond LIMIT.
    """
    constants = {c.name: numpy_helper.to_array(c) for c in proto.graph.initializer}
    largest = {name: float(np.abs(value).max(initial=0)) for name, value in constants.items()}
    largest |= peaks(proto, images)
    for name in float16_tensors(half):
        # Not found is the cast at the entry; the transpose passes on what it holds.
        if not largest.get(name, 0.0) <= LIMIT:
            raise ExportError(
                f"The tensor {name} reaches {largest[name]:.4g} on rendered faces; "
                f"accepted in float16 is up to {LIMIT:.0f}, an eighth of its largest number."
            )


def peaks(proto: onnx.ModelProto, images: np.ndarray) -> dict[str, float]:
    """The largest magnitude of every tensor that a node computes, by its name, over images uint8 [n, S, S, 3]."""
    import onnxruntime

    exposed = onnx.ModelProto()
    exposed.CopyFrom(proto)
    del exposed.graph.output[:]
    names = [name for node in exposed.graph.node for name in node.output if name]
    exposed.graph.output.extend(_untold(name) for name in names)
    session = onnxruntime.InferenceSession(exposed.SerializeToString(), providers=["CPUExecutionProvider"])
    found = dict.fromkeys(names, 0.0)
    for image in images:  # one by one: ResNet-101's tensors of one face take 100 MB
        for name, value in zip(names, session.run(names, {"image": image[None]}), strict=True):
            found[name] = float(np.maximum(found[name], np.abs(value).max()))  # NaN stays NaN
    return found


def float16_tensors(proto: onnx.ModelProto) -> list[str]:
    """Names of the tensors of a graph that are float16, constants included."""
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    half = onnx.TensorProto.FLOAT16
    constants = [constant.name for constant in proto.graph.initializer if constant.data_type == half]
    return constants + [value.name for value in inferred.value_info if value.type.tensor_type.elem_type == half]


def probe(info: ModelInfo) -> np.ndarray:
    """Crops to look for large numbers with, uint8 [n, S, S, 3]: rendered faces, and black and white."""
    from expnet_tf.data.synth import face_crops

    faces = face_crops(PROBE_FACES, info.size, seed=PROBE_SEED, factor=info.crop_factor)
    return np.concatenate([faces, np.zeros_like(faces[:1]), np.full_like(faces[:1], 255)])


def _trunk(nodes: Sequence[onnx.NodeProto]) -> tuple[int, int]:
    """Indices of the transpose at the entry, and of the pooling after the last convolution."""
    convolutions = [i for i, node in enumerate(nodes) if node.op_type == "Conv"]
    entry = [i for i, node in enumerate(nodes) if node.op_type == "Transpose"]
    if convolutions and entry and entry[0] < convolutions[0]:
        for i in range(convolutions[-1], len(nodes)):
            if nodes[i].op_type == "GlobalAveragePool":
                return entry[0], i
    raise ExportError(
        "The ONNX graph is not a transpose, convolutions, a global average pooling and heads, in this order: "
        "accepted is a backbone that ends in GlobalAveragePooling2D."
    )


def _constants(proto: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> list[onnx.TensorProto]:
    """The constants that the nodes read."""
    read = {name for node in nodes for name in node.input}
    return [constant for constant in proto.graph.initializer if constant.name in read]


def _model(
    proto: onnx.ModelProto,
    nodes: Iterable[onnx.NodeProto],
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
    constants: Iterable[onnx.TensorProto],
) -> onnx.ModelProto:
    """A model of these nodes that says the same about itself as `proto`."""
    graph = helper.make_graph(list(nodes), proto.graph.name, list(inputs), list(outputs), list(constants))
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    model.graph.CopyFrom(graph)
    return model


def _untold(name: str) -> onnx.ValueInfoProto:
    """A float32 tensor whose shape is left to inference."""
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
