"""Which clips are shown, and how strong an expression is said to be."""

import numpy as np
import pytest

from expnet_tf.camera import rotation_vector
from expnet_tf.evaluate import cases
from expnet_tf.evaluate.clips import Clip, Dataset
from expnet_tf.evaluate.knn import Votes
from expnet_tf.morphable import open_face
from expnet_tf.paint import FACE


def test_amplitude_is_the_rms_of_the_face_s_motion() -> None:
    model = open_face()
    codes = np.random.default_rng(1).normal(size=(3, 29))
    inside = model.region(*FACE)
    for code, found in zip(codes, cases.amplitude(codes), strict=True):
        moved = (model.decode(None, code) - model.decode())[inside]
        assert found == pytest.approx(np.sqrt((moved**2).sum(1).mean()))
    assert np.isnan(cases.amplitude(np.full((1, 29), np.nan))).all()


def test_yaw_of_a_pose() -> None:
    angles = np.radians([0.0, 20, -50, 90])
    y, x = np.zeros((2, 4, 3, 3))
    for number, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        y[number] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        x[number] = [[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]]
    pose = np.column_stack([rotation_vector(y), np.zeros((4, 3))])
    np.testing.assert_allclose(cases.yaw_degrees(pose), [0, 20, 50, 90], atol=1e-6)
    nodding = np.column_stack([rotation_vector(x), np.zeros((4, 3))])
    np.testing.assert_allclose(cases.yaw_degrees(nodding), 0, atol=1e-6)


def test_groups_hold_each_value_once_and_no_nan() -> None:
    values = np.array([0.0, 14.9, 15.0, np.nan, 60.0])
    groups = cases.between(values, (0.0, 15.0, 30.0, 45.0, 90.0))
    assert [name for name, _ in groups] == ["0 to 15", "15 to 30", "45 to 90"]
    assert sum(inside for _, inside in groups).tolist() == [1, 1, 1, 0, 1]


def test_worst_failures_come_first() -> None:
    clips = tuple(Clip(f"{n}", "a" if n < 5 else "b", None, ()) for n in range(8))
    data = Dataset("folder", None, clips, ("a", "b"))  # type: ignore[arg-type]
    codes = np.zeros((8, 29))
    codes[:, 0] = [1.0, 1.0, 0.1, 1.0, 4.0, 1.0, 1.0, 1.0]
    predicted = np.array([0, 1, 1, -1, 1, 1, 0, 1])  # 1, 2, 4, 6 are wrong; 3 abstained
    own = np.array([5, 2, 0, 0, 0, 5, 1, 5])
    found = cases.failures(data, codes, Votes(predicted, own), 3)
    assert [one["clip"] for one in found] == ["2", "4", "6"]
    assert found[0]["ratio"] == pytest.approx(0.1)
    assert found[1]["ratio"] == pytest.approx(4.0)
    assert (found[0]["label"], found[0]["predicted"]) == ("a", "b")


def test_drawn_by_name_alone() -> None:
    clips = [Clip(f"clip {n}", "a", None, ()) for n in range(50)]
    some = cases.drawn(clips, range(50), 5)
    assert some == cases.drawn(clips, list(range(49, -1, -1)), 5)
    assert some != [0, 1, 2, 3, 4]
