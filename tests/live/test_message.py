"""What is said of a frame."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from expnet_tf.camera import NOMINAL_FOCAL, project
from expnet_tf.live.message import FOCAL, SCHEMA, message, quaternion, translation
from expnet_tf.morphable import open_face
from expnet_tf.video.table import row_type

SIZE = 640, 480


@pytest.fixture
def table():
    table = np.zeros(1, row_type(29, 99))
    table["id"], table["quality"], table["box"] = 2, 0.75, (100, 80, 90.123, 120)
    table["square"], table["pose"] = (85, 70, 150), (0.1, -0.4, 0.2, 12.0, -7.0, -900.0)
    table["expression"] = np.linspace(-1, 1, 29)
    return table


def test_a_message(table):
    said = json.loads(json.dumps(message(7, 0.28, SIZE, table, open_face(), 0.01234), allow_nan=False))
    (face,) = said.pop("faces")
    assert said == {
        "schema": SCHEMA, "frame": 7, "time": 0.28, "latency_ms": 12.34, "width": 640, "height": 480,
    }  # fmt: skip
    assert list(face) == ["id", "quality", "box", "blendshapes", "rotation", "translation"]
    assert (face["id"], face["quality"], face["box"]) == (2, 0.75, [100, 80, 90.12, 120])
    assert list(face["blendshapes"]) == [str(name) for name in open_face().blendshape_names]
    np.testing.assert_allclose(
        list(face["blendshapes"].values()), open_face().blendshapes(table["expression"][0]), atol=1e-6
    )
    np.testing.assert_allclose(Rotation.from_quat(face["rotation"]).as_rotvec(), [0.1, -0.4, 0.2], atol=1e-5)


def test_a_model_that_knows_no_quality(table):
    table["quality"] = np.nan
    assert message(0, 0.0, SIZE, table, open_face(), 0.0)["faces"][0]["quality"] is None


def test_nobody(table):
    assert message(0, 0.0, SIZE, table[:0], open_face(), 0.0)["faces"] == []


def test_rotations():
    for vector in np.random.default_rng(3).normal(size=(50, 3)) * 2:
        made = quaternion(vector)
        assert made[3] >= 0
        np.testing.assert_allclose(made, Rotation.from_rotvec(vector).as_quat(canonical=True), atol=1e-12)


def test_the_one_camera_sees_the_head_where_and_as_large_as_it_is(table):
    row = table[0]
    x0, y0, side = (float(value) for value in row["square"])
    seen = project(np.array([[0.0, 0, 0]]), row["pose"], NOMINAL_FOCAL * side, (x0 + side / 2, y0 + side / 2))[0]
    x, y, z = translation(row, SIZE)
    focal = FOCAL * 640
    np.testing.assert_allclose([320 + focal * x / -z, 240 - focal * y / -z], seen, rtol=1e-9)
    assert focal / (-z * 1000) == pytest.approx(NOMINAL_FOCAL * side / 900)  # px per mm
