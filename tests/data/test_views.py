"""Projections by hand-worked numbers and camera.py; derivatives against finite differences."""

import numpy as np
import pytest

from expnet_tf.camera import project, rotation_matrix
from expnet_tf.data.views import move, pose_columns, project_orthographic, see, slopes

CAMERA = np.array([[900.0, 112, 100], [400, 60, 64]])
OFFSETS = {
    "orthographic": np.array([[1.2, 110, 90], [0.4, 50, 60]]),
    "pinhole": np.array([[9.0, -5, -700], [0, 4, -400]]),
}


def scene(kind: str):
    rng = np.random.default_rng(0)
    points, turns = rng.normal(0, 40, (2, 5, 3)), rng.normal(0, 0.5, (2, 3))
    return points, turns, OFFSETS[kind], CAMERA if kind == "pinhole" else None


def test_orthographic_by_hand():
    pose = [0, 0, 0, 2.0, 100, 50]  # no turn, 2 px per mm
    pixels = project_orthographic(np.array([[0.0, 0, 0], [10, 5, 77]]), pose)
    np.testing.assert_array_equal(pixels, [[100, 50], [120, 40]])  # y goes up, v goes down, z does not matter


def test_see_is_the_projection():
    points, turns, offset, camera = scene("pinhole")
    turned = points @ rotation_matrix(turns).swapaxes(1, 2)
    pixels, front = see(turned, offset, camera)
    pose = np.hstack([turns, offset])
    np.testing.assert_allclose(pixels, project(points, pose, camera[:, 0], camera[:, 1:]), atol=1e-10)
    assert front.all()
    assert not see(turned, offset * [1, 1, -1], camera)[1].any()
    points, turns, offset, _ = scene("orthographic")
    turned = points @ rotation_matrix(turns).swapaxes(1, 2)
    pixels, front = see(turned, offset, None)
    np.testing.assert_allclose(pixels, project_orthographic(points, np.hstack([turns, offset])), atol=1e-10)
    np.testing.assert_array_equal(see(turned, -offset, None)[1], False)


@pytest.mark.parametrize("kind", ["orthographic", "pinhole"])
def test_slopes_are_derivatives(kind):
    points, _, offset, camera = scene(kind)
    step = 1e-4
    there = np.stack(
        [
            (see(points + step * axis, offset, camera)[0] - see(points - step * axis, offset, camera)[0]) / (2 * step)
            for axis in np.eye(3)
        ],
        -1,
    )
    mine = np.broadcast_to(slopes(points, offset, camera), there.shape)
    np.testing.assert_allclose(mine, there, atol=1e-7)


@pytest.mark.parametrize("kind", ["orthographic", "pinhole"])
def test_pose_columns_are_derivatives_of_move(kind):
    points, turns, offset, camera = scene(kind)
    rotation = rotation_matrix(turns)

    def seen(step: np.ndarray) -> np.ndarray:
        r, o = move(rotation, offset, np.tile(step, (2, 1)), camera)
        return see(points @ r.swapaxes(1, 2), o, camera)[0]

    step = 1e-6
    there = np.stack([(seen(step * axis) - seen(-step * axis)) / (2 * step) for axis in np.eye(6)], -1)
    turned = points @ rotation.swapaxes(1, 2)
    mine = pose_columns(slopes(turned, offset, camera), turned, offset, camera)
    np.testing.assert_allclose(mine, there, atol=1e-5)
    np.testing.assert_allclose(seen(np.zeros(6)), see(turned, offset, camera)[0], atol=1e-10)
