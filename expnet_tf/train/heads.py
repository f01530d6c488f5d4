"""Auxiliary landmark heads: they help a network to find its way, and `save_model` drops them."""

from __future__ import annotations

import keras
import numpy as np

from expnet_tf.train.config import JobError

LANDMARKS = 136  # 68 points, x and y in turn, in [-1, 1] over the crop
STRIDES = (16, 8)  # of the maps that `seen` looks at, the coarse one first


def with_landmarks(model: keras.Model) -> keras.Model:
    """The network with two more outputs [B, 136]: `points` from its features, `seen` from its maps.

    A plain regressor stays at the mean face for thousands of steps before it finds out where a face's parts are.
    `seen` has to find them from the start: a heat map a landmark, its centre of mass the answer (soft-argmax).

    Raises JobError for a backbone without maps of stride 8 and 16, or a crop that 16 does not divide.
    """
    points = keras.layers.Dense(LANDMARKS, dtype="float32", name="points")(model.get_layer("features").output)
    maps = None
    for stride in STRIDES:
        own = keras.layers.Conv2D(48, 1, name=f"seen_stride{stride}")(_last_map(model, stride))
        maps = own if maps is None else keras.layers.Add()([own, keras.layers.UpSampling2D(2)(maps)])
    maps = keras.layers.Conv2D(68, 1, dtype="float32", name="seen_maps")(keras.layers.ReLU()(maps))
    side = maps.shape[1]
    share = keras.ops.softmax(keras.ops.reshape(maps, (-1, side * side, 68)), axis=1)
    centre = (np.arange(side) + 0.5) / side * 2 - 1
    grid = np.stack(np.meshgrid(centre, centre), -1).reshape(-1, 2).astype(np.float32)
    found = keras.ops.einsum("bkp,kc->bpc", share, keras.ops.convert_to_tensor(grid))
    seen = keras.layers.Reshape((LANDMARKS,), name="seen")(found)
    return keras.Model(model.input, {**model.output, "points": points, "seen": seen}, name=model.name)


def _last_map(model: keras.Model, stride: int) -> keras.KerasTensor:
    """The output of the last residual block at this stride; blocks end in a layer named `..._out`."""
    size = model.input.shape[1]
    if size % stride:
        raise JobError(f"The landmark heads need a crop whose side is a multiple of {stride} px, not {size}.")
    found = [
        layer.output
        for layer in model.layers
        if layer.name.endswith("_out") and tuple(layer.output.shape[1:3]) == (size // stride,) * 2
    ]
    if not found:
        raise JobError(f"{model.name} has no layer named *_out with a map of stride {stride} for the landmarks.")
    return found[-1]
