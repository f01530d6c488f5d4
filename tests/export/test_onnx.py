"""The ONNX graph: names, clean structure."""

from collections import Counter

import onnx
import pytest

from expnet_tf.export.bundle import ExportResult
from expnet_tf.export.onnx import OPSET


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
    kinds = Counter(node.op_type for node in proto.graph.node)
    assert kinds["Transpose"] == 1
    assert "Transpose" in [node.op_type for node in proto.graph.node][:4]
    assert not {"BatchNormalization", "Reshape", "Shape", "Identity", "Pad"} & set(kinds)
    assert kinds["Conv"] == 19
    assert len(proto.graph.node) <= 52


def test_metadata(proto: onnx.ModelProto) -> None:
    assert {p.key: p.value for p in proto.metadata_props} == {
        "model": "toy-0.1",
        "licence": "Apache-2.0",
        "crop_factor": "1.5",
    }
