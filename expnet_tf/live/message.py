"""What is said of a frame: schema `expnet.live/1`, documented in docs/live.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from expnet_tf.camera import NOMINAL_FOCAL
from expnet_tf.morphable import MorphableModel

SCHEMA = "expnet.live/1"
FOCAL = 1.0
"""Focal length over the picture's longer side of the camera that translations are given for (53 degrees wide).

No picture tells its own focal length; distances grow with it in proportion."""
_MM = 0.001


def message(
    index: int, time: float, size: tuple[int, int], rows: np.ndarray, model: MorphableModel, latency: float
) -> dict[str, Any]:
    """A frame's message.

    Args:
        index: of the frame, from 0; those that were left out are counted.
        time: s since the first frame.
        size: (width, height) of the picture, px.
        rows: its faces, rows of video/table.py.
        latency: s from the picture's arrival until now.
    """
    return {
        "schema": SCHEMA,
        "frame": index,
        "time": round(time, 6),
        "latency_ms": round(1000 * latency, 2),
        "width": size[0],
        "height": size[1],
        "faces": [_face(row, size, model) for row in rows],
    }


def _face(row: np.void, size: tuple[int, int], model: MorphableModel) -> dict[str, Any]:
    weights = model.blendshapes(row["expression"]) if model.has("blendshapes") else np.zeros(0)
    quality = float(row["quality"])
    return {
        "id": int(row["id"]),
        "quality": None if np.isnan(quality) else round(quality, 4),
        "box": [round(float(value), 2) for value in row["box"]],
        "blendshapes": {
            str(name): round(float(weight), 6) for name, weight in zip(model.blendshape_names, weights, strict=True)
        },
        "rotation": [round(float(value), 6) for value in quaternion(row["pose"][:3])],
        "translation": [round(float(value), 5) for value in translation(row, size)],
    }


def quaternion(rotation_vector: np.ndarray) -> np.ndarray:
    """Rotation vector float [3], rad -> unit quaternion float64 [4], x y z w, w >= 0."""
    vector = np.asarray(rotation_vector, np.float64)
    angle = np.linalg.norm(vector)
    turned = np.append(0.5 * np.sinc(angle / (2 * np.pi)) * vector, np.cos(angle / 2))
    return turned if turned[3] >= 0 else -turned


def translation(row: np.void, size: tuple[int, int]) -> np.ndarray:
    """Where the head stands, float64 [3] m: before the one camera of all frames, not that of the face's own crop.

    That camera looks at the middle of the picture with a focal length of FOCAL times its longer side.
    """
    x0, y0, side = row["square"].astype(np.float64)
    pose = row["pose"].astype(np.float64)
    scale = NOMINAL_FOCAL * side / -pose[5]  # px per mm at the head
    u, v = np.array([x0, y0]) + side / 2 + pose[3:5] * [1, -1] * scale
    width, height = size
    return _MM / scale * np.array([u - width / 2, height / 2 - v, -FOCAL * max(size)])
