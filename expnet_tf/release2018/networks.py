"""The trunks of the release: Caffe's ResNet-101, and AlexNet with groups and local response normalisation.

Layers are named as the release names them, so that a checkpoint's variables find their places by name. Builtin
Keras layers only, as in backbones.py; these are for imported weights and not for training, so they are no backbones.

Sources: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, as Caffe's model zoo has it
(3DMM-CNN, ExpNet); Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
NIPS 2012 (FacePoseNet).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import layers

from expnet_tf.backbones import Backbone

DEPTHS = (3, 4, 23, 3)  # blocks of the four stages of ResNet-101

GROUPS = ("1", "2")  # what the two halves of a grouped convolution are called


def caffe_resnet(x: keras.KerasTensor, depths: Sequence[int] = DEPTHS) -> keras.KerasTensor:
    """[B, S, S, 3], BGR or RGB by the weights of conv1, S even -> features [B, 2048].

    The stride sits in the first 1x1 convolution of a stage (branch2a); no convolution has a bias.
    """
    # TF1's SAME for a stride of 2 and an even side puts the odd pixel of padding below and to the right. Written out
    # it is the same in every framework.
    x = layers.ZeroPadding2D(((2, 3), (2, 3)), name="conv1_pad")(x)
    x = _conv_bn(x, "conv1", "bn_conv1", 64, 7, 2)
    x = layers.ReLU(name="conv1_relu")(x)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pool1_pad")(x)  # after a ReLU zero is as good as minus infinity
    x = layers.MaxPooling2D(3, 2, "valid", name="pool1")(x)
    for stage, depth in enumerate(depths, 2):
        for block, letter in enumerate(_letters(depth)):
            x = _bottleneck(x, f"{stage}{letter}", 64 * 2 ** (stage - 2), block == 0, 2 if stage > 2 else 1)
    return layers.GlobalAveragePooling2D(name="features")(x)


def _letters(depth: int) -> list[str]:
    """The names of a stage's blocks: a, b, c of a short one; a, b1, b2, ... of a long one."""
    return ["a", *("bc" if depth <= 3 else (f"b{number}" for number in range(1, depth)))][:depth]


def _bottleneck(x, name: str, width: int, first: bool, stride: int):
    step = stride if first else 1
    shortcut = _conv_bn(x, f"res{name}_branch1", f"bn{name}_branch1", 4 * width, 1, step) if first else x
    for part, filters, kernel in (("a", width, 1), ("b", width, 3), ("c", 4 * width, 1)):
        branch = f"{name}_branch2{part}"
        x = _conv_bn(x, f"res{branch}", f"bn{branch}", filters, kernel, step if part == "a" else 1)
        if part != "c":
            x = layers.ReLU(name=f"res{branch}_relu")(x)
    x = layers.Add(name=f"res{name}")([shortcut, x])
    return layers.ReLU(name=f"res{name}_out")(x)


def _conv_bn(x, name: str, bn: str, filters: int, kernel: int, stride: int):
    padding = "same" if stride == 1 else "valid"
    x = layers.Conv2D(filters, kernel, stride, padding, use_bias=False, name=name)(x)
    return layers.BatchNormalization(epsilon=1e-5, name=bn)(x)


def alexnet(x: keras.KerasTensor) -> keras.KerasTensor:
    """[B, 227, 227, 3] -> features [B, 4096], the layer that the release calls fc7."""
    x = layers.ZeroPadding2D(4, name="conv1_pad")(x)  # SAME of 11x11 in steps of 4 over 227 px
    x = layers.Conv2D(96, 11, 4, "valid", activation="relu", name="conv1")(x)
    x = local_response_normalization(layers.MaxPooling2D(3, 2, "valid", name="pool1")(x), "norm1")
    x = grouped(x, 256, 5, "conv2")
    x = local_response_normalization(layers.MaxPooling2D(3, 2, "valid", name="pool2")(x), "norm2")
    x = layers.Conv2D(384, 3, padding="same", activation="relu", name="conv3")(x)
    x = grouped(x, 384, 3, "conv4")
    x = grouped(x, 256, 3, "conv5")
    x = layers.MaxPooling2D(3, 2, "valid", name="pool5")(x)
    # Not a convolution over the whole 6 x 6 map, though that would save ONNX a transpose: of this size the eight-bit
    # quantiser stumbles over it.
    x = layers.Dense(4096, activation="relu", name="fc6")(layers.Flatten(name="pool5_flat")(x))
    return layers.Dense(4096, activation="relu", name="features")(x)


def grouped(x: keras.KerasTensor, filters: int, kernel: int, name: str) -> keras.KerasTensor:
    """Convolution in two groups, with ReLU: the layers `name`_1 and `name`_2, each of one half of the channels.

    As two layers and not as Conv2D(groups=2): that one Keras compiles by XLA on TensorFlow's CPU, and what it leaves
    in the graph is an operation that ONNX does not have.
    """
    halves = keras.ops.split(x, len(GROUPS), axis=-1)
    parts = [
        layers.Conv2D(filters // 2, kernel, padding="same", activation="relu", name=f"{name}_{group}")(half)
        for group, half in zip(GROUPS, halves, strict=True)
    ]
    return layers.Concatenate(name=name)(parts)


def local_response_normalization(
    x: keras.KerasTensor, name: str, radius: int = 2, alpha: float = 2e-5, beta: float = 0.75
) -> keras.KerasTensor:
    """x / (1 + alpha * sum of x^2 over the channels within `radius`) ^ beta, beta being 0.75.

    The sum is a frozen 1x1 convolution with ones in a band, which every runtime has.
    """
    assert beta == 0.75  # two square roots; a power is slow, and no eight-bit runtime has it
    channels = x.shape[-1]
    band = layers.Conv2D(
        channels, 1, kernel_initializer="zeros", bias_initializer="ones", trainable=False, name=f"{name}_sum"
    )
    # Scaled before it is squared: 256^2 is beyond half precision.
    total = band(keras.ops.square(x * math.sqrt(alpha)))
    place = keras.ops.arange(channels)
    near = keras.ops.abs(place[:, None] - place[None]) <= radius
    band.kernel.assign(keras.ops.cast(near, "float32")[None, None])
    return x * keras.ops.rsqrt(total * keras.ops.sqrt(total))


RESNET101 = Backbone(caffe_resnet, 224, 1.0)
ALEXNET = Backbone(alexnet, 227, 255.0)
