"""Poses by source, the conversion from OpenCV's frame against cv2 itself, and scaled orthography from a pinhole."""

import re

import cv2
import numpy as np
import pytest

from expnet_tf.camera import project, rotation_matrix, rotation_vector
from expnet_tf.data.labelling.poses import nominal_camera, open_poses, to_orthographic, yaw
from expnet_tf.data.labelling.tables import TableError, TrueLabels
from expnet_tf.data.views import project_orthographic
from expnet_tf.models import DEFAULT

BOX = (40.0, 30.0, 80.0, 100.0)


def write(path, frame, **more):
    """Poses as cv2.projectPoints takes them; returns the points of a head, mm, and where cv2 sees them, px."""
    head = np.random.default_rng(0).uniform(-80, 80, (68, 3))
    # A frontal face: half a turn about x takes our axes to OpenCV's; then some turns of the head.
    turn = rotation_vector(rotation_matrix([0.2, 0.4, -0.1]) @ np.diag([1.0, -1.0, -1.0]))
    pose = np.r_[turn, 10.0, -20.0, 900.0]
    camera = np.array([400.0, 64.0, 60.0])
    inner = np.array([[camera[0], 0, camera[1]], [0, camera[0], camera[2]], [0, 0, 1]])
    seen = cv2.projectPoints(head, pose[:3], pose[3:], inner, None)[0][:, 0]
    np.savez(path, key=np.array(["a.jpg"]), pose=pose[None], camera=camera[None], frame=np.array(frame), **more)
    return head, seen


def test_opencvs_frame_is_cv2s(tmp_path):
    head, seen = write(tmp_path / "p.npz", "opencv")
    placed = open_poses(f"npz:{tmp_path}/p.npz", None).find("a.jpg", BOX, None, 0)
    np.testing.assert_allclose(project(head, placed.pose, placed.camera[0], placed.camera[1:]), seen, atol=1e-9)
    assert placed.pose[5] < 0  # in front of a camera that looks down -z


def test_poses_of_another_head_frame(tmp_path):
    """The file's poses are of a head whose frame is turned and shifted against ours."""
    rotation, shift = rotation_matrix([0.1, -0.2, 0.3]), np.array([5.0, -7.0, 20.0])
    other, seen = write(tmp_path / "p.npz", "opencv", head=np.c_[rotation, shift])
    ours = (other - shift) @ rotation  # other = rotation ours + shift
    placed = open_poses(f"npz:{tmp_path}/p.npz", None).find("a.jpg", BOX, None, 0)
    np.testing.assert_allclose(project(ours, placed.pose, placed.camera[0], placed.camera[1:]), seen, atol=1e-9)


def test_our_own_frame(tmp_path):
    write(tmp_path / "p.npz", "expnet")
    found = open_poses(f"npz:{tmp_path}/p.npz", None)
    placed = found.find("a.jpg", BOX, None, 0)
    with np.load(tmp_path / "p.npz") as data:
        np.testing.assert_allclose(rotation_matrix(placed.pose[:3]), rotation_matrix(data["pose"][0, :3]), atol=1e-12)
        np.testing.assert_allclose(placed.pose[3:], data["pose"][0, 3:])
    assert found.find("b.jpg", BOX, None, 0) is None


def test_damaged_pose_files(tmp_path):
    write(tmp_path / "p.npz", "facepose")
    with pytest.raises(TableError, match=r"frame is .*; the text 'expnet' or 'opencv' is needed"):
        open_poses(f"npz:{tmp_path}/p.npz", None)
    write(tmp_path / "p.npz", "opencv", head=np.c_[np.diag([1.0, 1.0, -1.0]), np.zeros(3)])
    with pytest.raises(TableError, match=re.escape("head is no rotation and shift, float [3, 4]")):
        open_poses(f"npz:{tmp_path}/p.npz", None)


def test_networks_poses_belong_to_the_nominal_camera_of_their_crop():
    found = open_poses("network", None)
    assert found.network == DEFAULT
    placed = found.find("a.jpg", BOX, {"pose": np.arange(6, dtype=np.float32)}, 1.25)
    # The crop of 125 px about (80, 80), its corner rounded up to (18, 18); camera.NOMINAL_FOCAL is 4.
    np.testing.assert_allclose(placed.camera, [500, 80.5, 80.5])
    np.testing.assert_allclose(placed.camera, nominal_camera(BOX, 1.25))
    np.testing.assert_array_equal(placed.pose, np.arange(6))


def test_other_sources(faces):
    truth = TrueLabels(faces)
    placed = open_poses("labels", truth).find("0000001/001.jpg", BOX, None, 0)
    np.testing.assert_array_equal(placed.pose, truth.row("0000001/001.jpg")["pose"])
    solved = open_poses("landmarks", None)
    assert solved.solved
    assert solved.find("a.jpg", BOX, None, 0).pose is None
    for text, words in (("labels", "--pose labels needs a folder of expnet synth"), ("pnp", "--pose is 'pnp'; acc")):
        with pytest.raises(TableError, match=words):
            open_poses(text, None)


def test_orthography_agrees_with_the_pinhole_at_the_middle_of_the_face():
    rng = np.random.default_rng(3)
    shape = rng.normal(0, 40, (5, 68, 3))
    pose = np.c_[rng.normal(0, 0.4, (5, 3)), rng.normal(0, 30, (5, 2)), rng.uniform(-2000, -600, 5)]
    camera = np.c_[rng.uniform(400, 900, 5), rng.uniform(90, 130, (5, 2))]
    flat = to_orthographic(pose, camera, shape)
    middle = shape.mean(1, keepdims=True)
    there = project(middle, pose, camera[:, 0], camera[:, 1:])
    np.testing.assert_allclose(project_orthographic(middle, flat), there, atol=1e-9)
    # From far away the two are the same everywhere.
    pose[:, 5] *= 1000
    camera[:, 0] *= 1000
    seen = project(shape, pose, camera[:, 0], camera[:, 1:])
    np.testing.assert_allclose(project_orthographic(shape, to_orthographic(pose, camera, shape)), seen, atol=0.02)


def test_yaw():
    turns = [rotation_matrix([0, np.radians(angle), 0]) for angle in (0, 30, -60, 90, 150)]
    rolled = [rotation_matrix([0, 0, 0.5]) @ turn for turn in turns]
    poses = np.array([np.r_[rotation_vector(turn), 0, 0, -900] for turn in turns + rolled[:1]])
    np.testing.assert_allclose(yaw(poses), [0, 30, 60, 90, 150, 0], atol=1e-6)
