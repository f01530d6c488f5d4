"""dlib's landmarks in the house's boxes. Skipped where the extra `baselines` is not installed."""

import csv

import cv2
import numpy as np
import pytest

from expnet_tf.data.labelling import dlib_landmarks
from expnet_tf.data.labelling.dlib_landmarks import DROP, SIDE, DlibError, DlibLandmarks, hog_square
from expnet_tf.image import ImageError, read_image
from expnet_tf.models import ASSETS

BOX = (183.0, 55.0, 88.0, 119.0)  # of the astronaut


@pytest.fixture(scope="module")
def landmarks():
    pytest.importorskip("dlib")
    try:
        return DlibLandmarks()
    except DlibError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def photo():
    return read_image(ASSETS / "astronaut.jpg")


def test_the_square_is_hogs():
    x, y, side = hog_square((10, 20, 100, 140))
    assert side == pytest.approx(SIDE * 120)
    assert x + side / 2 == pytest.approx(60)
    assert y + side / 2 == pytest.approx(90 + DROP * 140)


def test_points_of_a_face(landmarks, photo):
    points = landmarks.points(photo, BOX)
    assert points.shape == (68, 2)
    eyes, mouth = points[36:48].mean(0), points[48:68].mean(0)
    assert BOX[0] < eyes[0] < BOX[0] + BOX[2]
    assert BOX[1] < eyes[1] < mouth[1] < BOX[1] + BOX[3]
    assert points[36, 0] < points[45, 0]  # the person's right eye is on the left


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_points_follow_the_scale_of_the_photo(landmarks, photo, scale):
    """In photos larger and smaller than what the predictor looks at, to about its own repeatability."""
    points = landmarks.points(photo, BOX)
    other = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    moved = landmarks.points(other, [scale * value for value in BOX]) / scale
    difference = moved - points
    assert np.abs(difference.mean(0)).max() < 0.4  # px, where the face is 88 wide: no half pixel lost
    assert np.sqrt((difference**2).mean()) < 3


def test_a_box_may_reach_beyond_the_photo(landmarks, photo):
    whole = landmarks.points(photo, BOX)
    cut = landmarks.points(photo[:, : int(BOX[0] + BOX[2] - 5)], BOX)
    assert np.isfinite(cut).all()
    assert np.sqrt(((cut - whole) ** 2).mean()) < 6
    with pytest.raises(ImageError):
        landmarks.points(photo, (0, 0, -1, 5))


def test_dlibs_own_detector_agrees_with_the_square(landmarks, shared):
    """The constants: on photos with given boxes the square is HOG's within its own steps."""
    import dlib

    folder = shared / "data" / "london"
    with (folder / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::12]
    detector = dlib.get_frontal_face_detector()
    ratios, drops = [], []
    for row in rows:
        found = detector(read_image(folder / row["path"]), 0)
        _, y, side = hog_square([float(row[f"box_{k}"]) for k in "xywh"])
        best = max(found, key=lambda one: one.width())
        ratios.append(best.width() / side)
        drops.append((best.top() + best.height() / 2 - (y + side / 2)) / side)
    # London medians: 0.97 of the size, 0.02 of the side lower (see the constants).
    assert 0.9 < np.median(ratios) < 1.04
    assert abs(np.median(drops)) < 0.05


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(dlib_landmarks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DlibError, match=r"expnet_tf\[baselines\].*not be used commercially"):
        dlib_landmarks.model_file()
