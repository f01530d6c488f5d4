"""Losses in what they do to the face: millimetres on the mesh, not sigma units of a code.

A loss weighted by sigma starves the small components; the displacement that a code error causes on the vertices
people look at (lips, lids, brows) weighs each component, and each combination of them, by what is seen.
"""

from collections.abc import Sequence

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
    """Root mean square vertex displacement in mm."""

    def __init__(self, root: np.ndarray, name: str = "displacement"):
        super().__init__(name=name)
        self.root = root

    def call(self, y_true, y_pred):
        moved = ops.matmul(y_pred - ops.cast(y_true, y_pred.dtype), self.root)
        return ops.sqrt(ops.sum(moved * moved, axis=-1) + 1e-4)


def zones(model: MorphableModel) -> dict[str, np.ndarray]:
    """Vertex weights [n] (each sums to 1) of the zones that move on their own: mouth, eyes, brows, and the whole."""
    whole = vertex_weights(model)
    points = model.mean[model.landmark_ids]
    below_nose, above_eyes = model.mean[:, 1] < points[33, 1], model.mean[:, 1] > points[37, 1]
    masks = {"mouth": below_nose, "eyes": model.region("eyelids"), "brows": above_eyes & ~model.region("eyelids")}
    return {"whole": whole} | {name: whole * mask / (whole * mask).sum() for name, mask in masks.items()}


class ZoneShare(keras.losses.Loss):
    """Displacement error of each zone as a share of what that zone moves at all, averaged over zones.

    In plain millimetres the open mouth drowns all else: a network learned two components of 29 and stayed there.
    Zones count alike here, and left-right differences, which are small too, count apart from the symmetric motion.
    """

    def __init__(self, model: MorphableModel, asymmetry: float = 0.35, name: str = "zone_share"):
        super().__init__(name=name)
        roots, weights = [], []
        spread = np.sqrt(model.expression_variance)
        for vertices in zones(model).values():
            for sign, weight in ((1, 1.0), (-1, asymmetry)):
                basis = model.expression_basis * (model.expression_mirror == sign)[:, None, None]
                root = displacement_root(basis, vertices)
                moves = np.linalg.norm(root * spread)
                roots.append(root / moves)
                weights.append(weight)
        self.roots = np.stack(roots).astype(np.float32)
        self.weights = (np.array(weights) / np.sum(weights)).astype(np.float32)

    def call(self, y_true, y_pred):
        error = y_pred - ops.cast(y_true, y_pred.dtype)
        moved = ops.einsum("bi,rij->brj", error, self.roots)
        squares = ops.sum(moved * moved, axis=-1)
        # The root alone has the median for its optimum, and the median face never blinks: half of it is the square.
        shares = (squares + ops.sqrt(squares + 1e-4)) / 2
        return ops.sum(shares * self.weights, axis=-1)


class PointError(keras.losses.Loss):
    """Mean absolute error of 68 landmarks [136]; lids, brows and lips count most, the jaw line least."""

    WEIGHTS = np.repeat([0.3, 1.5, 0.7, 2.0, 1.5], [17, 10, 9, 12, 20])

    def call(self, y_true, y_pred):
        weights = np.repeat(self.WEIGHTS / self.WEIGHTS.mean(), 2).astype(np.float32)
        return ops.mean(ops.abs(y_pred - ops.cast(y_true, y_pred.dtype)) * weights, axis=-1)


class PoseError(keras.losses.Loss):
    """Mean absolute error of the pose in units of POSE_STD."""

    def call(self, y_true, y_pred):
        scale = ops.convert_to_tensor(np.asarray(POSE_STD, np.float32))
        return ops.mean(ops.abs(y_pred - ops.cast(y_true, y_pred.dtype)) / scale, axis=-1)


class HalfSquare(keras.losses.Loss):
    """Half the sum of the squared differences, in units of `scale`: Caffe's Euclidean loss, and the paper's.

    Keras' mean squared error is the mean over the components: 14.5 times less for 29 of them.
    """

    def __init__(self, scale: Sequence[float] = (1.0,), name: str = "half_square"):
        super().__init__(name=name)
        self.scale = np.asarray(scale, np.float32)

    def call(self, y_true, y_pred):
        error = (y_pred - ops.cast(y_true, y_pred.dtype)) / ops.convert_to_tensor(self.scale)
        return 0.5 * ops.sum(error * error, axis=-1)
