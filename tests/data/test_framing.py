"""The square that is packed: pixels as image.crop gives them, labels that still project onto the face."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from expnet_tf.camera import project
from expnet_tf.data.framing import Framing, frame_face, move_labels
from expnet_tf.data.labels import WIDTHS, read_labels
from expnet_tf.data.views import project_orthographic
from expnet_tf.image import ImageError, crop, decode_image
from expnet_tf.morphable import open_face


@pytest.fixture(scope="module")
def row(faces) -> tuple[bytes, dict[str, np.ndarray]]:
    columns = read_labels(faces)
    return (faces / columns["key"][4]).read_bytes(), {name: columns[name][4] for name in WIDTHS}


def jpeg(image: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def landmarks(labels: dict[str, np.ndarray]) -> np.ndarray:
    model = open_face()
    points = model.landmarks(labels["identity"].astype(np.float64), labels["expression"].astype(np.float64))
    return project(points, labels["pose"], labels["camera"][0], labels["camera"][1:])


def test_a_whole_jpeg_of_the_right_size_is_stored_to_the_byte(row):
    data, labels = row
    framed = frame_face(data, "k", labels, "pinhole", Framing("none", 1.6, 64))
    assert framed.unchanged
    assert framed.jpeg == data
    assert framed.padding == 0
    np.testing.assert_array_equal(framed.pixels, decode_image(data))
    for name, width in WIDTHS.items():
        np.testing.assert_array_equal(framed.labels[name], labels[name].reshape(width or (1,)))
    assert framed.factor == pytest.approx(64 / labels["box"][2:].max())


def test_a_jpeg_that_decoders_might_turn_or_recolour_is_written_anew(row):
    image = decode_image(row[0])
    exif = Image.Exif()
    exif[0x0112] = 3
    grey = jpeg(np.ascontiguousarray(image[..., 0]))
    png = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    for data in (jpeg(image, exif=exif), grey, png):
        framed = frame_face(data, "k", row[1], "pinhole", Framing("none", 1.6, 64))
        assert not framed.unchanged
        assert abs(framed.pixels.astype(int) - decode_image(data)).mean() < 3
        np.testing.assert_array_equal(framed.pixels, decode_image(framed.jpeg))


@pytest.mark.parametrize(("mode", "factor", "size"), [("none", 1.0, 40), ("boxes", 1.6, 96), ("boxes", 1.25, 48)])
def test_the_pose_still_projects_onto_the_moved_landmarks(row, mode, factor, size):
    data, labels = row
    framed = frame_face(data, "k", labels, "pinhole", Framing(mode, factor, size))
    about = labels["box"].tolist() if mode == "boxes" else [0, 0, 64, 64]
    image = crop(decode_image(data), about, size, factor)
    assert abs(framed.pixels.astype(int) - image).mean() < 3  # but for the JPEG
    # Turned eyes move the lids a little, which the codes do not say: the difference stays, and scales.
    gaze = landmarks(labels) - labels["points"]
    scale = size / (64 if mode == "none" else round(factor * labels["box"][2:].max()))
    assert abs(gaze).max() < 0.3
    assert landmarks(framed.labels) == pytest.approx(framed.labels["points"] + scale * gaze, abs=1e-3)
    x, y, w, h = framed.labels["box"]
    if mode == "boxes":  # whole px of the photo: the middle is half of one off, or less
        assert (x + w / 2, y + h / 2) == pytest.approx((size / 2, size / 2), abs=float(scale))
        assert framed.factor == pytest.approx(factor, rel=0.02)


def test_scaled_orthography_moves_with_the_pose():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(68, 3)) * 50
    labels = {name: np.zeros(width) for name, width in WIDTHS.items()}
    labels["pose"] = np.array([0.2, -0.3, 0.1, 1.3, 60.0, 70.0])
    labels["points"] = project_orthographic(points, labels["pose"])
    labels["quality"] = np.array(2.0)
    moved = move_labels(labels, (-12, 30), 0.8, "orthographic")
    assert project_orthographic(points, moved["pose"]) == pytest.approx(moved["points"], abs=1e-4)
    assert moved["points"] == pytest.approx((labels["points"] - [-12, 30]) * 0.8, abs=1e-4)
    assert moved["quality"] == pytest.approx([1.6])
    np.testing.assert_array_equal(moved["camera"], 0)


def test_an_image_that_is_not_square_gets_black_borders_and_keeps_its_proportions():
    image = np.full((60, 100, 3), 200, np.uint8)
    labels = {name: np.zeros(width) for name, width in WIDTHS.items()}
    labels["box"] = np.array([40.0, 10.0, 20.0, 30.0])
    framed = frame_face(jpeg(image), "k", labels, "pinhole", Framing("none", 1.6, 50))
    assert framed.pixels[:9].max() < 20
    assert framed.pixels[12:38].min() > 180
    assert framed.pixels[-9:].max() < 20
    assert framed.padding == pytest.approx(0.4)
    assert framed.labels["box"] == pytest.approx([20, 15, 10, 15])


def test_detect_takes_the_face_that_the_labels_are_of():
    """The sample photo of the package, and the same face a second time, larger, at its left."""
    from expnet_tf.demo import PHOTO

    photo = decode_image(PHOTO.read_bytes())
    both = np.zeros((1024, 1536, 3), np.uint8)
    both[:, :1024] = cv2.resize(photo, (1024, 1024))
    both[:512, 1024:] = photo
    labels = {name: np.zeros(width) for name, width in WIDTHS.items()}
    labels["box"] = np.array([1024 + 170, 60, 100, 130], np.float64)
    framed = frame_face(jpeg(both), "k", labels, "pinhole", Framing("detect", 1.25, 96))
    assert 0 < framed.labels["box"][0] < 96
    assert framed.factor == pytest.approx(1.25, rel=0.02)
    labels["box"] = np.array([1200, 900, 50, 50], np.float64)
    with pytest.raises(ImageError, match=r"k: 2 faces were found, none where the labels have one\."):
        frame_face(jpeg(both), "k", labels, "pinhole", Framing("detect", 1.25, 96))


def test_an_image_without_a_face_is_an_error_of_that_image(row):
    blank = jpeg(np.full((64, 64, 3), 90, np.uint8))
    with pytest.raises(ImageError, match=r"k: no face was found\."):
        frame_face(blank, "k", row[1], "pinhole", Framing("detect", 1.6, 64))
    box = {**row[1], "box": np.array([900.0, 0, 10, 10])}
    with pytest.raises(ImageError, match="lies outside"):
        frame_face(blank, "k", box, "pinhole", Framing("boxes", 1.6, 64))
