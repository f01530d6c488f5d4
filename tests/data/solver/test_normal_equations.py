"""The compiled sums against the same with the Jacobian written out."""

import numpy as np
import pytest

from expnet_tf.data.solver.normal_equations import matrix_of_one_slope, normal_equations

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(11, 3, 7))  # 11 landmarks: an odd number of row pairs


@pytest.mark.parametrize("slopes", [1, 11])
@pytest.mark.parametrize("others", [0, 6])
def test_sums(slopes, others):
    head, columns = RNG.normal(size=(4, slopes, 2, 3)), RNG.normal(size=(4, 11, 2, others))
    weights, residual = RNG.uniform(0, 2, (4, 11)), RNG.normal(size=(4, 11, 2))
    weights[:, 3] = 0
    j = np.concatenate([np.broadcast_to(head, (4, 11, 2, 3)) @ ROWS, columns], -1).reshape(4, 22, -1)
    w = np.repeat(weights, 2, axis=1)[..., None]
    matrix, right = normal_equations(head, columns, weights, residual, ROWS, True)
    np.testing.assert_allclose(matrix, j.swapaxes(1, 2) @ (w * j), atol=1e-12)
    np.testing.assert_allclose(right, (j * w * residual.reshape(4, 22, 1)).sum(1), atol=1e-12)
    none, same = normal_equations(head, columns, weights, residual, ROWS, False)
    assert not none.any()
    np.testing.assert_array_equal(same, right)


def test_one_slope():
    head, weights = RNG.normal(size=(4, 1, 2, 3)), RNG.uniform(0, 2, 11)
    common = np.tile(weights, (4, 1))
    matrix, _ = normal_equations(head, np.zeros((4, 11, 2, 0)), common, np.zeros((4, 11, 2)), ROWS, True)
    np.testing.assert_allclose(matrix_of_one_slope(head[:, 0], weights, ROWS), matrix, atol=1e-12)
