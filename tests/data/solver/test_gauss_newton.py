"""The second-order matrix against finite differences of the gradient."""

import numpy as np

from expnet_tf.camera import rotation_matrix
from expnet_tf.data.solver.gauss_newton import Unknowns, Views, _linearise, _state, minimise
from expnet_tf.data.views import move
from expnet_tf.morphable import open_face


def problem(count: int = 3) -> tuple[Views, Unknowns, np.ndarray]:
    rng = np.random.default_rng(0)
    model = open_face()
    basis = model.expression_basis[:9, model.landmark_ids]
    shape = np.broadcast_to(model.landmarks(), (count, 68, 3))
    rotation = rotation_matrix(rng.normal(0, 0.4, (count, 3)))
    views = Views(
        rng.uniform(0, 224, (count, 68, 2)),
        rng.uniform(0.5, 2, (count, 68)),
        shape,
        rotation,
        np.tile([1.1, 100, 120], (count, 1)),
        None,
    )
    return views, Unknowns(basis, np.full(9, 5.0), np.full(9, 3.0), True), rng.uniform(-2, 2, (count, 9))


def test_newton_matrix_has_the_rotations_curvature():
    """With the points anywhere: the residual is large, so Gauss-Newton's own matrix would be far off."""
    views, unknowns, x = problem()
    rows = np.ascontiguousarray(unknowns.basis.transpose(1, 2, 0))
    gauss_newton, newton, _ = _linearise(_state(views, x, unknowns.basis), unknowns, rows, True)

    def cost(step: np.ndarray) -> np.ndarray:
        moved = Views(**vars(views))
        moved.rotation, moved.offset = move(views.rotation, views.offset, np.tile(step[9:], (3, 1)), None)
        state = _state(moved, x + step[:9], unknowns.basis)
        return (state.squares + (unknowns.precision * (x + step[:9]) ** 2).sum(1)) / 2

    size, axes = 1e-3, np.eye(15)
    there = np.array(
        [
            [
                (cost(size * (a + b)) - cost(size * (a - b)) - cost(size * (b - a)) + cost(-size * (a + b)))
                / (4 * size**2)
                for b in axes[:12]
            ]
            for a in axes[9:12]
        ]
    ).transpose(2, 0, 1)
    scale = np.abs(there).max()
    np.testing.assert_allclose(newton[:, 9:12, :12], there, atol=1e-5 * scale)
    np.testing.assert_allclose(newton[:, :12, 9:12], there.swapaxes(1, 2), atol=1e-5 * scale)
    assert np.abs(gauss_newton[:, 9:12, :12] - there).max() > 0.1 * scale


def test_no_faces():
    views, unknowns, _ = problem()
    found = minimise(views.take(np.zeros(0, int)), unknowns)
    assert found.x.shape == (0, 9)
    assert found.converged.shape == (0,)
