"""The float16 ONNX graph: types, casts, accuracy with every tensor rounded to half, and the check of the range."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from expnet_tf.export import ExportError, onnx_fp16
from expnet_tf.export.onnx import OPSET, convert, node_counts
from expnet_tf.morphable import open_face
from expnet_tf.network import POSE_STD, ModelInfo

INFO = ModelInfo("toy", "0.1", "compact", 32, 1.5, ("expression", "identity", "pose"), "none", "Apache-2.0")
HALF, FLOAT = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


@pytest.fixture(scope="module")
def single(model: keras.Model) -> onnx.ModelProto:
    return convert(model, INFO)


@pytest.fixture(scope="module")
def half(single: onnx.ModelProto) -> onnx.ModelProto:
    return onnx_fp16.halve(single)


@pytest.fixture
def changed(single: onnx.ModelProto) -> Callable[..., onnx.ModelProto]:
    """A copy of the float32 graph in which the first constant of the node that computes `output` is another."""

    def change(
        output: str, new: Callable[[np.ndarray], np.ndarray], source: onnx.ModelProto = single
    ) -> onnx.ModelProto:
        proto = onnx.ModelProto()
        proto.CopyFrom(source)
        (node,) = (n for n in proto.graph.node if output in n.output)
        constant = next(c for name in node.input for c in proto.graph.initializer if c.name == name)
        values = new(numpy_helper.to_array(constant)).astype(np.float32)
        constant.CopyFrom(numpy_helper.from_array(values, constant.name))
        return proto

    return change


def test_the_ends_are_those_of_float32(single: onnx.ModelProto, half: onnx.ModelProto) -> None:
    assert list(half.graph.input) == list(single.graph.input)
    assert list(half.graph.output) == list(single.graph.output)
    assert half.metadata_props == single.metadata_props
    assert {o.version for o in half.opset_import if not o.domain} == {OPSET}


def test_two_casts_more_and_nothing_else(single: onnx.ModelProto, half: onnx.ModelProto) -> None:
    assert node_counts(half) - node_counts(single) == {"Cast": 2}
    assert node_counts(single) - node_counts(half) == {}


def test_what_is_half(half: onnx.ModelProto) -> None:
    """From the transpose to the pooling; not the mean image, not the heads."""
    types = {c.name: c.data_type for c in half.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True).graph
    types |= {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.output)}
    for node in half.graph.node:
        found = {types[name] for name in (*node.input, *node.output) if name in types}
        if node.op_type in ("Conv", "Relu", "Transpose"):
            assert found == {HALF}
        elif node.op_type in ("Mul", "MatMul", "GlobalAveragePool"):
            assert found == {FLOAT}
    order = [node.op_type for node in half.graph.node]
    assert order[:5] == ["Cast", "Mul", "Add", "Cast", "Transpose"]
    assert order[order.index("GlobalAveragePool") - 1] == "Cast"


def test_accuracy_with_every_tensor_rounded(model: keras.Model, half: onnx.ModelProto, images: np.ndarray) -> None:
    """ONNX's reference evaluator rounds every float16 tensor; ONNX Runtime's CPU goes on in float32 between nodes."""
    names = [o.name for o in half.graph.output]
    found = dict(zip(names, ReferenceEvaluator(half).run(names, {"image": images}), strict=True))
    expected = {head: keras.ops.convert_to_numpy(value) for head, value in model(images).items()}
    z, exact = (open_face().decode(expression=heads["expression"]) for heads in (found, expected))
    assert np.sqrt(np.mean(np.sum((z - exact) ** 2, axis=-1))) < 0.05  # mm: the tolerance of float16 artifacts
    np.testing.assert_allclose(found["identity"], expected["identity"], atol=0.02)
    assert np.abs((found["pose"] - expected["pose"]) / POSE_STD).max() < 0.01


def test_the_pose_keeps_its_tenths(changed: Callable[..., onnx.ModelProto], images: np.ndarray) -> None:
    """Where the network says nothing the pose is its mean: of 900.3 mm half would make 900.5."""
    proto = changed("pose", lambda mean: np.full_like(mean, -900.3))
    (pose_node,) = (n for n in proto.graph.node if "pose" in n.output)
    proto = changed(pose_node.input[0], np.zeros_like, proto)  # the standardised pose times its spread
    half = onnx_fp16.halve(proto)
    (pose,) = onnxruntime.InferenceSession(half.SerializeToString()).run(["pose"], {"image": images[:1]})
    np.testing.assert_array_equal(pose, np.float32(-900.3))


def test_peaks(single: onnx.ModelProto, images: np.ndarray) -> None:
    peaks = onnx_fp16.peaks(single, images)
    assert len(peaks) == len(single.graph.node)
    cast = next(n.output[0] for n in single.graph.node if n.op_type == "Cast")
    assert peaks[cast] == images.max()


@pytest.mark.parametrize(("factor", "refused"), [(300, False), (3e4, True), (np.nan, True)])
def test_range(changed: Callable[..., onnx.ModelProto], images: np.ndarray, factor: float, refused: bool) -> None:
    """The mean image scaled up: constants and heads are float32 there, so what is seen is the activations."""
    proto = changed("add:0", lambda shift: shift * factor)
    half = onnx_fp16.halve(proto)
    if refused:
        with pytest.raises(ExportError, match=r"The tensor \S+ reaches .* accepted in float16 is up to 8188"):
            onnx_fp16.check_range(proto, half, images)
    else:
        onnx_fp16.check_range(proto, half, images)


def test_a_constant_out_of_range(
    changed: Callable[..., onnx.ModelProto], single: onnx.ModelProto, images: np.ndarray
) -> None:
    """The library would clip it to 65504 without a word."""
    convolution = next(n for n in single.graph.node if n.op_type == "Conv")
    proto = changed(convolution.output[0], lambda weights: np.full_like(weights, 1e5))
    with pytest.raises(ExportError, match=r"reaches 1e\+05 "):
        onnx_fp16.check_range(proto, onnx_fp16.halve(proto), np.zeros_like(images[:1]))


def test_a_graph_of_another_kind(single: onnx.ModelProto) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(single)
    for node in proto.graph.node:
        if node.op_type == "GlobalAveragePool":
            node.op_type = "GlobalMaxPool"
    with pytest.raises(ExportError, match="ends in GlobalAveragePooling2D"):
        onnx_fp16.halve(proto)


def test_write(model: keras.Model, half: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_fp16, "PROBE_FACES", 2)
    onnx_fp16.write(model, INFO, tmp_path / "model-fp16.onnx")
    written = onnx.load(tmp_path / "model-fp16.onnx")
    assert node_counts(written) == node_counts(half)
    single = convert(model, INFO).ByteSize()
    assert written.ByteSize() < 0.6 * single  # the heads stay as they are
