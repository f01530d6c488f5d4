"""Eq. (2) against scipy one face at a time, round trips on the open face model, and input that cannot be fitted."""

import functools

import numpy as np
import pytest
from scipy.optimize import least_squares, lsq_linear

from expnet_tf.camera import project, rotation_matrix
from expnet_tf.data.expressions import sample_weights
from expnet_tf.data.fitting import fit, solve_pose
from expnet_tf.data.views import project_orthographic
from expnet_tf.morphable import MorphableModel, open_face

INNER = np.r_[np.zeros(17), np.ones(51)]  # no jaw
KINDS = ["orthographic", "pinhole"]


class Faces:
    """Faces of the open model under one camera, with exact and with noisy landmarks."""

    def __init__(self, count: int, kind: str, noise: float = 1.5, plausible: bool = False, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.model = open_face()
        self.basis = self.model.expression_basis[:, self.model.landmark_ids]
        if plausible:
            weights = np.stack([sample_weights(rng) for _ in range(count)])
            self.z = np.clip(weights @ self.model.blendshapes_to_expression, -3, 3)
        else:
            self.z = rng.standard_t(4, (count, len(self.basis))) * 1.2  # a tenth beyond the bounds
        self.identity = rng.normal(size=(count, len(self.model.identity_basis)))
        self.shape = self.model.landmarks(self.identity)
        turn, scale = rng.normal(size=(count, 3)) * [0.2, 0.4, 0.15], rng.uniform(0.8, 1.4, count)
        whole = self.model.landmarks(self.identity, self.z)
        if kind == "orthographic":
            self.camera = None
            self.pose = np.c_[turn, scale, rng.uniform(90, 130, (count, 2))]
            self.exact = project_orthographic(whole, self.pose)
        else:
            distance = np.exp(rng.uniform(np.log(450), np.log(2000), count))
            self.camera = np.c_[distance * scale, rng.uniform(100, 124, (count, 2))]
            self.pose = np.c_[turn, rng.normal(0, 20, (count, 2)), -distance]
            self.exact = project(whole, self.pose, self.camera[:, 0], self.camera[:, 1:])
        self.points = self.exact + noise * rng.normal(size=self.exact.shape)
        self.weights = rng.uniform(0.2, 2, (count, 68)) * (rng.random((count, 68)) > 0.15)

    def residual(self, z: np.ndarray, i: int, weights: np.ndarray) -> np.ndarray:
        """Written with camera.py alone, for scipy: float64 [136]."""
        shape = self.shape[i] + np.tensordot(z, self.basis, 1)
        if self.camera is None:
            seen = project_orthographic(shape, self.pose[i])
        else:
            seen = project(shape, self.pose[i], self.camera[i, 0], self.camera[i, 1:])
        return (np.sqrt(weights)[:, None] * (seen - self.points[i])).ravel()

    def affine_problem(self, i: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """J [136, e] and b [136] of scaled orthography: the camera's rows times the basis."""
        rows = rotation_matrix(self.pose[i, :3])[:2] * self.pose[i, 3] * [[1], [-1]]
        j = (self.basis @ rows.T).reshape(len(self.basis), -1).T
        return j * np.repeat(np.sqrt(weights), 2)[:, None], -self.residual(np.zeros(len(self.basis)), i, weights)


@functools.cache
def faces(count: int, kind: str, **settings) -> Faces:
    return Faces(count, kind, **settings)


@pytest.mark.parametrize("weighted", [False, True])
def test_orthographic_is_scipys_bvls(weighted):
    """1,200 faces with active bounds, to 1e-9 in z."""
    some = faces(1200, "orthographic")
    weights = some.weights if weighted else np.ones((1200, 68))
    got = fit(some.model, some.points, some.shape, some.pose, weights=weights)
    assert got.converged.all()
    assert (got.reason == "").all()
    there = np.stack(
        [lsq_linear(*some.affine_problem(i, weights[i]), (-3, 3), "bvls", tol=1e-15).x for i in range(1200)]
    )
    np.testing.assert_allclose(got.expression, there, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(got.active, (np.abs(there) > 3 - 1e-9).sum(1))
    assert got.active.mean() > 3
    squares = [(some.residual(z, i, weights[i]) ** 2).sum() for i, z in enumerate(got.expression)]
    np.testing.assert_allclose(got.rms, np.sqrt(squares / weights.sum(1)), rtol=1e-9)


def test_pinhole_is_scipys_least_squares():
    """Scipy starts next to our answer, so that it cannot stop early: it must agree that this is the minimum."""
    some = faces(40, "pinhole")
    got = fit(some.model, some.points, some.shape, some.pose, some.camera, weights=some.weights)
    assert got.converged.all()
    assert got.active.mean() > 3
    for i in range(40):
        start = np.clip(got.expression[i], -2.9, 2.9)
        there = least_squares(
            some.residual,
            start,
            "3-point",
            (-3, 3),
            args=(i, some.weights[i]),
            method="trf",
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-12,
            max_nfev=200,
        ).x
        np.testing.assert_allclose(got.expression[i], there, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [None, INNER])
def test_round_trip(kind, weights):
    """Exact landmarks, true pose and shape give the code back: all components, at and away from the bounds."""
    some = faces(300, kind, plausible=True)
    got = fit(some.model, some.exact, some.shape, some.pose, some.camera, weights=weights)
    assert got.converged.all()
    np.testing.assert_allclose(got.expression, some.z, rtol=0, atol=1e-8)
    assert got.rms.max() < 1e-9
    # The same through the float32 of label files.
    small = [np.float32(a) for a in (some.exact, some.shape, some.pose)]
    camera = None if some.camera is None else np.float32(some.camera)
    error = np.abs(fit(some.model, *small, camera, weights=weights).expression - some.z)
    assert np.median(error) < 0.001
    assert error.max() < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_pose_from_landmarks(kind):
    some = faces(200, kind, plausible=True)
    whole = some.model.landmarks(some.identity, some.z)
    exact = solve_pose(some.exact, whole, some.camera)
    assert exact.converged.all()
    np.testing.assert_allclose(exact.pose, some.pose, rtol=1e-6, atol=1e-6)
    assert exact.rms.max() < 1e-9
    # With the neutral shape the expression pulls the pose away; solving for both brings it back.
    first = solve_pose(some.exact, some.shape, some.camera)
    assert first.converged.all()
    assert np.abs(first.pose - some.pose)[:, :3].mean() > 0.005
    both = fit(some.model, some.exact, some.shape, first.pose, some.camera, refine_pose=True)
    assert both.converged.all()
    np.testing.assert_allclose(both.pose, some.pose, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(both.expression, some.z, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_refined_pose_is_a_minimum_with_noise(kind):
    """No step of pose or code inside the box makes it better, which scipy confirms from the point itself."""
    some = faces(60, kind, noise=3.0, plausible=True)
    first = solve_pose(some.points, some.shape, some.camera, weights=INNER)
    got = fit(some.model, some.points, some.shape, first.pose, some.camera, weights=INNER, refine_pose=True)
    assert first.converged.mean() > 0.95
    assert got.converged.mean() > 0.95
    fixed = fit(some.model, some.points, some.shape, first.pose, some.camera, weights=INNER)
    assert (got.rms < fixed.rms).all()

    def residual(x: np.ndarray, i: int) -> np.ndarray:
        trial = Faces.__new__(Faces)
        trial.__dict__ = some.__dict__ | {"pose": x[None, 29:].repeat(60, 0)}
        return trial.residual(x[:29], i, INNER)

    for i in np.flatnonzero(got.converged)[:5]:
        start = np.r_[np.clip(got.expression[i], -2.999999, 2.999999), got.pose[i]]
        box = np.r_[np.full(29, 3.0), np.full(6, np.inf)]
        there = least_squares(residual, start, "3-point", (-box, box), x_scale="jac", args=(i,), xtol=1e-12, ftol=1e-14)
        here = (residual(np.r_[got.expression[i], got.pose[i]], i) ** 2).sum()
        assert here <= 2 * there.cost * (1 + 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_prior_and_identity(kind):
    """The stated cost is at its minimum, and solving for the identity helps where the shape is unknown."""
    some = faces(50, kind, noise=1.0, plausible=True)
    model = some.model
    got = fit(model, some.points, some.shape, some.pose, some.camera, noise=2.0)
    assert got.converged.all()
    assert (got.identity_change == 0).all()
    i = 7
    pull = 2.0 / np.sqrt(model.expression_variance)
    there = least_squares(
        lambda z: np.r_[some.residual(z, i, np.ones(68)), pull * z],
        np.zeros(29),
        "3-point",
        (-3, 3),
        xtol=1e-14,
        ftol=1e-15,
        gtol=1e-12,
    ).x
    np.testing.assert_allclose(got.expression[i], there, rtol=0, atol=1e-6)

    plain = fit(model, some.points, model.landmarks(), some.pose, some.camera, noise=1.0)
    free = fit(model, some.points, model.landmarks(), some.pose, some.camera, noise=1.0, identity_spread=1.0)
    assert free.converged.all()
    assert (free.rms < plain.rms).all()
    assert np.abs(free.expression - some.z).mean() < 0.8 * np.abs(plain.expression - some.z).mean()
    assert np.abs(free.identity_change - some.identity).mean() < np.abs(some.identity).mean()
    tied = fit(model, some.points, some.shape, some.pose, some.camera, noise=1.0, identity_spread=1e-6)
    same = fit(model, some.points, some.shape, some.pose, some.camera, noise=1.0)
    np.testing.assert_allclose(tied.expression, same.expression, rtol=0, atol=1e-6)


def test_next_to_the_camera():
    """At 9 cm the pinhole's slopes change from step to step."""
    some = faces(200, "pinhole")
    pose = np.c_[some.pose[:, :3], np.zeros((200, 2)), np.full(200, -90.0)]
    camera = np.c_[np.full(200, 90.0), some.camera[:, 1:]]
    points = project(some.model.landmarks(some.identity, some.z), pose, camera[:, 0], camera[:, 1:])
    points += np.random.default_rng(1).normal(0, 3, points.shape)
    assert fit(some.model, points, some.shape, pose, camera).converged.all()


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_landmarks(kind):
    """15 landmarks give 30 equations for 29 unknowns; 14 give 28, which rounding can make look like enough."""
    some = faces(300, kind, plausible=True)
    order = np.random.default_rng(8).random((300, 68)).argsort(1)

    def few(number: int, count: int = 300, **settings):
        camera = None if some.camera is None else some.camera[:count]
        arrays = some.exact[:count], some.shape[:count], some.pose[:count], camera
        return fit(some.model, *arrays, weights=order[:count] < number, **settings)

    for number, share in ((20, 1.0), (15, 0.9), (14, 0.0), (3, 0.0)):
        got = few(number)
        assert share <= got.converged.mean() <= np.ceil(share)
        assert np.isfinite(got.expression).all()
        if number == 20:
            np.testing.assert_allclose(got.expression, some.z, rtol=0, atol=1e-6)
        elif number == 15:  # of any kind, and some are next to useless
            assert np.abs(got.expression - some.z)[got.converged].max() < 1e-2
        else:
            assert set(got.reason) == {"the landmarks do not determine all unknowns"}
    # The prior tells the rest.
    assert few(14, noise=1.0).converged.all()
    # Six more unknowns need three more landmarks.
    assert few(20, 40, refine_pose=True).converged.any()
    assert not few(17, 40, refine_pose=True).converged.any()


def test_batch_and_single_face_agree():
    """A face's answer does not depend on its neighbours, nor on where the batch is cut."""
    some = faces(40, "pinhole")
    all_at_once = fit(some.model, some.points, some.shape, some.pose, some.camera)
    for i in (0, 17, 39):
        one = slice(i, i + 1)
        alone = fit(some.model, some.points[one], some.shape[one], some.pose[one], some.camera[one])
        np.testing.assert_allclose(alone.expression[0], all_at_once.expression[i], rtol=0, atol=1e-12)
    assert fit(some.model, some.points[:0], some.shape[:0], some.pose[:0]).expression.shape == (0, 29)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_faces_are_named_and_spare_the_others(kind):
    some = faces(40, kind)
    points, shape, pose, weights = some.points.copy(), some.shape.copy(), some.pose.copy(), np.ones((40, 68))
    camera = None if some.camera is None else some.camera.copy()
    points[0, 5], points[1], points[2], points[3, 4, 0] = np.nan, 100.0, 1e300, -np.inf
    weights[4], weights[5, 10:], weights[6, 3], weights[7, 3] = 0, 0, -1, np.nan
    shape[8, 3], pose[9], pose[10, 3 if camera is None else 5] = np.nan, np.nan, -50.0
    points[11, :, 1] = points[11, :, 0]
    points[20, 7], weights[20, 7] = np.nan, 0  # fine: nobody looks at it
    got = fit(some.model, points, shape, pose, camera, weights=weights)
    words = [
        "landmark is not a number",
        "one place",
        "landmark is not a number",
        "landmark is not a number",
        "weight",
        "do not determine",
        "weight is negative",
        "weight is negative",
        "shape is not",
        "pose is not",
        "behind",
        "on one line",
    ]
    for i, word in enumerate(words):
        assert word in got.reason[i]
        assert not got.converged[i]
        if i == 5:  # 20 equations for 29 unknowns: one of many solutions
            assert np.isfinite(got.expression[i]).all()
        else:
            assert np.isnan(got.expression[i]).all()
            assert np.isnan(got.rms[i])
    assert got.converged[12:].all()
    there = fit(some.model, some.points, some.shape, some.pose, some.camera, weights=weights)
    np.testing.assert_allclose(got.expression[12:], there.expression[12:], rtol=0, atol=1e-12)
    poses = solve_pose(points, shape, camera, weights=weights)
    np.testing.assert_array_equal(poses.converged, ~np.isin(np.arange(40), [0, 1, 2, 3, 4, 6, 7, 8, 11]))
    assert np.isfinite(poses.pose[poses.converged]).all()
    assert "fewer than 4" in solve_pose(points[21:22], shape[21:22], weights=np.r_[np.ones(3), np.zeros(65)]).reason[0]
    assert "no pose" in solve_pose(points[21:22], np.zeros((68, 3))).reason[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"points": np.zeros((2, 51, 2))}, r"points has shape \(2, 51, 2\), \[m, 68, 2\] is needed"),
        ({"points": np.zeros((68, 2))}, r"points has shape \(68, 2\)"),
        ({"shape": np.zeros((3, 68, 3))}, "shape has shape"),
        ({"pose": np.zeros((2, 5))}, "pose has shape"),
        ({"camera": np.zeros((2, 2))}, "camera has shape"),
        ({"weights": np.ones(51)}, "weights has shape"),
        ({"bound": 0}, "bound is 0"),
        ({"noise": 0}, "noise is 0"),
        ({"identity_spread": 1.0}, "and noise when it is above 0"),
    ],
)
def test_wrong_shapes_and_settings(change, words):
    good = {"points": np.zeros((2, 68, 2)), "shape": np.zeros((68, 3)), "pose": np.ones((2, 6))}
    with pytest.raises(ValueError, match=words):
        fit(open_face(), **(good | change))


def test_other_models():
    """Widths come from the model, not from this package."""
    some = faces(40, "orthographic")
    fields = {name: getattr(some.model, name) for name in MorphableModel.__dataclass_fields__}
    fields |= {"expression_basis": some.model.expression_basis[:7], "expression_variance": np.ones(7)}
    got = fit(MorphableModel(**fields), some.points, some.shape, some.pose, bound=2.0)
    assert got.expression.shape == (40, 7)
    assert np.abs(got.expression).max() == 2.0
    assert got.converged.all()
