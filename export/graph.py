"""The network as a TensorFlow function: what every artifact is made from, with the names they all show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from expnet_tf.export import ExportError
from expnet_tf.network import describe

Heads = dict[str, tf.Tensor]


def inference(model: keras.Model) -> Callable[[tf.Tensor], Heads]:
    """What `model` computes in inference, as a Python function of tensors to be traced.

    It takes `image`, uint8 [B, S, S, 3], and gives {head: float32 [B, width]}. Raises ExportError where the model
    has no mean image layer as `ExpNet` makes it.
    """
    layers = {layer.name: layer for layer in model.layers}
    mean = layers.get("mean_image")
    if not isinstance(mean, keras.layers.EinsumDense):
        raise ExportError("The model has no mean_image layer that scales and shifts pixels; accepted: ExpNet's.")
    trunk = keras.Model(mean.output, model.output, name=model.name)

    def infer(image: tf.Tensor) -> Heads:
        # The layer is an einsum with a diagonal kernel, which converters turn into a matrix product between two
        # reshapes. Multiplied and added by hand it is two nodes, with the same roundings.
        scale = tf.linalg.diag_part(tf.convert_to_tensor(mean.kernel))
        outputs: Heads = trunk(tf.cast(image, tf.float32) * scale + mean.bias, training=False)
        return outputs

    return infer


def image_function(
    model: keras.Model, function: Callable[[tf.Tensor], Heads]
) -> tf.types.experimental.ConcreteFunction:
    """`function` traced for `image`, uint8 [None, S, S, 3], S being the model's; outputs under their own names."""
    size = describe(model)["size"]

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8, name="image")])
    def serve(image: tf.Tensor) -> Heads:
        return {name: tf.identity(value, name=name) for name, value in function(image).items()}

    return serve.get_concrete_function()


def serving_function(model: keras.Model) -> tf.types.experimental.ConcreteFunction:
    """Inference of `model` from `image`, uint8 [None, S, S, 3], to {head: float32 [None, width]}.

    Raises ExportError: see `inference`.
    """
    return image_function(model, inference(model))


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
