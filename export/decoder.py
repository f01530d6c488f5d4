"""The 3D morphable model as TensorFlow operations: coefficients in, vertices and blendshapes out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from expnet_tf.morphable import MorphableModel


class Decoder(tf.Module):
    """Eq. (1), S' = mean + S alpha + E z, in float32; within 0.001 mm of MorphableModel's float64.

    The bases are kept in float16 where that is exact, as it is for the open face, whose file keeps them so: 4 MB
    in place of 8.
    """

    def __init__(self, face_model: MorphableModel, heads: Iterable[str]) -> None:
        """`heads`: those of the network. Without `identity` among them the face has mean shape."""
        super().__init__(name="face_model")
        self._with_identity = "identity" in heads
        bases = [face_model.identity_basis] if self._with_identity else []
        basis = np.concatenate([*bases, face_model.expression_basis])
        self.mean = _constant(face_model.mean, "mean")
        self.basis = _constant(basis.reshape(len(basis), -1), "basis")  # one matrix, so one product
        self.to_blendshapes = _constant(face_model.expression_to_blendshapes, "to_blendshapes")

    def __call__(self, heads: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """{head: float32 [B, width], sigma} -> the face as `predictor.Face` gives it.

        `vertices` float32 [B, n, 3], mm, head frame: identity and expression applied, pose not; `blendshapes`
        float32 [B, b], in 0..1.
        """
        expression = heads["expression"]
        codes = tf.concat([heads["identity"], expression], axis=1) if self._with_identity else expression
        moved = tf.matmul(codes, tf.cast(self.basis, tf.float32))
        weights = tf.matmul(expression, self.to_blendshapes)
        return {
            "vertices": self.mean + tf.reshape(moved, [-1, *self.mean.shape]),
            "blendshapes": tf.clip_by_value(weights, 0.0, 1.0),
        }


def _constant(values: np.ndarray, name: str) -> tf.Variable:
    """A variable that nothing trains: a SavedModel stores it once, where every signature stores its constants."""
    half = values.astype(np.float16)
    exact = half if np.array_equal(half, values) else values.astype(np.float32)
    return tf.Variable(exact, trainable=False, name=name)
