"""detect.py: faces of known places are found, boxes follow the house's convention, no face gives no box."""

import csv
import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from expnet_tf import detect
from expnet_tf.detect import MTCNN, BlazeFace, Square, house_box
from expnet_tf.image import ImageError, crop, read_image

ASTRONAUT = detect.MODEL.parent / "astronaut.jpg"
ASTRONAUT_BOX = (180.0, 65.0, 85.0, 107.0)  # MTCNN's


@pytest.fixture(scope="module")
def blazeface() -> BlazeFace:
    return BlazeFace()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return read_image(ASTRONAUT)


def iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    a, b = np.array(one), np.array(other)
    common = np.prod(np.clip(np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(common / (np.prod(a[2:]) + np.prod(b[2:]) - common))


def center(box: tuple[float, ...]) -> np.ndarray:
    return np.array(box[:2]) + np.array(box[2:]) / 2


def paste(canvas: np.ndarray, photo: np.ndarray, scale: float, x: int, y: int) -> tuple[float, ...]:
    """Put the photo into the canvas; return where the astronaut's box lies then."""
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    return tuple(np.array(ASTRONAUT_BOX) * scale + [x, y, 0, 0])


def test_shipped_model_is_the_documented_file() -> None:
    digest = hashlib.sha256(detect.MODEL.read_bytes()).hexdigest()
    assert digest == "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3"


def test_finds_the_face_of_the_sample_photo(blazeface: BlazeFace, astronaut: np.ndarray) -> None:
    [face] = blazeface.detect(astronaut)
    assert all(type(value) is float for value in (*face.box, face.score))
    assert face.score > 0.8
    assert iou(face.box, ASTRONAUT_BOX) > 0.75


def test_mirrored_photo_gives_the_mirrored_box(blazeface: BlazeFace, astronaut: np.ndarray) -> None:
    [face], [mirrored] = blazeface.detect(astronaut), blazeface.detect(astronaut[:, ::-1])
    x, y, w, h = mirrored.box
    assert iou(face.box, (astronaut.shape[1] - x - w, y, w, h)) > 0.85


@pytest.mark.parametrize("degrees", [-30, 30])
def test_a_tilted_head_keeps_its_box(blazeface: BlazeFace, astronaut: np.ndarray, degrees: float) -> None:
    [upright] = blazeface.detect(astronaut)
    middle = center(upright.box)
    turn = cv2.getRotationMatrix2D(tuple(middle), degrees, 1.0)
    face = blazeface.detect(cv2.warpAffine(astronaut, turn, (512, 512)))[0]
    assert np.hypot(*(center(face.box) - middle)) < 0.1 * upright.box[3]
    assert face.box[3] == pytest.approx(upright.box[3] * 0.94, rel=0.12)


def test_a_face_that_fills_the_photo(blazeface: BlazeFace, astronaut: np.ndarray) -> None:
    [face] = blazeface.detect(crop(astronaut, ASTRONAUT_BOX, 112, 1.0))
    assert iou(face.box, (11.5, 0, 89, 112)) > 0.7


def test_all_faces_largest_first(blazeface: BlazeFace, astronaut: np.ndarray) -> None:
    canvas = np.full((600, 1000, 3), 120, np.uint8)
    small = paste(canvas, astronaut, 0.5, 20, 40)
    large = paste(canvas, astronaut, 1.0, 450, 60)
    faces = blazeface.detect(canvas)
    assert len(faces) == 2
    assert iou(faces[0].box, large) > 0.6
    assert iou(faces[1].box, small) > 0.6


@pytest.mark.parametrize(("x", "y"), [(0, 0), (500, 300), (1333, 777), (1744, 1244)])
def test_a_small_face_anywhere_in_a_large_photo_is_found_once(
    blazeface: BlazeFace, astronaut: np.ndarray, x: int, y: int
) -> None:
    canvas = np.full((1500, 2000, 3), 120, np.uint8)
    box = paste(canvas, astronaut, 0.5, x, y)  # 1/37 of the longer side
    [face] = blazeface.detect(canvas)
    assert iou(face.box, box) > 0.6
    # As one window the photo does not show it; if it did, the windows would not be under test.
    coarse = blazeface.detect(cv2.resize(canvas, (470, 352), interpolation=cv2.INTER_AREA))
    assert not [one for one in coarse if iou(one.box, tuple(0.235 * value for value in box)) > 0.3]


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (7, 5), (300, 200), (700, 900)])
def test_no_face_gives_an_empty_list(blazeface: BlazeFace, shape: tuple[int, int]) -> None:
    assert blazeface.detect(np.full((*shape, 3), 90, np.uint8)) == []
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert blazeface.detect(noise) == []


