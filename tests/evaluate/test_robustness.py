"""Changes of a picture that leave the face as it is, told apart by methods whose answers are known."""

import numpy as np
import pytest

from expnet_tf.evaluate.methods import EXPRESSION
from expnet_tf.evaluate.robustness import LARGEST, difference, drift, mirrored, prepare, rolled, shifted, stability
from expnet_tf.image import ImageError
from expnet_tf.morphable import open_face

IMAGE = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
BOX = (50.0, 30.0, 40.0, 60.0)


class Brightness:
    """A method that sees the mean grey of the left and of the right half of the box, and so mirrors exactly."""

    name = id = "brightness"
    space = EXPRESSION
    blendshapes = None

    def codes(self, images, boxes):
        even, odd = (np.flatnonzero(open_face().expression_mirror == sign)[0] for sign in (1, -1))
        rows = np.zeros((len(images), 29))
        for row, image, (x, y, w, h) in zip(rows, images, boxes, strict=True):
            part = image[max(0, round(y)) : round(y + h), max(0, round(x)) : round(x + w)].astype(float)
            left, right = part[:, : part.shape[1] // 2].mean(), part[:, -(part.shape[1] // 2) :].mean()
            row[even], row[odd] = (left + right) / 100, (left - right) / 100
        return rows


def test_the_picture_is_the_photo_around_the_box():
    picture, box = prepare(IMAGE, BOX)
    assert picture.shape == (180, 180, 3)
    x, y, w, h = (round(v) for v in box)
    assert (w, h) == (40, 60)
    np.testing.assert_array_equal(picture[y : y + h, x : x + w], IMAGE[30:90, 50:90])
    large, box = prepare(np.zeros((2000, 2000, 3), np.uint8), (500, 500, 800, 1000))
    assert large.shape[0] == 3 * LARGEST
    assert box[3] == pytest.approx(LARGEST)
    with pytest.raises(ImageError):
        prepare(IMAGE, (500, 500, 10, 10))


def test_a_mirrored_pair_agrees_and_other_changes_show():
    rows = {row["change"]: row for row in stability(Brightness(), [IMAGE, 255 - IMAGE // 2], [BOX, BOX])}
    assert len(rows) == 6
    mirror = rows.pop("mirrored, and the code mirrored back")
    assert mirror["mean |dz|"] == 0
    assert mirror["pictures"] == 2
    half = rows.pop("left or right half of the face hidden")
    assert half["pictures"] == 4
    assert half["mean |dz|"] > 0.001
    assert half["mm"] > 0
    assert all(0 < row["mean |dz|"] < 0.05 for row in rows.values())


def test_no_mirror_for_codes_of_another_space():
    class Other(Brightness):
        space = "other"

    rows = stability(Other(), [IMAGE], [BOX])
    assert len(rows) == 5
    assert all(row["mm"] is None for row in rows)
    assert all(row["of the distance between photos"] is None for row in rows)  # one photo


def test_geometry_of_the_changes():
    picture = prepare(IMAGE, BOX)
    (image, box) = mirrored(picture)[0]
    x, y, w, h = (round(v) for v in box)
    np.testing.assert_array_equal(image[y : y + h, x : x + w], IMAGE[30:90, 50:90][:, ::-1])
    boxes = np.array([box for _, box in shifted(picture)])
    assert len(boxes) == 6
    np.testing.assert_allclose(boxes.mean(0), picture[1], atol=1e-9)
    # A roll and its opposite give the middle back.
    turned = rolled(rolled(picture)[0])[1][0]
    x, y, w, h = (round(v) for v in picture[1])
    smooth = np.abs(turned[y + 15 : y + h - 15, x + 5 : x + w - 5].astype(float).mean() - IMAGE[45:75, 55:85].mean())
    assert smooth < 3


def test_drift_is_against_scale_one():
    codes = {1.0: np.zeros((3, 29)), 0.4: np.ones((3, 29)), 0.2: np.full((3, 29), np.nan)}
    small, none = drift(codes, EXPRESSION)
    assert small["change"] == "scale 0.4"
    assert small["mean |dz|"] == 1
    assert small["mm"] > 0
    assert none["mean |dz|"] is None
    assert none["abstained"] == 3


def test_the_unit_of_comparison_is_different_photos():
    photos = np.arange(4.0)[:, None] * np.ones((1, 29))
    row = difference(photos, photos + 0.5, "other", photos)
    # Neighbours lie 1, 1, 1 and 3 apart.
    assert row["of the distance between photos"] == pytest.approx(0.5 / 1.5, abs=1e-4)
