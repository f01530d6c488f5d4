"""What is refused before any solver sees it, and that arrays may come in any form."""

import numpy as np
import pytest

from expnet_tf.data.solver.landmark_fits import checked_views, enough_equations, report

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(0, 224, (4, 68, 2))
SHAPE = RNG.normal(0, 40, (4, 68, 3))


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (1, 1), (-3, 0.1)])
@pytest.mark.parametrize("place", [0, 112, 1e6])
def test_a_line_is_no_face(direction, place):
    points = POINTS.copy()
    points[0] = place + RNG.uniform(0, 224, (68, 1)) * direction
    points[1] = points[0] + RNG.normal(0, 0.1, (68, 2))  # bent a little
    _, reason = checked_views(points, SHAPE, None, None)
    assert reason.tolist() == ["all landmarks lie on one line", "", "", ""]


def test_a_line_is_of_the_points_with_weight():
    points, weights = POINTS.copy(), np.ones((4, 68))
    points[0, 30:] = 77.0
    points[0, :30, 1] = 5.0  # a line and a point
    points[1, :30, 1] = 5.0
    weights[1, 30:] = 0  # only the line
    weights[2, 2:] = 0  # two points
    points[3, 30:] = np.nan
    weights[3, 30:] = 0
    _, reason = checked_views(points, SHAPE, weights, None)
    line = "all landmarks lie on one line"
    assert reason.tolist() == ["", line, line, ""]


def test_the_first_reason_stays_and_nothing_warns():
    """Numbers that overflow when squared are out of range, and only that."""
    points = POINTS.copy()
    points[0], points[1, 0], points[2, 0], points[3] = 1e308, np.inf, -np.inf, np.nan
    _, reason = checked_views(points, SHAPE, None, None)
    assert (reason == "a landmark is not a number, or out of range").all()
    for least in (0, 1e-300):
        _, reason = checked_views(points, SHAPE, np.full(68, least), None)
        assert (reason == "no landmark has weight").all()


def test_any_form_of_array():
    wanted, _ = checked_views(POINTS.astype(np.float32), SHAPE, None, None)
    sliced = np.repeat(POINTS.astype(np.float32), 2, 0)[::2]
    fixed = np.asfortranarray(POINTS.astype(np.float32))
    fixed.setflags(write=False)
    for points in (sliced, fixed, POINTS.astype(np.float32).tolist(), POINTS.astype(np.float32).astype(">f8")):
        views, reason = checked_views(points, SHAPE, np.ones(68, bool), None)
        np.testing.assert_array_equal(views.points, wanted.points)
        assert views.points.dtype == views.weights.dtype == np.float64
        assert (reason == "").all()


def test_what_is_given_stays_as_it_is():
    points, weights = POINTS.copy(), np.zeros((4, 68))
    checked_views(points, SHAPE, weights, None)
    np.testing.assert_array_equal(points, POINTS)


def test_equations_are_counted():
    weights = np.zeros((3, 68))
    weights[0, :14], weights[1, :15], weights[2] = 0.1, 3, 1
    assert enough_equations(weights, np.zeros(29), 29).tolist() == [False, True, True]
    assert enough_equations(weights, np.ones(29), 29).all()
    assert enough_equations(weights, np.zeros(29), 29 + 6).tolist() == [False, False, True]


def test_report():
    reason = np.array(["bad", "", "", ""], "U64")
    squares, weights = np.array([136.0, np.inf, 0.0]), np.ones((3, 68))
    converged, determined = np.array([True, False, False]), np.array([True, True, False])
    rms, solved = report(squares, converged, determined, weights, np.array([1, 2, 3]), reason)
    np.testing.assert_array_equal(rms, [np.nan, np.sqrt(2), np.nan, 0])
    assert solved.tolist() == [True, False, True]
    assert [words[:14] for words in reason] == ["bad", "", "the face reach", "the landmarks "]
