"""The network as a TensorFlow function: what every artifact is made from, with the names they all show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from expnet_tf.export import ExportError
from expnet_tf.network import describe


def serving_function(model: keras.Model) -> tf.types.experimental.ConcreteFunction:
    """Inference of `model` from `image`, uint8 [None, S, S, 3], to {head: float32 [None, width]}.

    Raises ExportError where Keras does not run on TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"Exports are made with Keras on TensorFlow, not on {keras.backend.backend()}; "
            "set KERAS_BACKEND=tensorflow."
        )
    size = describe(model)["size"]
    mean = model.get_layer("mean_image")

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8, name="image")])
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        # The layer computes with an eager copy of its weights. Renewed here, inside the trace, the copy is a
        # read of the variables, and no second mean image is stored as a constant.
        mean.finalize_state()
        outputs = model(image, training=False)
        return {head: tf.identity(value, name=head) for head, value in outputs.items()}

    try:
        return serve.get_concrete_function()
    finally:
        mean.finalize_state()


def frozen_graph(model: keras.Model) -> Any:
    """GraphDef of inference with the weights as constants; nodes `image` and one by the name of each head."""
    return convert_variables_to_constants_v2(serving_function(model)).graph.as_graph_def()


def frozen_function(model: keras.Model) -> Callable[..., dict[str, tf.Tensor]]:
    """The frozen graph as a function again, its inputs and outputs under their own names."""
    graph = frozen_graph(model)
    with tf.Graph().as_default() as scope:
        tf.import_graph_def(graph, name="")
    # wrap_function is the one way to choose output tensors by name; a tf.function adds `Identity` nodes.
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(scope.as_graph_def(), name=""), [])
    heads = describe(model)["heads"]
    return wrapped.prune("image:0", {head: f"{head}:0" for head in heads})
