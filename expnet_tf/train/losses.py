"""Losses in what they do to the face: millimetres on the mesh, not sigma units of a code.

A loss weighted by sigma starves the small components; the displacement that a code error causes on the vertices
people look at (lips, lids, brows) weighs each component, and each combination of them, by what is seen.
"""

import keras
import numpy as np
from keras import ops

from expnet_tf.morphable import MorphableModel
from expnet_tf.network import POSE_STD

REGION_WEIGHTS = {"lips": 4.0, "eyelids": 4.0, "brows": 4.0, "nose": 1.0, "skin": 1.0}
"""Weight of a vertex by region; all others (ears, scalp, inside of the mouth) do not count."""


def vertex_weights(model: MorphableModel) -> np.ndarray:
    """float64 [n], sums to 1."""
    weights = np.zeros(model.n_vertices)
    for name, weight in REGION_WEIGHTS.items():
        weights[model.region(name)] = weight
    return weights / weights.sum()


def displacement_root(basis: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float32 [k, k] matrix M with |d M|^2 = weighted mean square displacement (mm^2) of a code error d [k].

    basis [k, n, 3] mm per sigma, weights [n]. M is the symmetric root of the Gram matrix E' W E.
    """
    scaled = (basis * np.sqrt(weights)[:, None]).reshape(len(basis), -1)
    value, vectors = np.linalg.eigh(scaled @ scaled.T)
    return ((vectors * np.sqrt(value.clip(0))) @ vectors.T).astype(np.float32)


class Displacement(keras.losses.Loss):
    """Root mean square vertex displacement in mm, plus `l1` times the mean absolute error in sigma."""

    def __init__(self, root: np.ndarray, l1: float = 0.1, name: str = "displacement"):
        super().__init__(name=name)
        self.root, self.l1 = root, l1

    def call(self, y_true, y_pred):
        error = y_pred - ops.cast(y_true, y_pred.dtype)
        moved = ops.matmul(error, self.root)
        rms = ops.sqrt(ops.sum(moved * moved, axis=-1) + 1e-4)
        return rms + self.l1 * ops.mean(ops.abs(error), axis=-1)


class PoseError(keras.losses.Loss):
    """Mean absolute error of the pose in units of POSE_STD."""

    def call(self, y_true, y_pred):
        scale = ops.convert_to_tensor(np.float32(POSE_STD))
        return ops.mean(ops.abs(y_pred - ops.cast(y_true, y_pred.dtype)) / scale, axis=-1)
