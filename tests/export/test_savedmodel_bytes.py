"""The SavedModel that is sent photos: the answer for image.py's own crop, and a flag where that raises."""

import io
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver
from PIL import Image
from tensorflow.python.tools import saved_model_cli
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from expnet_tf import image as photos
from expnet_tf.export import savedmodel_bytes, warmup
from expnet_tf.export.savedmodel_bytes_runner import SavedModelBytesRunner
from expnet_tf.network import ModelInfo, read_info

PHOTO = Path(photos.__file__).parent / "assets" / "astronaut.jpg"
BOX = (190, 60, 110, 150)


@pytest.fixture(scope="module")
def info(model_file: Path) -> ModelInfo:
    return read_info(model_file)


@pytest.fixture(scope="module")
def folder(model: keras.Model, info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bytes") / "savedmodel-bytes"
    savedmodel_bytes.write(model, info, path)
    return path


@pytest.fixture(scope="module")
def runner(folder: Path) -> SavedModelBytesRunner:
    return SavedModelBytesRunner(folder)


def encode(picture: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """The photo as clients send it."""
    picture = Image.open(PHOTO)
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "as it is": PHOTO.read_bytes(),
        "progressive": encode(picture, "JPEG", progressive=True),
        "4:4:4": encode(picture, "JPEG", subsampling=0),
        "grey": encode(picture.convert("L"), "JPEG"),
        "on its side": encode(picture.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=turned),
        "PNG": encode(picture, "PNG"),
        "RGBA": encode(picture.convert("RGBA"), "PNG"),
    }


def test_contract(folder: Path) -> None:
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    inputs = {
        name: (spec.dtype.name, spec.shape.as_list()) for name, spec in signature.structured_input_signature[1].items()
    }
    assert inputs == {"image_bytes": ("string", [None]), "box": ("float32", [None, 4])}
    outputs = {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in signature.structured_outputs.items()}
    assert outputs == {
        "expression": ("float32", [None, 29]),
        "identity": ("float32", [None, 99]),
        "pose": ("float32", [None, 6]),
        "valid": ("bool", [None]),
    }


def test_names_of_tensors(runner: SavedModelBytesRunner) -> None:
    assert runner._inputs == {name: f"{name}:0" for name in ("image_bytes", "box")}
    assert runner._outputs == {name: f"{name}:0" for name in ("expression", "identity", "pose", "valid")}


def test_weights_are_stored_once(folder: Path, model: keras.Model) -> None:
    stored = tf.train.list_variables(str(folder / "variables" / "variables"))
    weights = [tuple(shape) for name, shape in stored if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    assert sorted(weights) == sorted([*(tuple(w.shape) for w in model.weights), ()])  # and the crop factor


def test_the_answer_is_that_for_the_crop(
    runner: SavedModelBytesRunner, model: keras.Model, info: ModelInfo, files: dict[str, bytes]
) -> None:
    outputs = runner.run_photos(list(files.values()), [BOX] * len(files))
    assert outputs.pop("valid").all()
    assert set(outputs) == {"expression", "identity", "pose"}
    crops = np.stack(
        [photos.crop(photos.decode_image(data), BOX, info.size, info.crop_factor) for data in files.values()]
    )
    for head, expected in model(crops, training=False).items():
        np.testing.assert_allclose(outputs[head], expected, atol=1e-4, rtol=1e-5, err_msg=head)


def test_crops_as_photos(
    runner: SavedModelBytesRunner, model: keras.Model, info: ModelInfo, images: np.ndarray
) -> None:
    assert runner.crop_factor == info.crop_factor
    for part in (images, images[:1]):
        outputs = runner.run(part)
        for head, expected in model(part, training=False).items():
            np.testing.assert_allclose(outputs[head], expected, atol=1e-4, rtol=1e-5, err_msg=head)


def test_the_other_loader(folder: Path, runner: SavedModelBytesRunner, files: dict[str, bytes]) -> None:
    loaded = tf.saved_model.load(str(folder))
    assert loaded.crop_factor.numpy() == runner.crop_factor
    photos_in = [files["on its side"], b"hello"]
    outputs = loaded.signatures["serving_default"](
        image_bytes=tf.constant(photos_in), box=tf.constant([BOX] * 2, tf.float32)
    )
    for name, value in runner.run_photos(photos_in, [BOX] * 2).items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-5, rtol=1e-5, err_msg=name)


def test_command_line_tool(
    folder: Path, runner: SavedModelBytesRunner, files: dict[str, bytes], tmp_path: Path
) -> None:
    np.save(tmp_path / "photo.npy", np.array([files["as it is"]]))
    np.save(tmp_path / "box.npy", np.array([BOX], np.float32))
    options = {"dir": str(folder), "tag_set": "serve", "signature_def": "serving_default", "outdir": str(tmp_path)}
    inputs = f"image_bytes={tmp_path / 'photo.npy'};box={tmp_path / 'box.npy'}"
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(**options, inputs=inputs):
        saved_model_cli.run()
    for name, value in runner.run_photos([files["as it is"]], [BOX]).items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), value, atol=1e-5, rtol=1e-5, err_msg=name)


def test_bad_photos_and_boxes_spoil_nothing_else(runner: SavedModelBytesRunner, files: dict[str, bytes]) -> None:
    jpeg, png = files["as it is"], files["PNG"]
    bad = [b"", b"hello", b"\xff\xd8\xff", jpeg[:5000], jpeg[:-2000], png[:5000], png[:100] + b"x" + png[101:]]
    boxes = [(1, 2, 3, float("nan")), (1, 2, 0, 4), (600, 0, 10, 10), (-1e9, -1e9, 2e9, 2e9)]
    outputs = runner.run_photos([jpeg, *bad, *[jpeg] * len(boxes), jpeg], [BOX] * (len(bad) + 1) + boxes + [BOX])
    valid = outputs.pop("valid")
    assert valid.tolist() == [True] + [False] * (len(bad) + len(boxes)) + [True]
    alone = runner.run_photos([jpeg], [BOX])
    for head, values in outputs.items():
        assert not values[~valid].any(), head
        np.testing.assert_allclose(values[valid], np.repeat(alone[head], 2, axis=0), atol=1e-5, rtol=1e-5)


def test_a_box_a_photo(runner: SavedModelBytesRunner, files: dict[str, bytes]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="one box a photo"):
        runner.run_photos([files["as it is"]] * 2, [BOX])


def test_an_invalid_crop_is_no_answer(
    runner: SavedModelBytesRunner, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "crop_factor", -1.0)
    with pytest.raises(ValueError, match="not valid"):
        runner.run(images[:1])


def test_warm_up_requests_replay(folder: Path, runner: SavedModelBytesRunner) -> None:
    formats = []
    for record in tf.data.TFRecordDataset(str(folder / warmup.FILE)).as_numpy_iterator():
        request = PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.signature_name == "serving_default"
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        (data,) = inputs["image_bytes"].tolist()
        formats.append(data[:4])
        assert runner.run_photos([data], inputs["box"].tolist())["valid"].tolist() == [True]
    assert formats == [b"\xff\xd8\xff\xe0", b"\x89PNG"]
