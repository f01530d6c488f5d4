"""Backbones by name: a float image in, the layer `features` out. Builtin Keras layers only.

Adding one is one function and one line in `BACKBONES`. The residual networks follow He, Zhang, Ren, Sun,
"Deep Residual Learning for Image Recognition", CVPR 2016 (version 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

# Scale of the last normalisation of each residual branch of the deep networks at the start. At 1 the variance
# doubles with every block, and a random ResNet-101 turns float32 rounding into errors of whole sigmas. The compact
# network is shallow enough for 1, and learns sooner with it.
RESIDUAL_GAMMA = 0.2


COMPACT = ((32,), (64, 64), (96, 96, 128))  # widths of compact's blocks at stride 4, 8 and 16
SHALLOW = tuple(len(widths) for widths in COMPACT)


class Backbone(NamedTuple):
    """A trunk: `build(x)` maps float [B, S, S, 3], (pixel - mean) / scale, to features [B, d]."""

    build: Callable[[keras.KerasTensor], keras.KerasTensor]
    size: int  # default side of the crop, px
    scale: float  # grey levels to one unit of the trunk's input


def _conv_bn(x, filters, kernel, stride, name, momentum, gamma=1.0, relu=True, variance=1.0):
    """Convolution without bias, batch normalisation and ReLU; pads (kernel - 1) / 2 on every side."""
    if stride > 1 and kernel > 1:
        # With stride 2, TensorFlow's "same" pads bottom and right only where Caffe and Torch pad all sides.
        # Padding written out means the same pixels everywhere.
        x = layers.ZeroPadding2D((kernel - 1) // 2, name=f"{name}_pad")(x)
        padding = "valid"
    else:
        padding = "same"
    x = layers.Conv2D(
        filters, kernel, stride, padding, use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(
        momentum=momentum,
        epsilon=1e-5,
        gamma_initializer=keras.initializers.Constant(gamma),
        moving_variance_initializer=keras.initializers.Constant(variance),
        name=f"{name}_bn",
    )(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _residual(x, convolutions, name, momentum, gamma=1.0):
    """ReLU(x + branch(x)); `convolutions`: (filters, kernel, stride) of the branch, in order.

    `gamma` is the scale that the branch starts at.
    """
    filters = convolutions[-1][0]
    stride = int(np.prod([s for _, _, s in convolutions]))
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = _conv_bn(x, filters, 1, stride, f"{name}_shortcut", momentum, relu=False)
    last = len(convolutions)
    for i, (width, kernel, step) in enumerate(convolutions, 1):
        scale = gamma if i == last else 1.0
        x = _conv_bn(x, width, kernel, step, f"{name}_{i}", momentum, scale, relu=i < last)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_out")(x)


def _resnet(x, depths: Sequence[int]):
    """Bottleneck residual network; the stride sits in a stage's first 1x1 convolution, as in He et al."""
    momentum = 0.9
    # Pixels come in grey levels, about 64 strong, and He's initialisation doubles their variance: a running
    # variance that starts there keeps an untrained network in range.
    x = _conv_bn(x, 64, 7, 2, "stem", momentum, variance=2 * 64.0**2)
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)  # after a ReLU, zero is as good as minus infinity
    x = layers.MaxPooling2D(3, 2, "valid", name="stem_pool")(x)
    for stage, depth in enumerate(depths, 2):
        width = 64 * 2 ** (stage - 2)
        for block in range(1, depth + 1):
            stride = 2 if block == 1 and stage > 2 else 1
            branch = ((width, 1, stride), (width, 3, 1), (4 * width, 1, 1))
            x = _residual(x, branch, f"stage{stage}_block{block}", momentum, RESIDUAL_GAMMA)
    return layers.GlobalAveragePooling2D(name="features")(x)


def resnet101(x):
    """The paper's trunk: [B, 224, 224, 3] -> features [B, 2048]."""
    return _resnet(x, (3, 4, 23, 3))


def resnet50(x):
    """The same with half the blocks: [B, 224, 224, 3] -> features [B, 2048]."""
    return _resnet(x, (3, 4, 6, 3))


def _plain(x, stages: Sequence[Sequence[int]], fine: int = 0):
    """Plain 3x3 residual network; `stages`: widths of the blocks at stride 4, 8 and 16. -> features [B, 256].

    Convolution, ReLU and addition only: they stay accurate in int8 and every runtime is fastest at them. No
    global average pool: where the mouth corner is decides the answer, so every place of the last map has
    weights of its own. They are written as a convolution as large as the map, not as flatten and dense, because
    flattening a map costs ONNX a transpose; the average over the one cell left only drops the axes. With `fine`,
    that many channels of the map of stride 8 are read in the same way.
    """
    momentum = 0.95
    x = _conv_bn(x, 16, 3, 2, "stem1", momentum)
    x = _conv_bn(x, 32, 3, 2, "stem2", momentum)
    maps = []
    for stage, widths in enumerate(stages, 2):
        for block, width in enumerate(widths, 1):
            stride = 2 if block == 1 and stage > 2 else 1
            # A block that keeps the shape starts as nothing, so a network may start from a shallower one's weights.
            gamma = 0.0 if block > SHALLOW[stage - 2] else 1.0
            x = _residual(x, ((width, 3, stride), (width, 3, 1)), f"stage{stage}_block{block}", momentum, gamma)
        maps.append(x)
    x = _read_map(_conv_bn(x, 32, 1, 1, "squeeze", momentum), "features_conv", "he_normal")
    if fine:
        near = _conv_bn(maps[-2], fine, 1, 1, "squeeze_fine", momentum)
        x = layers.Add(name="features_add")([x, _read_map(near, "features_fine_conv", "zeros")])
    # Normalised, or most of the 256 die at the learning rates that the rest of the network likes: without it 242
    # were constant zero after a few thousand steps.
    x = layers.BatchNormalization(momentum=momentum, epsilon=1e-5, name="features_bn")(x)
    x = layers.ReLU(name="features_relu")(x)
    return layers.GlobalAveragePooling2D(name="features")(x)


def _read_map(x, name, initializer):
    return layers.Conv2D(256, x.shape[1], use_bias=False, kernel_initializer=initializer, name=name)(x)


def compact(x):
    """Of 1.1 million parameters: [B, 96, 96, 3] -> features [B, 256]."""
    return _plain(x, COMPACT)


def base(x):
    """`compact` with more pixels, two blocks more and the map of stride 8 read too: [B, 128, 128, 3] -> [B, 256].

    2.8 million parameters. All layers that `compact` has are here, under the same names.
    """
    return _plain(x, ((32,), (64, 64, 64), (96, 96, 128, 128)), fine=16)


BACKBONES = {
    "compact": Backbone(compact, 96, 64.0),
    "base": Backbone(base, 128, 64.0),
    "resnet50": Backbone(resnet50, 224, 1.0),
    "resnet101": Backbone(resnet101, 224, 1.0),
}
