"""Umeyama's similarity: known ones come back, weights count, no reflection, degenerate points are refused."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from expnet_tf.retarget import RetargetError
from expnet_tf.retarget.alignment import align

ONES = np.ones(12)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 3)) * [30, 50, 20]


def test_a_known_similarity(points: np.ndarray) -> None:
    rotation = Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix()
    found = align(points, 0.37 * points @ rotation.T + [1, 2, 3], ONES)
    np.testing.assert_allclose(found.scale, 0.37, rtol=1e-12)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-12)
    np.testing.assert_allclose(found.translation, [1, 2, 3], atol=1e-11)
    assert found.rms < 1e-12
    np.testing.assert_allclose(found.move(points[:2]) - found.translation, found.turn(points[:2]), atol=1e-12)


def test_noisy_points_are_at_the_least_squares(points: np.ndarray) -> None:
    """No small change of scale, rotation or translation is better; and scipy finds the same rotation."""
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.1, 2, 12)
    target = points @ Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix().T + rng.normal(size=(12, 3)) * 4
    found = align(points, target, weights)

    def cost(scale: float, turn: np.ndarray, shift: np.ndarray) -> float:
        moved = found.scale * scale * points @ (Rotation.from_rotvec(turn).as_matrix() @ found.rotation).T
        return float(weights @ ((moved + found.translation + shift - target) ** 2).sum(1))

    best = cost(1, np.zeros(3), np.zeros(3))
    np.testing.assert_allclose(found.rms, np.sqrt(best / weights.sum()), rtol=1e-12)
    for _ in range(50):
        assert cost(1 + 1e-3 * rng.normal(), 1e-3 * rng.normal(size=3), 1e-2 * rng.normal(size=3)) > best
    share = weights / weights.sum()
    oracle, _ = Rotation.align_vectors(target - share @ target, points - share @ points, weights)
    np.testing.assert_allclose(found.rotation, oracle.as_matrix(), atol=1e-9)


def test_points_without_weight_do_not_count(points: np.ndarray) -> None:
    target = 2 * points
    target[3] += 1000
    weights = ONES.copy()
    weights[3] = 0
    np.testing.assert_allclose(align(points, target, weights).scale, 2, rtol=1e-12)


def test_a_mirror_image_is_no_similarity(points: np.ndarray) -> None:
    found = align(points, points * [-1, 1, 1], ONES)
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    assert found.rms > 5


def test_points_in_a_plane_are_enough(points: np.ndarray) -> None:
    flat = points * [1, 1, 0]
    rotation = Rotation.from_rotvec([1.0, 0.5, -0.3]).as_matrix()
    found = align(flat, flat @ rotation.T, ONES)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-9)


@pytest.mark.parametrize("direction", [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
def test_points_on_a_line(points: np.ndarray, direction: list[float]) -> None:
    line = np.arange(12)[:, None] * np.array(direction)
    with pytest.raises(RetargetError, match=r"of the target lie on one line"):
        align(points, line, ONES)
    with pytest.raises(RetargetError, match=r"of the source lie on one line"):
        align(line, points, ONES)
