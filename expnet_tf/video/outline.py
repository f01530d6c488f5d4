"""The face box of a predicted mesh, in the convention of every box: forehead to chin, ear to ear."""

from __future__ import annotations

import numpy as np

from expnet_tf.face_box import face_box_vertices
from expnet_tf.morphable import MorphableModel
from expnet_tf.predictor import Face

_DIRECTIONS = 600


class Outline:
    """Boxes of one face model's meshes."""

    def __init__(self, model: MorphableModel) -> None:
        """Raises FaceModelError where the model has no landmarks."""
        mean, ids = model.mean, face_box_vertices(model)
        # A few hundred vertices are the outermost from somewhere; the other thousands never touch a box.
        self._ids = ids[np.unique((mean[ids] @ _sphere(_DIRECTIONS).T).argmax(axis=0))]
        self._mean = mean[self._ids]
        self._identity = model.identity_basis[:, self._ids].reshape(len(model.identity_basis), -1)
        self._expression = model.expression_basis[:, self._ids].reshape(len(model.expression_basis), -1)

    def box(self, face: Face) -> tuple[float, float, float, float]:
        """x, y, w, h in px of the photo. Raises ModelError where the face has no pose."""
        moved = face.expression.astype(np.float64) @ self._expression
        if face.identity is not None:
            moved = moved + face.identity.astype(np.float64) @ self._identity
        seen = face.project(self._mean + moved.reshape(-1, 3))
        low, high = seen.min(axis=0), seen.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def _sphere(count: int) -> np.ndarray:
    """Directions [count, 3], evenly over the sphere (a golden spiral)."""
    z = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
