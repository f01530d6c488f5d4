"""The box QP against scipy and against its own optimality conditions."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from expnet_tf.data.solver import boxqp
from expnet_tf.data.solver.boxqp import solve_box


def problems(count: int, d: int, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares problems J [m, rows, d], r [m, rows] with correlated columns of very different lengths."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(count, d, d)) / np.sqrt(d) + np.eye(d)
    jacobian = rng.normal(size=(count, rows, d)) @ mix * 10.0 ** rng.uniform(-1, 1, d)
    return jacobian, rng.normal(size=(count, rows)) * 10


@pytest.mark.parametrize("d", [1, 2, 7, 29])
def test_is_scipys_bvls(d):
    j, r = problems(60, d, 136)
    lower, upper = -np.random.default_rng(1).uniform(0, 0.3, (2, 60, d))
    upper = -upper
    lower[:, ::5] = 0  # steps from a bound
    h, s = j.swapaxes(1, 2) @ j, (r[:, None] @ j)[:, 0]
    x, solved, full_rank = solve_box(h, s, lower, upper)
    assert solved.all()
    assert full_rank.all()
    there = [
        lsq_linear(*face[:2], face[2:], method="bvls", tol=1e-14).x for face in zip(j, r, lower, upper, strict=True)
    ]
    np.testing.assert_allclose(x, there, rtol=0, atol=1e-9)
    if d == 29:
        assert 0.05 < ((x == lower) | (x == upper)).mean() < 0.9  # else nothing was tested


@pytest.mark.parametrize(("d", "condition"), [(3, 1e4), (12, 1e2), (29, 1e6), (33, 1e9)])
def test_any_box_is_solved(d, condition):
    """Karush-Kuhn-Tucker in boxes of all widths: gradient zero inside, and pointing out of the box at a bound."""
    rng = np.random.default_rng(2)
    q = np.linalg.qr(rng.normal(size=(1500, d, d)))[0]
    lengths = 10 ** rng.uniform(-2, 2, (1500, 1, d))
    h = (q * np.geomspace(1, condition, d)) @ q.swapaxes(1, 2) * lengths * lengths.swapaxes(1, 2)
    h = (h + h.swapaxes(1, 2)) / 2
    s = (h @ rng.normal(size=(1500, d, 1)))[..., 0]
    lower, upper = rng.uniform(0, 1, (2, 1500, d)) * 10 ** rng.uniform(-4, 1, (2, 1500, d)) * [[[-1.0]], [[1]]]
    for bound, value, share in ((lower, 0, 0.2), (upper, 0, 0.2), (lower, -np.inf, 0.1), (upper, np.inf, 0.1)):
        bound[rng.random(bound.shape) < share] = value
    x, solved, full_rank = solve_box(h, s, lower, upper)
    assert solved.all()
    assert full_rank.all()
    assert ((x >= lower) & (x <= upper)).all()
    gradient = (h @ x[..., None])[..., 0] - s
    sums = np.abs(s) + (np.abs(h) @ np.abs(x)[..., None])[..., 0]
    relative = gradient / sums.max(1, keepdims=True)
    assert (np.abs(relative) < 1e-14)[(x > lower) & (x < upper)].all()
    assert (relative < 1e-14)[(x == upper) & (x > lower)].all()
    assert (relative > -1e-14)[(x == lower) & (x < upper)].all()


@pytest.mark.parametrize("condition", [1, 1e3, 1e5])
def test_active_set_alone_ends_at_the_same_point(condition):
    """It takes over where projected Newton jams, which these problems hardly make it do."""
    rng = np.random.default_rng(6)
    for _ in range(100):
        q = np.linalg.qr(rng.normal(size=(12, 12)))[0]
        h = (q * np.geomspace(1, condition, 12)) @ q.T
        h, s, bound = (h + h.T) / 2, h @ rng.normal(size=12), np.full(12, 0.5)
        whole, _, _ = solve_box(h[None], s[None], -bound[None], bound[None])
        x, gradient = rng.uniform(-0.5, 0.5, 12), np.empty(12)
        gradient[:] = h @ x - s
        work = np.empty((12, 12)), np.empty(12, int), np.empty(12, bool), np.empty(12)
        alone, ridge = boxqp._active_set(h, gradient, -bound, bound, x, 0.0, *work, 1e-14 * np.abs(s).max())
        assert alone
        assert ridge == 0
        np.testing.assert_allclose(x, whole[0], atol=1e-13 * condition)


def test_corners_and_nothing():
    h = np.tile(np.eye(3), (2, 1, 1))
    x, solved, _ = solve_box(h, np.array([[9.0, -9, 0], [0, 0, 0]]), np.full((2, 3), -1.0), np.ones((2, 3)))
    assert solved.all()
    np.testing.assert_array_equal(x, [[1, -1, 0], [0, 0, 0]])
    x, _, _ = solve_box(np.zeros((0, 3, 3)), *np.zeros((3, 0, 3)))
    assert x.shape == (0, 3)
    x, solved, _ = solve_box(np.zeros((2, 0, 0)), *np.zeros((3, 2, 0)))
    assert x.shape == (2, 0)


def test_singular_is_said_and_stays_finite():
    j = np.random.default_rng(4).normal(size=(4, 50, 6))
    j[0, :, 3] = j[0, :, 2]  # two equal columns
    j[1] = 0
    j[2, 4:] = 0  # fewer equations than unknowns
    r = np.random.default_rng(5).normal(size=(4, 50))
    h, s = j.swapaxes(1, 2) @ j, (r[:, None] @ j)[:, 0]
    x, _, full_rank = solve_box(h, s, np.full((4, 6), -3.0), np.full((4, 6), 3.0))
    np.testing.assert_array_equal(full_rank, [False, False, False, True])
    assert np.isfinite(x).all()
    assert (np.abs(x) <= 3).all()
    np.testing.assert_array_equal(x[1], 0)
    best = np.linalg.lstsq(j[0], r[0])[0]
    np.testing.assert_allclose(j[0] @ x[0], j[0] @ best, atol=1e-6)


def test_indefinite_ends_unsolved():
    h = np.array([np.diag([1.0, -1.0]), np.eye(2)])
    x, solved, _ = solve_box(h, np.ones((2, 2)), np.full((2, 2), -9.0), np.full((2, 2), 9.0))
    np.testing.assert_array_equal(solved, [False, True])
    assert np.isfinite(x).all()
