"""Landmarks -> pose -> eq. (2): from exact points of the face model the expression comes back, whatever its size."""

import numpy as np
import pytest

from expnet_tf.camera import project
from expnet_tf.data.labelling.dlib_landmarks import DlibError
from expnet_tf.evaluate.baselines import BASELINES, FACE, INNER, expression_from_points, normalise
from expnet_tf.evaluate.methods import EXPRESSION
from expnet_tf.image import read_image
from expnet_tf.models import ASSETS
from expnet_tf.morphable import open_face
from expnet_tf.train.metrics import errors, r_squared


def faces(count=12, size=100.0, spread=0.7):
    """(z [n, 29], points [n, 68, 2] px) of people of mean shape, seen by the nominal camera, turned a little."""
    model, rng = open_face(), np.random.default_rng(0)
    z = rng.normal(0, spread, (count, 29)) * np.sqrt(model.expression_variance)
    pose = np.concatenate([rng.normal(0, 0.15, (count, 3)), np.tile([0.0, 0, -900], (count, 1))], 1)
    points = [project(model.landmarks(None, a), b, 5 * size, (1000.0, 300.0)) for a, b in zip(z, pose, strict=True)]
    return z, np.stack(points)


def test_size_and_place_of_the_face_do_not_matter():
    _, points = faces()
    codes = expression_from_points(points, prior=True)
    np.testing.assert_allclose(expression_from_points(points * 0.11 - 70, prior=True), codes, atol=1e-6)
    normal = normalise(points)
    assert np.abs(normal.points[:, INNER > 0].mean(1)).max() < 1e-9
    # The box is the measured multiple of the points' spread: of an adult face seen from the front, about 200 px.
    width = np.ptp(normal.points[..., 0], axis=1)
    assert (width > 0.6 * FACE).all()
    assert (width < 1.1 * FACE).all()


def test_the_prior_reads_expressions_from_landmarks():
    z, points = faces(60)
    codes = expression_from_points(points, prior=True)
    assert np.isfinite(codes).all()
    # R^2 of the component that opens the mouth, and the mesh: well under the error of saying "neutral".
    assert r_squared(codes, z)[0] > 0.6
    assert errors(codes, z).mean() < 0.8 * errors(0 * z, z).mean()


def test_the_plain_fit_is_within_the_papers_bound():
    _, points = faces()
    codes = expression_from_points(points, prior=False)
    assert np.isfinite(codes).all()
    assert np.abs(codes).max() <= 3


def test_the_jaw_is_not_used():
    _, points = faces(4)
    moved = points.copy()
    moved[:, :17] = np.nan
    np.testing.assert_array_equal(expression_from_points(moved, prior=True), expression_from_points(points, prior=True))


def test_what_is_no_face_is_an_abstention():
    _, points = faces(3)
    points[0] = 5.0  # all in one place
    points[1] = np.nan
    codes = expression_from_points(points, prior=False)
    assert np.isnan(codes[:2]).all()
    assert np.isfinite(codes[2]).all()
    assert expression_from_points(points[:0], prior=True).shape == (0, 29)


def test_dlib_reads_the_astronauts_smile():
    pytest.importorskip("dlib")
    try:
        method = BASELINES["dlib-prior"]()
    except DlibError as error:
        pytest.skip(str(error))
    photo = read_image(ASSETS / "astronaut.jpg")
    codes = method.codes([photo, photo], [(183, 55, 88, 119), (0, 0, -3, 4)])
    assert method.space == EXPRESSION
    assert np.isnan(codes[1]).all()
    weights = dict(zip(open_face().blendshape_names, open_face().blendshapes(codes[0]), strict=True))
    assert weights["mouthSmileLeft"] > 0.3
    assert weights["mouthSmileRight"] > 0.3
    assert BASELINES["dlib"]().id != method.id


@pytest.mark.parametrize(("prior", "least"), [(False, 0.2), (True, 0.45)])
def test_an_open_mouth_is_read(prior, least):
    """Weakly by the plain form, whose pose takes part of it for a tilt of the head."""
    model = open_face()
    weights = np.zeros((2, 52))
    weights[1, list(model.blendshape_names).index("jawOpen")] = 0.8
    z = weights @ model.blendshapes_to_expression
    points = np.stack([project(model.landmarks(None, row), [0, 0, 0, 0, 0, -900.0], 500.0, (0.0, 0.0)) for row in z])
    shut, wide = model.blendshapes(expression_from_points(points, prior))[:, model.blendshape_names == "jawOpen"]
    assert shut < 0.05
    assert wide > least
