"""load, Predictor and Face: what they answer must be the network's answer to the crop that image.py defines."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

import expnet_tf
from expnet_tf import camera
from expnet_tf.detect import Detection
from expnet_tf.image import ImageError, crop, crop_square, read_image
from expnet_tf.models import ASSETS, DEFAULT
from expnet_tf.morphable import open_face
from expnet_tf.network import POSE_MEAN, ExpNet, ModelError, ModelInfo, load_model, save_model
from expnet_tf.predictor import BATCH_SIZES, Face, Predictor, load

BOX = (183.0, 55.0, 88.0, 119.0)  # of the astronaut
INFO = ModelInfo("toy", "1.0", "compact", 32, 1.25, ("expression", "identity", "pose"), "random", "Apache-2.0")


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read_image(ASSETS / "astronaut.jpg")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy network; its pose head sees nothing and gives the mean pose, which faces the camera."""
    keras.utils.set_random_seed(5)
    model = ExpNet("compact", size=32)
    for weight in model.get_layer("pose_standardised").weights:
        weight.assign(keras.ops.zeros_like(weight))
    path = tmp_path_factory.mktemp("toy") / "toy.keras"
    save_model(model, path, INFO)
    return path


@pytest.fixture(scope="module")
def predictor(weights: Path) -> Predictor:
    return load(weights)


class Finds:
    """A detector that finds what it is told."""

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.found = [Detection(box, 0.9 - 0.1 * number) for number, box in enumerate(boxes)]

    def detect(self, image: np.ndarray) -> list[Detection]:
        return self.found


def test_given_box_is_the_model_on_the_crop(predictor: Predictor, weights: Path, photo: np.ndarray) -> None:
    (face,) = predictor.predict(photo, BOX)
    by_hand = load_model(weights)(crop(photo, BOX, 32, 1.25)[None], training=False)
    for head in INFO.heads:
        expected = keras.ops.convert_to_numpy(by_hand[head])[0]
        np.testing.assert_allclose(getattr(face, head), expected, atol=2e-5, err_msg=head)
    assert (face.box, face.score, face.square) == (BOX, None, crop_square(BOX, 1.25))
    assert face.expression.dtype == np.float32


def test_face_finds_the_astronaut(predictor: Predictor, photo: np.ndarray) -> None:
    faces = predictor.predict(photo)
    assert len(faces) == 1
    np.testing.assert_allclose(faces[0].box, BOX, atol=8)
    assert faces[0].score is not None
    assert 0.5 < faces[0].score <= 1


def test_no_face_is_an_empty_list(predictor: Predictor) -> None:
    assert predictor.predict(np.full((200, 300, 3), 128, np.uint8)) == []


def test_faces_keep_the_order_of_the_detector(weights: Path, photo: np.ndarray) -> None:
    boxes = (BOX, (10.0, 20.0, 60.0, 80.0), (300.0, 300.0, 40.0, 50.0))
    predictor = load(weights, detector=Finds(*boxes))
    faces = predictor.predict(photo)
    assert [face.box for face in faces] == list(boxes)
    assert [face.score for face in faces] == [0.9, 0.8, pytest.approx(0.7)]
    alone = [predictor.predict(photo, box)[0] for box in boxes]
    for face, one in zip(faces, alone, strict=True):
        np.testing.assert_allclose(face.expression, one.expression, atol=2e-5)
    assert np.abs(faces[0].expression - faces[1].expression).max() > 1e-3


def test_batch_equals_one_by_one(weights: Path, photo: np.ndarray) -> None:
    # More faces than the largest batch, in photos of different sizes, one of them without a face.
    boxes = [(5.0 * i, 4.0 * i, 60.0 + i, 70.0) for i in range(BATCH_SIZES[-1] + 3)]
    predictor = load(weights, detector=Finds())
    images = [photo[: 300 + i, : 320 + i] for i in range(len(boxes))]
    faces = predictor.predict_batch([*images, photo], [*boxes, None])
    assert [len(some) for some in faces] == [1] * len(boxes) + [0]
    for index in (0, 7, 33, 34):
        (alone,) = predictor.predict(images[index], boxes[index])
        assert faces[index][0].box == boxes[index]
        np.testing.assert_allclose(faces[index][0].expression, alone.expression, atol=2e-5)


def test_batch_of_nothing(predictor: Predictor) -> None:
    assert predictor.predict_batch([]) == []


