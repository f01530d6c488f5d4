"""Boxes of faces: (x, y, w, h) in px of the picture, and how two of them lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]

MIN_SIDE = 16.0  # px; narrower faces are not followed
_MIN_SHOWN = 0.4  # share of the box inside the picture


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    w = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    h = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(0.0, w) * max(0.0, h)
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def visible(box: Box, image: np.ndarray) -> bool:
    """Whether enough of it lies in the picture, uint8 [H, W, 3], to be followed."""
    height, width = image.shape[:2]
    x, y, w, h = box
    if not np.isfinite(box).all() or min(w, h) < MIN_SIDE or max(w, h) > 4 * max(width, height):
        return False
    shown = max(0.0, min(x + w, width) - max(x, 0.0)) * max(0.0, min(y + h, height) - max(y, 0.0))
    return shown > _MIN_SHOWN * w * h


def centre(box: Sequence[float]) -> tuple[float, float]:
    """px"""
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def distance(one: Box, other: Box) -> float:
    """Of the centres, px."""
    (x, y), (u, v) = centre(one), centre(other)
    return float(np.hypot(x - u, y - v))


def near(one: Box, other: Box) -> bool:
    """Whether a face may have gone from one box to the other unseen."""
    larger = one[2] * one[3] / (other[2] * other[3])
    return distance(one, other) < 1.5 * max(*one[2:], *other[2:]) and 0.25 < larger < 4
