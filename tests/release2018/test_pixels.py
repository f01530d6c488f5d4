"""The pixels of 2018, against the release's steps written out once more, and TensorFlow's own legacy resize."""

import io
import math

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from expnet_tf import image as ours
from expnet_tf.image import ImageError
from expnet_tf.release2018 import pixels

RNG = np.random.default_rng(0)
PHOTO = cv2.resize(RNG.integers(0, 256, (24, 32, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
BOXES = [
    (100.0, 60.0, 80.0, 100.0),
    (101.3, 60.7, 81.9, 55.25),
    (-20.0, -33.3, 90.0, 70.1),  # beyond the corner
    (250.5, 170.25, 120.75, 101.5),  # beyond the opposite one
    (10.0, 5.0, 300.0, 230.0),  # beyond all edges
    (150.0, 100.0, 3.3, 2.1),
    *(tuple(RNG.uniform((-30, -30, 20, 20), (220, 150, 150, 150))) for _ in range(30)),
]


def square_of(box: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the enlarged square, float32 as the release keeps them, by its own two steps."""
    x, y, w, h = box
    side = max(w, h)
    center = np.array([(x + (x + w)) / 2, (y + (y + h)) / 2])
    low, high = (center - side / 2).astype(np.float32), (center + side / 2).astype(np.float32)
    length = high - low
    return (low - length * np.float32(0.25)), (low + length * np.float32(1.25))


def released(photo: np.ndarray, box: tuple) -> np.ndarray:
    """Pads the whole photo, rounds the corners up, cuts out, resizes: uint8 [227, 227, 3]."""
    low, high = square_of(box)
    height, width = photo.shape[:2]
    left, top = (math.ceil(-v) if v < 0 else 0 for v in low)
    right, bottom = (
        math.ceil(v - length + 1) if v > length - 1 else 0 for v, length in zip(high, (width, height), strict=True)
    )
    padded = np.pad(photo, ((top, bottom), (left, right), (0, 0)))
    first = np.ceil((low + np.array([left, top])).astype(np.float32)).astype(int)
    last = np.ceil((high + np.array([left, top])).astype(np.float32)).astype(int)
    side = (last - first).max()
    cut = padded[first[1] : first[1] + side, first[0] : first[0] + side]
    assert cut.shape[:2] == (side, side)
    return cv2.resize(cut, (227, 227), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("box", BOXES)
def test_crops_are_the_releases(box: tuple) -> None:
    expected = released(PHOTO, box)
    np.testing.assert_array_equal(pixels.crop227(PHOTO, box), expected)
    np.testing.assert_array_equal(pixels.crop(PHOTO, box, 227), expected)
    legacy = tf.raw_ops.ResizeBilinear(images=expected[None].astype(np.float32), size=[224, 224])[0].numpy()
    small = pixels.crop(PHOTO, box, 224)
    assert small.shape == (224, 224, 3)
    assert np.abs(small - legacy).max() <= 0.5001  # a network's uint8 input rounds the fractions
    x0, y0, side = pixels.crop_square(box)
    low, _ = square_of(box)
    assert (x0, y0) == tuple(np.ceil(low))
    assert abs(side - 1.5 * max(box[2:])) <= 1.01


def test_two_corners_rounded_up_one_by_one() -> None:
    # By hand: 10.2 .. 25.2 becomes 11 .. 26, and 0.9 .. 15.9 becomes 1 .. 16.
    assert pixels.crop_square((12.7, 3.4, 10.0, 10.0)) == (11, 1, 15)
    # 10.175 .. 25.325 becomes 11 .. 26, and 0.875 .. 16.025 becomes 1 .. 17: the longer side counts.
    assert pixels.crop_square((12.7, 3.4, 10.1, 10.1)) == (11, 1, 16)
    assert pixels.crop_square((0.0, 0.0, 3.0, 3.0)) == (0, 0, 4)  # -0.75 .. 3.75


def test_legacy_bilinear_is_tensorflows() -> None:
    images = RNG.integers(0, 256, (2, 227, 227, 3), np.uint8)
    for size in (224, 100, 300):
        expected = tf.raw_ops.ResizeBilinear(
            images=images, size=[size, size], align_corners=False, half_pixel_centers=False
        ).numpy()
        np.testing.assert_allclose(pixels.legacy_bilinear(images, size), expected, rtol=0, atol=5e-5)
    modern = tf.raw_ops.ResizeBilinear(images=images, size=[224, 224], half_pixel_centers=True).numpy()
    assert np.abs(modern - pixels.legacy_bilinear(images, 224)).max() > 1  # half-pixel centres are something else


def test_jpeg_is_opencvs_of_quality_95() -> None:
    crop = pixels.crop227(PHOTO, BOXES[0])
    written = cv2.imencode(".jpg", crop[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(pixels.through_jpeg(crop), np.asarray(Image.open(io.BytesIO(written))))
    assert 0 < np.abs(pixels.through_jpeg(crop).astype(int) - crop).max() < 40


def test_a_models_pixels_are_found_by_name() -> None:
    found = ours.pixels("release2018")
    np.testing.assert_array_equal(found.crop(PHOTO, BOXES[1], 224, 1.5), pixels.crop(PHOTO, BOXES[1], 224))
    assert found.crop_square(BOXES[1], 1.5) == pixels.crop_square(BOXES[1])
    assert ours.pixels("expnet").crop is ours.crop
    assert not np.array_equal(ours.crop(PHOTO, BOXES[1], 227, 1.5), pixels.crop227(PHOTO, BOXES[1]))
    with pytest.raises(ValueError, match="no pixels 'polar'; accepted: expnet, release2018"):
        ours.pixels("polar")


@pytest.mark.parametrize(
    ("box", "factor", "message"),
    [
        ((400, 10, 20, 20), 1.5, "outside the 320x240 px photo"),
        ((10, 10, 0, 20), 1.5, "both must be positive"),
        ((10, 10, 20, 1e5), 1.5, "exceeds 12288 px"),
        ((10, 10, 20, 20), -1.0, "the crop factor is -1.0"),
    ],
)
def test_boxes_that_cannot_be_used(box: tuple, factor: float, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        pixels.crop(PHOTO, box, 224, factor)
