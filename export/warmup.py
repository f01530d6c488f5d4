"""Warm-up requests: TensorFlow Serving replays them when it loads a model, before it says that it is ready.

The first call of a graph compiles and allocates; without them the first user of each batch size pays for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

log = logging.getLogger(__name__)

FILE = "assets.extra/tf_serving_warmup_requests"  # where TensorFlow Serving looks

Request = tuple[str, dict]
"""Name of a signature, and {input: TensorProto}."""


def filled(value: int, dtype: tf.DType, shape: list[int]) -> tf.compat.v1.TensorProto:
    """A tensor of one value throughout, stored as that one value."""
    return tf.make_tensor_proto(value, dtype=dtype, shape=shape)


def write(path: Path, model: str, requests: Iterable[Request]) -> None:
    """Write `requests` into the SavedModel folder `path`, as a TFRecord of PredictionLog messages.

    Where tensorflow-serving-api (the extra `serving`) is not installed none are written, which the log says: the
    model serves all the same.
    """
    try:
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog  # type: ignore[import-untyped]
    except ImportError:
        log.warning("No warm-up requests in %s: pip install 'expnet_tf[serving]' for the messages.", path.name)
        return
    file = path / FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in requests:
            record = PredictionLog()
            request = record.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = model, signature
            for name, tensor in inputs.items():
                request.inputs[name].CopyFrom(tensor)
            writer.write(record.SerializeToString(deterministic=True))
