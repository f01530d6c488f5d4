"""The SavedModel: signature, and no weight stored twice."""

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from expnet_tf.export.bundle import ExportResult


def test_contract(exported: ExportResult) -> None:
    record = saved_model_pb2.SavedModel.FromString((exported.written["savedmodel"] / "saved_model.pb").read_bytes())
    signature = record.meta_graphs[0].signature_def["serving_default"]
    assert list(record.meta_graphs[0].meta_info_def.tags) == ["serve"]
    shapes = {
        name: [dim.size for dim in tensor.tensor_shape.dim]
        for tensors in (signature.inputs, signature.outputs)
        for name, tensor in tensors.items()
    }
    assert shapes == {"image": [-1, 32, 32, 3], "expression": [-1, 29], "identity": [-1, 99], "pose": [-1, 6]}


def test_weights_are_stored_once(exported: ExportResult, model: keras.Model) -> None:
    folder = exported.written["savedmodel"]
    stored = tf.train.list_variables(str(folder / "variables" / "variables"))
    weights = [tuple(shape) for name, shape in stored if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    assert sorted(weights) == sorted(tuple(w.shape) for w in model.weights)
    record = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    functions = record.meta_graphs[0].graph_def.library.function
    constants = [node for function in functions for node in function.node_def if node.op == "Const"]
    assert max(node.ByteSize() for node in constants) < 32 * 32 * 3 * 4  # no second mean image
