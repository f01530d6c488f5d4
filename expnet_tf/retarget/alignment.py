"""The similarity between two sets of corresponding points.

S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE Transactions on
Pattern Analysis and Machine Intelligence 13(4), 1991.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expnet_tf.retarget import RetargetError

FLAT = 1e-6  # of the largest extent: points closer to one line than this fix no rotation


@dataclass(frozen=True)
class Similarity:
    """target = scale * rotation @ source + translation."""

    scale: float  # target mm per source mm
    rotation: np.ndarray  # float64 [3, 3], determinant 1
    translation: np.ndarray  # float64 [3], mm of the target
    rms: float  # mm of the target: what is left between the points
    spread: float  # mm of the target: rms distance of its points from their middle

    def move(self, points: np.ndarray) -> np.ndarray:
        """Points [.., 3] mm of the source -> mm of the target."""
        return self.turn(points) + self.translation

    def turn(self, motion: np.ndarray) -> np.ndarray:
        """Differences of points [.., 3] mm: without the translation."""
        return self.scale * motion @ self.rotation.T


def align(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> Similarity:
    """The similarity that brings source to target with the least squares; no reflection.

    source, target float64 [k, 3] mm; weights float64 [k], >= 0, not all 0.
    Raises RetargetError where the points lie on one line, or in one place.
    """
    share = weights / weights.sum()
    middle, centre = share @ source, share @ target
    a, b = source - middle, target - centre
    for points, name in ((a, "source"), (b, "target")):
        extent = np.linalg.svd(np.sqrt(share)[:, None] * points, compute_uv=False)
        if len(extent) < 2 or not extent[1] > FLAT * extent[0]:
            raise RetargetError(f"the corresponding points of the {name} lie on one line; they fix no alignment.")
    left, size, right = np.linalg.svd((share[:, None] * b).T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * sign) @ right
    scale = float((size * sign).sum() / (share @ (a**2).sum(1)))
    rms = float(np.sqrt(share @ ((b - scale * a @ rotation.T) ** 2).sum(1)))
    return Similarity(scale, rotation, centre - scale * rotation @ middle, rms, float(np.sqrt(share @ (b**2).sum(1))))
