"""SavedModel: TensorFlow Serving and TensorFlow itself. A SavedModel is code: load only what you trust.

docs/savedmodel.md describes the signatures for those who call them.
"""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from expnet_tf.export import warmup
from expnet_tf.export.decoder import Decoder
from expnet_tf.export.graph import image_function, inference
from expnet_tf.morphable import open_face
from expnet_tf.network import ModelInfo

WARM_BATCHES = (1, 4, 16, 32)


def write(model: keras.Model, info: ModelInfo, path: Path) -> None:
    """Write the folder `path`, with signatures from `image`, uint8 [B, S, S, 3], any B from 1 on.

    `serving_default` gives the heads, float32 [B, width]; `decode`, where the model has an expression head, gives
    what `Decoder` makes of them with the open face: `vertices` and `blendshapes`. Warm-up requests for TensorFlow
    Serving lie in assets.extra.
    """
    infer = inference(model)
    signatures = {"serving_default": image_function(model, infer)}
    module = tf.Module()
    # The plain variables, not the Keras model: a module that holds a Keras 3 model loads with
    # tf.saved_model.load but fails in the v1 Session loader, and keras.export.ExportArchive stores every
    # weight twice.
    module.weights = list(signatures["serving_default"].variables)
    if "expression" in info.heads:
        module.decoder = decoder = Decoder(open_face(), info.heads)
        signatures["decode"] = image_function(model, lambda image: decoder(infer(image)))
    save(module, signatures, path)
    image = {batch: {"image": warmup.filled(128, tf.uint8, [batch, info.size, info.size, 3])} for batch in WARM_BATCHES}
    warmup.write(path, info.name, [(name, image[batch]) for name in signatures for batch in WARM_BATCHES])


def save(module: tf.Module, signatures: dict[str, tf.types.experimental.ConcreteFunction], path: Path) -> None:
    """Write the SavedModel; each tensor is named as in its signature, behind `decode_` and so on for inputs of others.

    TensorFlow itself names them `serving_default_image` and `StatefulPartitionedCall:1`, which is what
    `saved_model_cli` shows and what callers of a Session have to type.
    """
    tf.saved_model.save(module, str(path), signatures=signatures)
    file = path / "saved_model.pb"
    record = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    (graph,) = record.meta_graphs
    for name in signatures:
        _name_tensors(graph, name)
    file.write_bytes(record.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(path))  # of the file as it is now


def _name_tensors(meta_graph, name: str) -> None:
    """Rename a signature's placeholders, and put an Identity of the right name behind each output."""
    signature, graph = meta_graph.signature_def[name], meta_graph.graph_def
    for key, info in signature.inputs.items():
        old = info.name.removesuffix(":0")
        new = key if name == "serving_default" else f"{name}_{key}"
        for node in graph.node:
            if node.name == old:
                node.name = new
                node.attr["_user_specified_name"].s = key.encode()
            for place, source in enumerate(node.input):
                if source == old:
                    node.input[place] = new
        info.name = f"{new}:0"
    for key, info in signature.outputs.items():
        node = graph.node.add(name=key, op="Identity", input=[info.name.removesuffix(":0")])
        node.attr["T"].type = info.dtype
        info.name = f"{key}:0"
