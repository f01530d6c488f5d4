"""TFLite: phones and edge, through LiteRT. Signature `serving_default`: `image` uint8 -> heads float32."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from expnet_tf.export.graph import frozen_function
from expnet_tf.network import ModelInfo


def write(model: keras.Model, info: ModelInfo, path: Path) -> None:
    """Write the float32 model, dynamic batch size."""
    path.write_bytes(float_model(model, info))


def write_float16(model: keras.Model, info: ModelInfo, path: Path) -> None:
    """Write the model with its weights in float16; runtimes without half arithmetic compute in float32."""
    path.write_bytes(_convert(model, info, float16=True))


def float_model(model: keras.Model, info: ModelInfo) -> bytes:
    """The float32 model as a flatbuffer: what `write` writes, and what the quantiser starts from."""
    return _convert(model, info, float16=False)


def _convert(model: keras.Model, info: ModelInfo, float16: bool) -> bytes:
    function = frozen_function(model)
    module = tf.Module()
    module.serve = function  # keeps the function's graph alive while it is converted
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    if float16:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return name_tensors(converter.convert())


def name_tensors(content: bytes) -> bytes:
    """Give each input and output tensor the name it has in the signature.

    The converter writes `serving_default_image:0` and `PartitionedCall:1`; runtimes without signatures, and
    model viewers, show those.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for signature in model.signatureDefs:
        tensors = model.subgraphs[signature.subgraphIndex].tensors
        for entry in (*signature.inputs, *signature.outputs):
            tensors[entry.tensorIndex].name = entry.name
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
