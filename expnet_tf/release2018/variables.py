"""Which variables the release's checkpoints hold, by the layers of networks.py, and how they become its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np
from keras import layers

from expnet_tf.network import HEADS
from expnet_tf.release2018 import pose
from expnet_tf.release2018.networks import GROUPS

POSE_SCOPE = "Spatial_Transformer/ST2"
BATCH_NORM = ("scale", "offset", "mean", "variance")  # in the order of Keras' weights
BIAS = "baises"  # sic, in FacePoseNet

Take = Callable[[str], np.ndarray]
Shapes = dict[str, tuple[int, ...]]


def resnet_shapes(model: keras.Model, scope: str) -> Shapes:
    """{variable: shape} of a ResNet with its heads, as the release has it in `scope`: exprCNN or shapeCNN."""
    shapes: Shapes = {}
    for layer in _with_weights(model):
        if isinstance(layer, layers.Conv2D):
            shapes[f"{scope}/{layer.name}/weights"] = tuple(layer.kernel.shape)
        elif isinstance(layer, layers.BatchNormalization):
            shapes |= {f"{scope}/{layer.name}/{part}": tuple(layer.gamma.shape) for part in BATCH_NORM}
    width = sum(HEADS[head] for head in model.output)
    features = model.get_layer("features").output.shape[-1]
    return shapes | {f"{scope}/{scope}_fc1/weights": (features, width), f"{scope}/{scope}_fc1/biases": (width,)}


def fill_resnet(model: keras.Model, scope: str, take: Take) -> None:
    """Set the weights. conv1 is turned from BGR to RGB; the heads share fc1's columns, in the order of HEADS."""
    for layer in _with_weights(model):
        if isinstance(layer, layers.Conv2D):
            kernel = take(f"{scope}/{layer.name}/weights")
            layer.set_weights([kernel[:, :, ::-1] if layer.name == "conv1" else kernel])
        elif isinstance(layer, layers.BatchNormalization):
            layer.set_weights([take(f"{scope}/{layer.name}/{part}") for part in BATCH_NORM])
    kernel, bias = take(f"{scope}/{scope}_fc1/weights"), take(f"{scope}/{scope}_fc1/biases")
    first = 0
    for head in (head for head in HEADS if head in model.output):
        columns = slice(first, first + HEADS[head])
        model.get_layer(head).set_weights([kernel[:, columns], bias[columns]])
        first = columns.stop


def alexnet_shapes(model: keras.Model) -> Shapes:
    """{variable: shape} of FacePoseNet."""
    shapes: Shapes = {}
    for layer in _with_weights(model):
        name, kernel = _release_name(layer), tuple(layer.kernel.shape)
        if layer.name != name and name.startswith("conv"):
            kernel = (*kernel[:-1], len(GROUPS) * kernel[-1])
        shapes[f"{POSE_SCOPE}/{name}/W"] = kernel
        shapes[f"{POSE_SCOPE}/{name}/{BIAS}"] = kernel[-1:]
    return shapes


def fill_alexnet(model: keras.Model, take: Take, labels: Mapping[str, np.ndarray]) -> None:
    """Set the weights; `labels`: float [6] `mean` and `std` of the poses, which go into the head with the frame."""
    read: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for layer in _with_weights(model):
        name = _release_name(layer)
        if name not in read:
            read[name] = take(f"{POSE_SCOPE}/{name}/W"), take(f"{POSE_SCOPE}/{name}/{BIAS}")
        kernel, bias = read[name]
        if name == "conv1":
            kernel = kernel[:, :, ::-1]  # BGR to RGB
        elif name == "fc8":
            kernel, bias = pose.standardised(kernel, bias, labels["mean"], labels["std"])
        elif name != layer.name and name.startswith("conv"):
            half = GROUPS.index(layer.name.removeprefix(f"{name}_"))
            columns = slice(half * layer.filters, (half + 1) * layer.filters)
            kernel, bias = kernel[..., columns], bias[columns]
        layer.set_weights([kernel, bias])


def _release_name(layer: keras.layers.Layer) -> str:
    """conv2 for the layers conv2_1 and conv2_2, fc7 for features, fc8 for the head."""
    return {"features": "fc7", "pose_standardised": "fc8"}.get(layer.name, layer.name.partition("_")[0])


def _with_weights(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers that weights are imported to: not the mean image, nor a normalisation's frozen sum."""
    return [layer for layer in model.layers if isinstance(layer, layers.Layer) and layer.trainable_weights]
