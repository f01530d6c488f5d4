"""The box QP on JAX against the default one, and its own optimality conditions."""

import numpy as np
import pytest

pytest.importorskip("jax", reason="jax is not installed (pip install jax)")

import jax

from expnet_tf.data.fitting_jax import _float64
from expnet_tf.data.solver.boxqp import solve_box as default
from expnet_tf.data.solver.boxqp_jax import solve_box


@pytest.mark.parametrize(("d", "condition"), [(1, 1), (3, 1e4), (12, 1e2), (29, 1e5)])
def test_is_the_default_one(d, condition):
    """Boxes of all widths, some without a bound, some with none of width; from no guess and from a wild one."""
    rng = np.random.default_rng(2)
    q = np.linalg.qr(rng.normal(size=(500, d, d)))[0]
    lengths = 10 ** rng.uniform(-1, 1, (500, 1, d))
    h = (q * np.geomspace(1, condition, d)) @ q.swapaxes(1, 2) * lengths * lengths.swapaxes(1, 2)
    h = (h + h.swapaxes(1, 2)) / 2
    s = (h @ rng.normal(size=(500, d, 1)))[..., 0]
    lower, upper = rng.uniform(0, 1, (2, 500, d)) * 10 ** rng.uniform(-4, 1, (2, 500, d)) * [[[-1.0]], [[1]]]
    for bound, value, share in ((lower, 0, 0.2), (upper, 0, 0.2), (lower, -np.inf, 0.1), (upper, np.inf, 0.1)):
        bound[rng.random(bound.shape) < share] = value
    there, _, _ = default(h, s, lower, upper)
    wild = rng.integers(-1, 2, (500, d))
    wild[((wild < 0) & ~np.isfinite(lower)) | ((wild > 0) & ~np.isfinite(upper))] = 0
    for start in (np.zeros((500, d), int), wild):
        with _float64():
            x, side, solved = (np.asarray(a) for a in jax.jit(solve_box)(h, s, lower, upper, start, 1000))
        assert solved.all()
        np.testing.assert_allclose(x, there, rtol=0, atol=1e-13 * condition)
        np.testing.assert_array_equal(x[side < 0], lower[side < 0])
        np.testing.assert_array_equal(x[side > 0], upper[side > 0])


def test_goes_on_from_where_the_turns_ended():
    rng = np.random.default_rng(4)
    j = rng.normal(size=(200, 40, 12)) * np.geomspace(1, 30, 12)
    h, s = j.swapaxes(1, 2) @ j, (rng.normal(size=(200, 1, 40)) * 10 @ j)[:, 0]
    bound = np.full((200, 12), 0.1)
    with _float64():
        solve = jax.jit(solve_box)
        whole, _, solved = solve(h, s, -bound, bound, np.zeros((200, 12), int), 1000)
        assert solved.all()
        _, side, early = solve(h, s, -bound, bound, np.zeros((200, 12), int), 2)
        assert 0 < early.mean() < 1
        x, _, solved = solve(h, s, -bound, bound, side, 1000)
        assert solved.all()
        np.testing.assert_allclose(x, whole, atol=1e-12)
