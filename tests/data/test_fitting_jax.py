"""Eq. (2) on JAX against scipy one face at a time, and against the default solver where that cannot fit."""

import numpy as np
import pytest

pytest.importorskip("jax", reason="jax is not installed (pip install jax)")

import jax.numpy as jnp
from scipy.optimize import least_squares, lsq_linear

from expnet_tf.camera import project, rotation_matrix
from expnet_tf.data import fitting, fitting_jax
from expnet_tf.data.views import project_orthographic
from expnet_tf.morphable import open_face

COUNT = 300  # more than a chunk
KINDS = ["orthographic", "pinhole"]
MODEL = open_face()
BASIS = MODEL.expression_basis[:, MODEL.landmark_ids]


class Faces:
    def __init__(self, kind: str) -> None:
        rng = np.random.default_rng(3)
        z = rng.normal(0, 1.5, (COUNT, 29))
        identity = rng.normal(size=(COUNT, 99))
        self.shape, whole = MODEL.landmarks(identity), MODEL.landmarks(identity, z)
        turn = rng.normal(size=(COUNT, 3)) * [0.2, 0.5, 0.15]
        self.camera = None
        if kind == "orthographic":
            self.pose = np.c_[turn, rng.uniform(0.5, 2, COUNT), rng.uniform(90, 130, (COUNT, 2))]
            exact = project_orthographic(whole, self.pose)
        else:
            distance = rng.uniform(400, 2000, COUNT)
            self.pose = np.c_[turn, rng.normal(0, 20, (COUNT, 2)), -distance]
            self.camera = np.c_[distance * rng.uniform(0.5, 2, COUNT), rng.uniform(90, 130, (COUNT, 2))]
            exact = project(whole, self.pose, self.camera[:, 0], self.camera[:, 1:])
        self.points = exact + 1.5 * rng.normal(size=exact.shape)
        self.weights = rng.uniform(0.2, 2, (COUNT, 68)) * (rng.random((COUNT, 68)) > 0.15)

    @property
    def problem(self) -> tuple:
        return MODEL, self.points, self.shape, self.pose, self.camera


@pytest.fixture(scope="module", params=KINDS)
def faces(request: pytest.FixtureRequest) -> Faces:
    return Faces(request.param)


@pytest.mark.parametrize("weighted", [False, True])
def test_orthographic_is_scipys_bvls(weighted):
    some = Faces("orthographic")
    weights = some.weights if weighted else np.ones((COUNT, 68))
    got = fitting_jax.fit(*some.problem, weights=weights)
    assert got.converged.all()
    assert got.active.mean() > 3
    rows = rotation_matrix(some.pose[:, :3])[:, :2] * some.pose[:, 3, None, None] * [[1], [-1]]
    root = np.sqrt(weights)[..., None]
    free = some.points - project_orthographic(some.shape, some.pose)
    for i in range(COUNT):
        j = ((BASIS @ rows[i].T) * root[i]).reshape(29, -1).T
        there = lsq_linear(j, (free[i] * root[i]).ravel(), (-3, 3), "bvls", tol=1e-15).x
        np.testing.assert_allclose(got.expression[i], there, rtol=0, atol=1e-9)


def test_pinhole_is_scipys_least_squares():
    some = Faces("pinhole")
    got = fitting_jax.fit(*some.problem, weights=some.weights)

    def residual(z: np.ndarray, i: int) -> np.ndarray:
        shape = some.shape[i] + np.tensordot(z, BASIS, 1)
        seen = project(shape, some.pose[i], some.camera[i, 0], some.camera[i, 1:])
        return (np.sqrt(some.weights[i])[:, None] * (seen - some.points[i])).ravel()

    assert got.converged.all()
    exact = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-12, "max_nfev": 200}
    for i in range(0, COUNT, 30):
        start = np.clip(got.expression[i], -2.9, 2.9)
        there = least_squares(residual, start, "3-point", (-3, 3), args=(i,), **exact).x
        np.testing.assert_allclose(got.expression[i], there, rtol=0, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_is_the_default_solver(faces, weighted):
    settings = {"weights": faces.weights, "noise": 1.0, "bound": 2.0} if weighted else {}
    got, there = fitting_jax.fit(*faces.problem, **settings), fitting.fit(*faces.problem, **settings)
    np.testing.assert_allclose(got.expression, there.expression, rtol=0, atol=1e-9)
    np.testing.assert_allclose(got.rms, there.rms, rtol=1e-9)
    for name in ("identity_change", "pose", "active", "converged", "reason"):
        np.testing.assert_array_equal(getattr(got, name), getattr(there, name))


def test_bad_faces_are_named_as_by_the_default_solver(faces):
    model, points, shape, pose, camera = faces.problem
    points, shape, pose, weights = points[:30].copy(), shape[:30].copy(), pose[:30].copy(), np.ones((30, 68))
    camera = None if camera is None else camera[:30]
    points[0, 5], points[1], points[2], points[3, :, 1] = np.nan, 100.0, 1e300, 7
    weights[4], weights[5, 10:], weights[6, 3], weights[7, 14:] = 0, 0, -1, 0
    shape[8, 3], pose[9], pose[10, 3 if camera is None else 5] = np.nan, np.nan, -50.0
    shape[11] = 0
    got = fitting_jax.fit(model, points, shape, pose, camera, weights=weights)
    there = fitting.fit(model, points, shape, pose, camera, weights=weights)
    np.testing.assert_array_equal(got.reason, there.reason)
    np.testing.assert_array_equal(np.isnan(got.expression), np.isnan(there.expression))
    assert np.abs(got.expression[[5, 7]]).max() <= 3
    sound = got.converged
    assert sound[11:].all()
    np.testing.assert_allclose(got.expression[sound], there.expression[sound], rtol=0, atol=1e-9)


def test_no_faces():
    assert fitting_jax.fit(MODEL, np.zeros((0, 68, 2)), np.zeros((68, 3)), np.zeros(6)).expression.shape == (0, 29)


def test_wrong_shapes_and_settings():
    with pytest.raises(ValueError, match=r"points has shape \(2, 51, 2\)"):
        fitting_jax.fit(MODEL, np.zeros((2, 51, 2)), np.zeros((68, 3)), np.zeros(6))
    with pytest.raises(ValueError, match="bound is 0"):
        fitting_jax.fit(MODEL, np.zeros((2, 68, 2)), np.zeros((68, 3)), np.zeros(6), bound=0)


def test_float64_ends_with_the_call():
    some = Faces("orthographic")
    fitting_jax.fit(MODEL, some.points[:3], some.shape[:3], some.pose[:3])
    assert jnp.zeros(1).dtype == jnp.float32