def test_threads_share_a_detector(blazeface: BlazeFace, astronaut: np.ndarray) -> None:
    photos = [astronaut, np.ascontiguousarray(astronaut[:, ::-1]), np.zeros_like(astronaut)] * 4
    expected = [blazeface.detect(photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(blazeface.detect, photos)) == expected


def test_score_threshold(astronaut: np.ndarray) -> None:
    assert BlazeFace(score_threshold=0.99).detect(astronaut) == []


def test_photos_must_be_uint8_rgb(blazeface: BlazeFace) -> None:
    with pytest.raises(ImageError, match="uint8 RGB"):
        blazeface.detect(np.zeros((10, 10, 3), np.float32))


def test_bad_arguments(tmp_path: Path) -> None:
    for threshold in (0, 1, -1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            BlazeFace(score_threshold=threshold)
    with pytest.raises(ValueError, match="at least 1"):
        BlazeFace(num_threads=0)
    with pytest.raises(FileNotFoundError, match=r"none\.tflite does not exist"):
        BlazeFace(tmp_path / "none.tflite")
    (tmp_path / "text.tflite").write_text("not a model")
    with pytest.raises(ValueError, match=r"text\.tflite is not a TFLite model"):
        BlazeFace(tmp_path / "text.tflite")


# ------------------------------------------------------------------------------------------ geometry


def upright_square(turn: float = 0.0) -> Square:
    """A frontal face about (100, 100), tilted by `turn` radians, its square as small as tilting makes it."""
    points = np.array([[0, 0], [-16, -10], [16, -10], [0, 6], [0, 20], [-34, -2], [34, -2]], float)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    side = 80 * (1 - detect.TILT_LOSS * np.sin(2 * turn) ** 2)
    return Square(0.9, float(side), points @ rotation.T + 100)


def test_house_box_of_an_upright_face() -> None:
    w, h = 80 * detect.WIDTH, 80 * detect.HEIGHT
    expected = (100 - w / 2, 100 - 80 * detect.RISE - h / 2, w, h)
    np.testing.assert_allclose(house_box(upright_square()), expected, atol=1e-9)


def test_house_box_lies_around_the_tilted_ellipse() -> None:
    angle = np.radians(30)
    around = np.linspace(0, 2 * np.pi, 3601)
    ellipse = np.stack([detect.WIDTH / 2 * np.cos(around), detect.HEIGHT / 2 * np.sin(around) - detect.RISE]) * 80
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    x, y, w, h = house_box(upright_square(angle))
    outline = rotation @ ellipse + 100
    # The centre rises by less: RISE is taken of the smaller square.
    slack = 80 * detect.RISE * detect.TILT_LOSS
    np.testing.assert_allclose((x, y), outline.min(axis=1), atol=slack)
    np.testing.assert_allclose((w, h), np.ptp(outline, axis=1), atol=1e-3)


def test_house_box_follows_the_ears_of_a_turned_head() -> None:
    face = upright_square()
    face.points[5:7, 0] += 12
    assert house_box(face)[0] - house_box(upright_square())[0] == pytest.approx(12 * detect.EAR_SHIFT)


def test_house_box_of_degenerate_points_is_finite() -> None:
    assert np.isfinite(house_box(Square(0.5, 10.0, np.zeros((7, 2))))).all()


def anchor(score: float, side: float, x: float, y: float) -> np.ndarray:
    return np.array([score, side, *([x, y] * 7)])


def test_suppress_averages_one_face_and_keeps_others() -> None:
    found = np.array(
        [
            anchor(0.6, 40, 104, 100),
            anchor(0.9, 40, 100, 100),
            anchor(0.8, 40, 200, 100),  # a neighbour
            anchor(0.7, 10, 102, 104),  # an eye within the first
            anchor(0.6, 160, 210, 150),  # a person around the neighbour
        ]
    )
    first, second = detect._suppress(found)
    assert (first.score, first.side) == (0.9, pytest.approx(40))
    assert first.points[0] == pytest.approx([(0.6 * 104 + 0.9 * 100) / 1.5, 100])
    assert second.points[0] == pytest.approx([200, 100])
    assert detect._suppress(np.zeros((0, 16))) == []


@pytest.mark.parametrize("length", [192, 193, 346, 347, 480, 960])
def test_windows_cover_and_overlap(length: int) -> None:
    starts = np.array(detect._window_starts(length))
    assert (starts[0], starts[-1]) == (0, length - 192)
    assert (np.diff(starts) <= 192 - detect._OVERLAP).all()


# ------------------------------------------------------------------------------------------ MTCNN


def test_mtcnn_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mtcnn", None)
    with pytest.raises(ImportError, match=r"needs the package mtcnn .* must not be used commercially"):
        MTCNN()


@pytest.mark.slow
def test_mtcnn_finds_the_face(astronaut: np.ndarray) -> None:
    pytest.importorskip("mtcnn")
    [face] = MTCNN().detect(astronaut)
    assert iou(face.box, ASTRONAUT_BOX) > 0.9


# ------------------------------------------------------------------------------------------ real photos


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "step"), [("london", 3), ("lfw_dev", 8)])
def test_boxes_of_real_photos(shared: Path, blazeface: BlazeFace, folder: str, step: int) -> None:
    root = shared / "data" / folder
    with (root / "boxes.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))[::step]
    overlaps, offsets, ratios = [], [], []
    for line in lines:
        box = tuple(float(line[f"box_{key}"]) for key in "xywh")
        faces = blazeface.detect(read_image(root / line["path"]))
        best = max(faces, key=lambda face, box=box: iou(face.box, box), default=None)
        if best is None:
            continue
        overlaps.append(iou(best.box, box))
        offsets.append(np.hypot(*(center(best.box) - center(box))) / max(box[2:]))
        ratios.append(max(best.box[2:]) / max(box[2:]))
    assert np.sum(np.array(overlaps) > 0.5) >= 0.97 * len(lines)
    assert np.median(overlaps) > 0.85
    assert np.median(offsets) < 0.04
    assert abs(np.median(ratios) - 1) < 0.05
