"""ONNX: ONNX Runtime, OpenVINO, TensorRT. `image` uint8 [batch, S, S, 3] -> heads float32 [batch, width]."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import keras
import onnx
from tf2onnx.convert import from_graph_def

from expnet_tf.export.graph import frozen_graph
from expnet_tf.network import ModelInfo, describe

# 17 has every operator of the network and is read by TensorRT from 8.6, OpenVINO from 2023 and ONNX Runtime
# from 1.12.
OPSET = 17


def write(model: keras.Model, info: ModelInfo, path: Path) -> None:
    """Write the float32 graph: batch normalisation folded, one transpose (to NCHW) at the entry."""
    save(convert(model, info), path)


def convert(model: keras.Model, info: ModelInfo) -> onnx.ModelProto:
    """The float32 graph of inference; its metadata say which model it is, and how faces are cropped for it."""
    # Before each of its passes tf2onnx copies the graph, weights and all, so as to go on where one fails: 12 GB for a
    # ResNet-101. Where this is set, to whatever it is, it copies nothing (7 GB), and what fails raises.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")
    heads = describe(model)["heads"]
    outputs = [f"{head}:0" for head in heads]
    proto, _ = from_graph_def(
        frozen_graph(model),
        name=info.name,
        input_names=["image:0"],
        output_names=outputs,
        opset=OPSET,
        tensors_to_rename={name: name.removesuffix(":0") for name in ["image:0", *outputs]},
    )
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for key, text in {
        "model": info.id,
        "licence": info.licence,
        "crop_factor": str(info.crop_factor),
        **({} if info.pixels == "expnet" else {"pixels": info.pixels}),
    }.items():
        proto.metadata_props.add(key=key, value=text)
    return proto


def save(proto: onnx.ModelProto, path: Path) -> None:
    """Write the graph after ONNX's own check of types and shapes; raises what the checker raises."""
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString())


def node_counts(proto: onnx.ModelProto) -> Counter[str]:
    """How many nodes of each operator a graph has: what a converter left in shows here."""
    return Counter(node.op_type for node in proto.graph.node)
