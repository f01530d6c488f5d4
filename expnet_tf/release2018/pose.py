"""FacePoseNet's frame and ours.

The release gives r (radians, axis-angle) and t (mm), turns the signs of r[1], r[2] and t[0], and calls R S + t the
posed mesh S. Its camera is f = 2880 px with its centre at (112, 112) of a crop of 224 px. The three signs mirror x,
in the mesh and in the camera: with M = diag(-1, 1, 1) they make of (R, t) the pose (M R M, M t). The release's own
projection u = 112 + 2880 X / Z, v = 112 + 2880 Y / Z of the mirrored mesh is then, for a face at Z < 0,
u = cx + f X / (-Z), v = cy - f Y / (-Z) of the mesh as it is: x right, y up, z to the viewer, which is our camera.
What is left is the focal length. Ours is the nominal one, NOMINAL_FOCAL sides of the crop; camera.to_nominal brings a
pose with its principal point in the crop's centre there by scaling t[2] alone. So all of it is one factor a number.
"""

from __future__ import annotations

import numpy as np

from expnet_tf.camera import NOMINAL_FOCAL, transform
from expnet_tf.network import POSE_MEAN, POSE_STD

FOCAL, CENTER, SIZE = 2880.0, 112.0, 224  # px, px, px
DEPTH = NOMINAL_FOCAL * SIZE / FOCAL
SIGNS = np.array([1.0, -1.0, -1.0, -1.0, 1.0, 1.0])
TO_OURS = SIGNS * [1.0, 1.0, 1.0, 1.0, 1.0, DEPTH]


def to_ours(pose: np.ndarray) -> np.ndarray:
    """FacePoseNet's pose float [.., 6], de-normalised, signs as it gives them -> our pose float64 [.., 6]."""
    return np.asarray(pose, np.float64) * TO_OURS


def place(vertices: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Vertices float [.., n, 3] mm in our pose float [.., 6] -> float64 [.., n, 3], where the release puts them."""
    return transform(vertices, np.asarray(pose, np.float64) / [1.0, 1.0, 1.0, 1.0, 1.0, DEPTH])


def standardised(
    kernel: np.ndarray, bias: np.ndarray, mean: np.ndarray, std: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of our pose head, which is linear in units of POSE_STD about POSE_MEAN, in place of the release's.

    kernel float [d, 6] and bias float [6] give theta; the pose is theta * std + mean, both float [6].
    Returns float64 [d, 6] and [6].
    """
    scale = np.asarray(std, np.float64) * TO_OURS
    shift = np.asarray(bias, np.float64) * scale + to_ours(mean) - np.array(POSE_MEAN)
    return np.asarray(kernel, np.float64) * scale / np.array(POSE_STD), shift / np.array(POSE_STD)