def test_face_decodes(predictor: Predictor, photo: np.ndarray) -> None:
    (face,) = predictor.predict(photo, BOX)
    model = open_face()
    np.testing.assert_array_equal(face.vertices(), model.decode(face.identity, face.expression))
    np.testing.assert_array_equal(face.triangles, model.triangles)
    assert list(face.blendshapes) == list(map(str, model.blendshape_names))
    np.testing.assert_allclose(list(face.blendshapes.values()), model.blendshapes(face.expression))
    assert "Face(box=(183.0, 55.0, 88.0, 119.0), score=given" in repr(face)


def test_projection_by_hand(predictor: Predictor, photo: np.ndarray) -> None:
    (face,) = predictor.predict(photo, BOX)
    x0, y0, side = face.square
    assert face.focal == camera.NOMINAL_FOCAL * side
    assert face.pose is not None
    np.testing.assert_allclose(face.pose, POSE_MEAN)  # facing the camera, on its axis
    # The origin of the head, then a point 10 mm to the right of and 20 mm above it.
    distance = -POSE_MEAN[5]
    expected = [
        [x0 + side / 2, y0 + side / 2],
        [x0 + side / 2 + face.focal * 10 / distance, y0 + side / 2 - face.focal * 20 / distance],
    ]
    np.testing.assert_allclose(face.project(np.array([[0.0, 0.0, 0.0], [10.0, 20.0, 0.0]])), expected)
    points = face.project()[open_face().landmark_ids]
    assert points.min() > 0
    assert (points.max(axis=0) < photo.shape[1::-1]).all()


@pytest.fixture
def expression_only(tmp_path: Path) -> Path:
    path = tmp_path / "only.keras"
    info = dataclasses.replace(INFO, heads=("expression",))
    save_model(ExpNet("compact", heads=("expression",), size=32), path, info)
    return path


def test_model_with_one_head(expression_only: Path, photo: np.ndarray) -> None:
    (face,) = load(expression_only).predict(photo, BOX)
    assert face.identity is None
    assert face.pose is None
    np.testing.assert_array_equal(face.vertices(), open_face().decode(None, face.expression))
    with pytest.raises(ModelError, match="no pose head"):
        face.project()


def test_model_without_expression_is_refused(tmp_path: Path) -> None:
    info = dataclasses.replace(INFO, heads=("pose",))
    save_model(ExpNet("compact", heads=("pose",), size=32), tmp_path / "pose.keras", info)
    with pytest.raises(ModelError, match=r"toy-1\.0 has the heads pose; an expression head"):
        load(tmp_path / "pose.keras")


def test_broken_weights_are_no_face(weights: Path, photo: np.ndarray) -> None:
    predictor = load(weights)
    kernel = predictor.model.get_layer("expression").kernel
    kernel.assign(kernel * np.nan)
    with pytest.raises(ModelError, match=r"expression that toy-1\.0 gives is not finite"):
        predictor.predict(photo, BOX)


@pytest.mark.parametrize(
    ("image", "box", "message"),
    [
        (np.zeros((8, 8), np.uint8), None, r"image is uint8 \[8, 8\]; uint8 RGB \[H, W, 3\] is expected"),
        (np.zeros((8, 8, 3)), None, "image is float64"),
        ([[1]], None, "image is a list"),
        (np.zeros((8, 8, 3), np.uint8), (1, 2, 3), "four finite numbers"),
        (np.zeros((8, 8, 3), np.uint8), (1, 2, 0, 4), "both must be positive"),
        (np.zeros((8, 8, 3), np.uint8), (1, 2, np.nan, 4), "four finite numbers"),
        (np.zeros((8, 8, 3), np.uint8), (90, 90, 4, 4), "outside the 8x8 px photo"),
    ],
)
def test_bad_input(predictor: Predictor, image: np.ndarray, box: tuple | None, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        predictor.predict(image, box)


def test_bad_image_of_a_batch_is_named(predictor: Predictor, photo: np.ndarray) -> None:
    with pytest.raises(ImageError, match="image 1 is float64"):
        predictor.predict_batch([photo, photo / 255])
    with pytest.raises(ImageError, match="1 boxes came with 2 images"):
        predictor.predict_batch([photo, photo], [BOX])


def test_load_shipped(photo: np.ndarray) -> None:
    predictor = expnet_tf.load()
    assert predictor.info.name == DEFAULT
    (face,) = predictor.predict(photo)
    assert isinstance(face, Face)
    assert face.expression.shape == (29,)
    assert face.identity is not None
    assert face.identity.shape == (99,)
    # The mesh lies on the face: its nose and chin, in px, within the box.
    x, y, w, h = face.box
    nose, chin = face.project()[open_face().landmark_ids[[30, 8]]]
    assert x + 0.2 * w < nose[0] < x + 0.8 * w
    assert y + 0.3 * h < nose[1] < y + 0.85 * h
    assert nose[1] < chin[1] < y + 1.3 * h
