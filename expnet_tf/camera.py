"""Pose and projection.

Camera axes: x right, y up, z towards the viewer; the camera sits at the origin and looks down -z.
A pose is float [.., 6]: rotation vector (3, radians, axis-angle) and translation (3, mm); X_camera = R X + t.
Pinhole: u = cx + f X / (-Z), v = cy - f Y / (-Z); pixel centres lie at .5.
"""

import numpy as np
from numpy.typing import ArrayLike

NOMINAL_FOCAL = 4.0
"""Focal length over crop side of the pose head's camera (principal point at the crop's centre).

A single crop does not tell the focal length from the distance: true poses are brought to this camera, in
which a face that fills the crop is about 0.9 m away."""


def rotation_matrix(rotation_vector: ArrayLike) -> np.ndarray:
    """Rotation vectors float [.., 3] (radians) -> matrices float64 [.., 3, 3] (Rodrigues' formula)."""
    r = np.asarray(rotation_vector, np.float64)
    angle = np.linalg.norm(r, axis=-1)[..., None, None]
    zero = np.zeros(r.shape[:-1])
    x, y, z = np.moveaxis(r, -1, 0)
    k = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*r.shape[:-1], 3, 3)
    # sin(a)/a and (1 - cos(a))/a^2, by sinc so that they hold at a = 0.
    sin_term = np.sinc(angle / np.pi)
    cos_term = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.eye(3) + sin_term * k + cos_term * (k @ k)


def rotation_vector(matrix: ArrayLike) -> np.ndarray:
    """Rotation matrices float [.., 3, 3] -> rotation vectors float64 [.., 3] (radians, angle in [0, pi])."""
    m = np.asarray(matrix, np.float64)
    # The quaternion is the eigenvector of Shepperd's symmetric 4x4 matrix: no special case at angle pi.
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    k = np.stack([m00 + m11 + m22, a, b, c, a, m00 - m11 - m22, d, e, b, d, m11 - m00 - m22, f, c, e, f,
                  m22 - m00 - m11], -1).reshape(*m.shape[:-2], 4, 4)
    q = np.linalg.eigh(k)[1][..., -1]
    q = q * np.where(q[..., :1] < 0, -1.0, 1.0)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., :1])
    return q[..., 1:] * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0)


def transform(points: np.ndarray, pose: ArrayLike) -> np.ndarray:
    """Head-frame points float [.., n, 3] mm, pose float [.., 6] -> camera-frame points float64 [.., n, 3] mm."""
    pose = np.asarray(pose, np.float64)
    return points @ np.swapaxes(rotation_matrix(pose[..., :3]), -1, -2) + pose[..., None, 3:]


def project(points: np.ndarray, pose: ArrayLike, focal: ArrayLike, center: ArrayLike) -> np.ndarray:
    """Head-frame points float [.., n, 3] mm -> px float64 [.., n, 2].

    pose float [.., 6], focal [..] px, center [.., 2] (cx, cy) px; points must lie in front of the camera.
    """
    camera = transform(points, pose)
    depth = -camera[..., 2:]
    scale = np.asarray(focal, np.float64)[..., None, None]
    return np.asarray(center, np.float64)[..., None, :] + camera[..., :2] * [1.0, -1.0] * scale / depth


def to_nominal(pose: ArrayLike, focal: ArrayLike, center: ArrayLike, size: int) -> np.ndarray:
    """The pose that shows a face at the same place and size under the nominal camera of a size-px crop.

    pose float [.., 6] under (focal px, center (cx, cy) px) -> float64 [.., 6] under focal NOMINAL_FOCAL * size
    and center (size / 2, size / 2). The rotation is kept: the small turn that moving off the optical axis adds
    is not seen in a weak-perspective image.
    """
    pose = np.array(pose, np.float64)
    nominal = NOMINAL_FOCAL * size
    focal = np.asarray(focal, np.float64)
    center = np.asarray(center, np.float64)
    offset = pose[..., 3:5] * [1, -1] * (focal / -pose[..., 5])[..., None] + center - size / 2
    depth = -pose[..., 5] * nominal / focal
    pose[..., 3:5] = offset * [1, -1] * (depth / nominal)[..., None]
    pose[..., 5] = -depth
    return pose
