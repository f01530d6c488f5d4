"""Rotations against scipy, projection against hand-worked numbers, and what the nominal camera costs in px."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from expnet_tf.camera import NOMINAL_FOCAL, project, rotation_matrix, rotation_vector, to_nominal, transform
from expnet_tf.morphable import open_face


def rotation_vectors() -> np.ndarray:
    """Random ones, tiny ones, and ones at and near half a turn."""
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(40, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = np.concatenate([rng.uniform(0, np.pi, 20), 10.0 ** -np.arange(1, 11), np.pi - 10.0 ** -np.arange(1, 11)])
    return np.vstack([axes * angles[:, None], np.zeros(3), np.pi * np.eye(3)])


def test_rotation_matrix_is_scipys():
    vectors = rotation_vectors()
    matrices = rotation_matrix(vectors)
    assert matrices.dtype == np.float64
    np.testing.assert_allclose(matrices, Rotation.from_rotvec(vectors).as_matrix(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.linalg.det(matrices), 1, rtol=0, atol=1e-14)


def test_rotation_vector_turns_back():
    vectors = rotation_vectors()
    back = rotation_vector(rotation_matrix(vectors))
    assert np.linalg.norm(back, axis=1).max() <= np.pi + 1e-12
    # At half a turn v and -v are the same rotation, so the rotations are compared.
    turn = Rotation.from_rotvec(back) * Rotation.from_rotvec(vectors).inv()
    assert turn.magnitude().max() < 1e-7
    safe = np.linalg.norm(vectors, axis=1) < 3
    np.testing.assert_allclose(back[safe], vectors[safe], rtol=0, atol=1e-12)


def test_rotations_in_batches():
    vectors = rotation_vectors()[:24]
    grid = rotation_matrix(vectors.reshape(2, 12, 3))
    assert grid.shape == (2, 12, 3, 3)
    np.testing.assert_array_equal(grid[1, 3], rotation_matrix(vectors[15]))
    assert rotation_vector(grid).shape == (2, 12, 3)
    np.testing.assert_allclose(rotation_vector(grid)[1, 3], vectors[15], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(rotation_matrix([0, 0, 0]), np.eye(3))
    np.testing.assert_array_equal(rotation_vector(np.eye(3)), np.zeros(3))


def test_axes_are_right_up_and_to_the_viewer():
    """A positive turn about y (up) takes the nose, +z, to the right of the image, +x; about x it lowers it."""
    nose = np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(rotation_matrix([0, np.pi / 2, 0]) @ nose, [1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(rotation_matrix([np.pi / 2, 0, 0]) @ nose, [0, -1, 0], atol=1e-15)
    np.testing.assert_allclose(rotation_matrix([0, 0, np.pi / 2]) @ [1, 0, 0], [0, 1, 0], atol=1e-15)


def test_transform_is_r_x_plus_t():
    rng = np.random.default_rng(1)
    points, pose = rng.normal(0, 50, (2, 5, 3)), rng.normal(size=(2, 6))
    moved = transform(points, pose)
    for k in range(2):
        for i in range(5):
            expected = Rotation.from_rotvec(pose[k, :3]).apply(points[k, i]) + pose[k, 3:]
            np.testing.assert_allclose(moved[k, i], expected, rtol=0, atol=1e-12)


def test_project_by_hand():
    """Worked on paper: f 500 px, centre (64, 48), the face 1,000 mm away; v points down."""
    pose = np.array([0, 0, 0, 0, 0, -1000.0])
    points = np.array([[0, 0, 0], [20.0, 0, 0], [0, 30, 0], [-50, -10, 200], [100, 100, -250]])
    # u = 64 + 500 x / (1000 - z), v = 48 - 500 y / (1000 - z)
    expected = [[64, 48], [74, 48], [64, 33], [64 - 31.25, 48 + 6.25], [64 + 40, 48 - 40]]
    np.testing.assert_allclose(project(points, pose, 500, (64, 48)), expected, rtol=0, atol=1e-12)
    # A quarter turn about y: x goes to -z, so (20, 0, 0) lies on the axis, 20 mm further away.
    turned = project(np.array([[20.0, 0, 0], [0, 0, 20.0]]), np.array([0, np.pi / 2, 0, 0, 10, -1000]), 500, (64, 48))
    np.testing.assert_allclose(turned, [[64, 48 - 5000 / 1020], [64 + 10, 48 - 5]], rtol=0, atol=1e-12)


def test_project_in_batches_takes_a_camera_each():
    """Four faces of four points: a centre broadcast along the points instead of the faces would go unseen
    unless compared one by one."""
    rng = np.random.default_rng(2)
    points = rng.normal(0, 50, (4, 4, 3))
    pose = np.column_stack([rng.normal(0, 0.3, (4, 3)), rng.normal(0, 20, (4, 2)), [-700, -800, -900, -1000]])
    focal, center = np.array([400.0, 500, 600, 700]), rng.uniform(40, 80, (4, 2))
    together = project(points, pose, focal, center)
    assert together.shape == (4, 4, 2)
    for k in range(4):
        np.testing.assert_allclose(together[k], project(points[k], pose[k], focal[k], center[k]), atol=1e-12)
    shared_camera = project(points[0], pose, 500, (64, 64))
    np.testing.assert_allclose(shared_camera[2], project(points[0], pose[2], 500, (64, 64)), atol=1e-12)


def shown(distance: float, yaw: float, pitch: float, roll: float, offset: tuple[float, float]):
    """(pose, focal): the mean face in a 128 px photo, its landmarks 70 px across, seen from `distance` mm."""
    turn = Rotation.from_euler("yxz", [yaw, pitch, roll], degrees=True).as_rotvec()
    pose = np.array([*turn, 0, 0, -distance])
    seen = transform(open_face().landmarks(), pose)
    focal = 70 / np.ptp(seen[:, :2] / -seen[:, 2:], axis=0).max()
    pose[3:5] = np.array(offset) * distance / focal
    return pose, focal


# Nearness is what the nominal camera cannot keep: its focal length of 4 crop sides puts such a face 0.9 m away.
# Limits: measured when this was written (2.13, 0.90, 0.29, 0.42, 1.03 px), rounded up.
@pytest.mark.parametrize(("distance", "limit"), [(500, 2.3), (700, 1.0), (900, 0.35), (1200, 0.5), (2000, 1.15)])
def test_to_nominal_keeps_the_picture(distance, limit):
    """Landmarks of a 128 px photo move by less than `limit` px, and by less than half of it on average."""
    points = open_face().landmarks()
    for yaw in (-60, -20, 0, 35):
        for pitch, roll in ((0, 0), (15, -10), (-15, 10)):
            for offset in ((0, 0), (3, -2)):
                pose, focal = shown(distance, yaw, pitch, roll, offset)
                nominal = to_nominal(pose, focal, (64, 64), 128)
                after = project(points, nominal, NOMINAL_FOCAL * 128, (64, 64))
                lengths = np.linalg.norm(after - project(points, pose, focal, (64, 64)), axis=1)
                assert lengths.max() < limit
                assert lengths.mean() < limit / 2
                np.testing.assert_array_equal(nominal[:3], pose[:3])


def test_to_nominal_is_exact_for_the_heads_origin():
    """Where the head's origin is seen stays, also from a principal point off the crop's centre."""
    pose = np.array([0.1, -0.4, 0.05, 35.0, -20.0, -640.0])
    origin = np.zeros((1, 3))
    before = project(origin, pose, 333.0, (40.0, 75.0))
    nominal = to_nominal(pose, 333.0, (40.0, 75.0), 112)
    np.testing.assert_allclose(project(origin, nominal, NOMINAL_FOCAL * 112, (56, 56)), before, rtol=0, atol=1e-10)
    # Size in weak perspective, f / distance, stays too.
    assert NOMINAL_FOCAL * 112 / -nominal[5] == pytest.approx(333 / 640)


def test_to_nominal_of_the_nominal_camera_is_nothing():
    pose = np.array([[0.1, 0.2, 0.3, 10, -20, -900], [0, 0, 0, 0, 0, -700.0]])
    kept = pose.copy()
    np.testing.assert_allclose(to_nominal(pose, NOMINAL_FOCAL * 96, (48, 48), 96), pose, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(pose, kept)  # not written into


def test_to_nominal_in_batches():
    rng = np.random.default_rng(3)
    pose = np.column_stack([rng.normal(0, 0.3, (5, 3)), rng.normal(0, 20, (5, 2)), rng.uniform(-1500, -500, 5)])
    focal, center = rng.uniform(200, 700, 5), rng.uniform(50, 70, (5, 2))
    together = to_nominal(pose, focal, center, 128)
    for k in range(5):
        np.testing.assert_allclose(together[k], to_nominal(pose[k], focal[k], center[k], 128), rtol=0, atol=1e-10)
