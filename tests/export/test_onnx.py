"""The ONNX graph: names, clean structure."""

import onnx
import pytest

from expnet_tf import backbones
from expnet_tf.export.bundle import ExportResult
from expnet_tf.export.onnx import OPSET, convert, node_counts
from expnet_tf.network import ExpNet, ModelInfo


@pytest.fixture(scope="module")
def proto(exported: ExportResult) -> onnx.ModelProto:
    return onnx.load(exported.written["onnx"])


def shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_contract(proto: onnx.ModelProto) -> None:
    assert {i.name: shape(i) for i in proto.graph.input} == {"image": ["batch", 32, 32, 3]}
    assert proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    outputs = {o.name: shape(o) for o in proto.graph.output}
    assert outputs == {"expression": ["batch", 29], "identity": ["batch", 99], "pose": ["batch", 6]}
    assert {o.domain: o.version for o in proto.opset_import if not o.domain} == {"": OPSET}


def test_graph_is_clean(proto: onnx.ModelProto) -> None:
    """Batch normalisation folded; one transpose, at the entry."""
    kinds = node_counts(proto)
    assert kinds["Transpose"] == 1
    assert "Transpose" in [node.op_type for node in proto.graph.node][:4]
    assert not {"BatchNormalization", "Reshape", "Shape", "Identity", "Pad"} & set(kinds)
    assert kinds["Conv"] == 19
    assert len(proto.graph.node) <= 52


def test_resnet_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bottleneck a stage has every kind of layer that the 33 of ResNet-101 have."""
    trunk = backbones.Backbone(lambda x: backbones._resnet(x, (1, 1, 1, 1)), 64, 1.0)
    monkeypatch.setitem(backbones.BACKBONES, "resnet14", trunk)
    info = ModelInfo("resnet14", "0", "resnet14", 64, 1.25, ("expression",), "none", "Apache-2.0")
    kinds = node_counts(convert(ExpNet("resnet14", info.heads), info))
    # A stem, and in each stage three convolutions, a shortcut and a sum. The pad is the pooling's: ONNX pads a
    # maximum with minus infinity, the network with zeros.
    assert kinds == {
        "Cast": 1, "Mul": 1, "Transpose": 1, "Pad": 1, "MaxPool": 1, "GlobalAveragePool": 1, "Squeeze": 1, "MatMul": 1,
        "Conv": 1 + 4 * 4, "Relu": 1 + 4 * 3, "Add": 1 + 4,
    }  # fmt: skip


def test_metadata(proto: onnx.ModelProto) -> None:
    assert {p.key: p.value for p in proto.metadata_props} == {
        "model": "toy-0.1",
        "licence": "Apache-2.0",
        "crop_factor": "1.5",
    }
