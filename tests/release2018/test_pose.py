"""The frame of FacePoseNet in ours, against OpenCV's Rodrigues and the release's own projection."""

import cv2
import numpy as np
import pytest

from expnet_tf import camera
from expnet_tf.network import POSE_MEAN, POSE_STD
from expnet_tf.release2018 import pose

# Raw outputs: r (rad), t (mm); a face in front of the camera lies at negative z.
RAW = np.array(
    [[0.1, -0.4, 0.05, 3.0, -5.0, -2700.0], [-0.3, 0.9, -0.2, -20.0, 12.0, -1900.0], [0, 0, 0, 1, 2, -2500.0]]
)
MESH = np.random.default_rng(0).uniform(-80, 80, (50, 3))


def released(raw: np.ndarray) -> np.ndarray:
    """What the release writes: three signs turned, then R S + t."""
    r, t = raw[:3] * [1, -1, -1], raw[3:] * [-1, 1, 1]
    return (cv2.Rodrigues(r)[0] @ MESH.T).T + t


def test_meshes_lie_where_the_release_puts_them() -> None:
    placed = pose.place(MESH, pose.to_ours(RAW))
    np.testing.assert_allclose(placed, [released(raw) for raw in RAW], atol=1e-9)


def test_the_raw_pose_shows_the_mirrored_mesh_where_ours_shows_the_mesh() -> None:
    """The release's camera matrix, applied to its raw pose and the mesh mirrored in x: the same pixels."""
    matrix = np.array([[2880.0, 0, 112], [0, 2880, 112], [0, 0, 1]])
    for raw in RAW:
        seen = matrix @ (cv2.Rodrigues(raw[:3])[0] @ (MESH * [-1, 1, 1]).T + raw[3:, None])
        ours = raw * [1, -1, -1, -1, 1, 1]
        np.testing.assert_allclose(camera.project(MESH, ours, 2880, (112, 112)), (seen[:2] / seen[2]).T, atol=1e-9)


def test_the_nominal_camera_shows_the_face_at_the_same_place_and_size() -> None:
    ours = pose.to_ours(RAW)
    np.testing.assert_allclose(ours, camera.to_nominal(RAW * [1, -1, -1, -1, 1, 1], 2880, (112, 112), 224), atol=1e-9)
    nominal = camera.NOMINAL_FOCAL * 224
    for raw, mine in zip(RAW, ours, strict=True):
        before = camera.project(MESH, raw * [1, -1, -1, -1, 1, 1], 2880, (112, 112))
        after = camera.project(MESH, mine, nominal, (112, 112))
        # The nearer camera has more perspective: 80 mm of depth at 800 mm are a tenth of what 80 mm are wide.
        assert np.abs(after - before).max() < 0.13 * np.abs(before - 112).max()
        origin = np.zeros((1, 3))
        np.testing.assert_allclose(
            camera.project(origin, mine, nominal, (112, 112)),
            camera.project(origin, raw * [1, -1, -1, -1, 1, 1], 2880, (112, 112)),
            atol=1e-9,
        )


def test_the_head_gives_our_pose_from_the_releases_numbers() -> None:
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(0, 0.1, (8, 6)), rng.normal(0, 1, 6)
    mean, std = np.array([0.1, 0.2, -0.1, 4, -6, -2600]), np.array([0.2, 0.4, 0.1, 20, 20, 300])
    features = rng.normal(0, 1, (5, 8))
    raw = (features @ kernel + bias) * std + mean
    expected = np.stack(
        [raw[:, 0], -raw[:, 1], -raw[:, 2], -raw[:, 3], raw[:, 4], raw[:, 5] * (4 * 224 / 2880)], axis=1
    )
    ours = pose.standardised(kernel, bias, mean, std)
    np.testing.assert_allclose((features @ ours[0] + ours[1]) * POSE_STD + POSE_MEAN, expected, rtol=1e-12, atol=1e-9)
    assert pytest.approx(4 * 224 / 2880) == pose.DEPTH
