"""The two cameras of the landmark fits, with their derivatives: pinhole and scaled orthography.

A view is (rotation float64 [m, 3, 3], offset float64 [m, 3], camera). With camera float64 [m, 3] (f, cx, cy in px)
it is camera.py's pinhole and the offset is the translation in mm. With camera None it is scaled orthography, also
called weak perspective, and the offset is (scale in px per mm, tx, ty in px):
u = tx + scale X, v = ty - scale Y, where X, Y are the first coordinates of R times the head-frame point.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from expnet_tf.camera import rotation_matrix, transform

NEAREST = 1.0  # mm before the pinhole: a face that reaches closer is no solution
FACE = 100.0  # mm: the unit of sideways motion in pose steps under scaled orthography
Camera = np.ndarray | None


@dataclass
class Views:
    """m faces: what is seen, with which weights, and where from."""

    points: np.ndarray  # float64 [m, 68, 2] px
    weights: np.ndarray  # float64 [m, 68]
    shape: np.ndarray  # float64 [m, 68, 3] mm
    rotation: np.ndarray  # float64 [m, 3, 3]
    offset: np.ndarray  # float64 [m, 3]
    camera: Camera

    def take(self, rows: np.ndarray | slice) -> "Views":
        camera = None if self.camera is None else self.camera[rows]
        return Views(
            self.points[rows], self.weights[rows], self.shape[rows], self.rotation[rows], self.offset[rows], camera
        )


def project_orthographic(points: np.ndarray, pose: ArrayLike) -> np.ndarray:
    """Head-frame points float [.., n, 3] mm -> px float64 [.., n, 2] under scaled orthography.

    pose float [.., 6]: rotation vector (rad), scale (px per mm), tx, ty (px).
    """
    pose = np.asarray(pose, np.float64)
    still = np.concatenate([pose[..., :3], np.zeros_like(pose[..., 3:])], -1)
    return _flat(transform(points, still), pose[..., 3:])


def _flat(turned: np.ndarray, offset: np.ndarray) -> np.ndarray:
    return offset[..., None, 1:] + turned[..., :2] * (offset[..., None, :1] * [1.0, -1.0])


def see(turned: np.ndarray, offset: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Turned points R X float64 [m, n, 3] mm -> px float64 [m, n, 2]; bool [m]: all are in front of the camera."""
    if camera is None:
        return _flat(turned, offset), offset[:, 0] > 0
    depth = -(turned[..., 2] + offset[:, None, 2])
    scale = camera[:, None, 0] / np.maximum(depth, NEAREST)
    u = camera[:, None, 1] + scale * (turned[..., 0] + offset[:, None, 0])
    v = camera[:, None, 2] - scale * (turned[..., 1] + offset[:, None, 1])
    return np.stack([u, v], -1), (depth > NEAREST).all(1)


def slopes(turned: np.ndarray, offset: np.ndarray, camera: Camera) -> np.ndarray:
    """d(u, v) / d(R X): float64 [m, n, 2, 3] px per mm ([m, 1, 2, 3] under scaled orthography)."""
    if camera is None:
        out = np.zeros((len(turned), 1, 2, 3))
        out[:, 0, 0, 0], out[:, 0, 1, 1] = offset[:, 0], -offset[:, 0]
        return out
    out = np.zeros((*turned.shape[:2], 2, 3))
    depth = np.maximum(-(turned[..., 2] + offset[:, None, 2]), NEAREST)
    scale = camera[:, None, 0] / depth
    out[..., 0, 0], out[..., 1, 1] = scale, -scale
    out[..., 0, 2] = scale * (turned[..., 0] + offset[:, None, 0]) / depth
    out[..., 1, 2] = -scale * (turned[..., 1] + offset[:, None, 1]) / depth
    return out


def pose_columns(slope: np.ndarray, turned: np.ndarray, offset: np.ndarray, camera: Camera) -> np.ndarray:
    """d(u, v) / d(pose step): float64 [m, n, 2, 6] px, for move().

    The step is free of units: a turn about the camera's axes (rad), and the offset's change over _units().
    """
    out = np.empty((*turned.shape[:2], 2, 6))
    # d(exp(w) y) / dw = -[y]x, so the row a of the slope gives y x a.
    out[..., :3] = np.cross(turned[:, :, None], slope)
    units = _units(offset, camera)
    if camera is None:
        out[..., 3] = turned[..., :2] * ([1.0, -1.0] * units[:, None, :1])
        out[..., 4:] = np.eye(2) * units[:, None, None, 1:]
    else:
        out[..., 3:] = slope * units[:, None, None]
    return out


def move(rotation: np.ndarray, offset: np.ndarray, step: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """A view (rotation, offset) after a pose step float64 [m, 6] in the units of pose_columns()."""
    return rotation_matrix(step[:, :3]) @ rotation, offset + step[:, 3:] * _units(offset, camera)


def _units(offset: np.ndarray, camera: Camera) -> np.ndarray:
    """What one unit of a pose step changes the offset by, float64 [m, 3]: the distance, or the scale."""
    if camera is None:
        return offset[:, :1] * [1.0, FACE, FACE]
    return np.broadcast_to(-offset[:, 2:], offset.shape)
