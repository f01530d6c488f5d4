"""The network's contract, its file, and that the backends agree."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from expnet_tf import network
from expnet_tf.network import (
    DEFAULT_HEADS,
    HEADS,
    POSE_MEAN,
    ExpNet,
    ModelError,
    ModelInfo,
    load_model,
    read_info,
    save_model,
    set_mean_image,
)

SIZE = 32
INFO = ModelInfo("toy", "0.1", "compact", SIZE, 1.5, ("expression", "identity", "pose"), "none", "Apache-2.0")


def toy(**options) -> keras.Model:
    keras.utils.set_random_seed(0)
    return ExpNet("compact", size=SIZE, **options)


def answer(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    return {name: keras.ops.convert_to_numpy(value) for name, value in model(images, training=False).items()}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    mean = np.random.default_rng(1).uniform(90, 140, (SIZE, SIZE, 3))
    return toy(mean_image=mean)


@pytest.fixture(scope="module")
def content(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("toy") / "toy.keras"
    save_model(model, path, INFO)
    return path.read_bytes()


@pytest.fixture
def path(content: bytes, tmp_path: Path) -> Path:
    """A saved toy network of the test's own."""
    (tmp_path / "toy.keras").write_bytes(content)
    return tmp_path / "toy.keras"


def test_contract(model: keras.Model, images: np.ndarray) -> None:
    assert model.inputs[0].name == "image"
    assert model.inputs[0].dtype == "uint8"
    outputs = answer(model, images)
    assert {name: value.shape for name, value in outputs.items()} == {h: (4, HEADS[h]) for h in DEFAULT_HEADS}
    assert all(value.dtype == np.float32 for value in outputs.values())


def test_heads_are_chosen() -> None:
    assert list(toy(heads=("pose",)).output) == ["pose"]
    assert set(toy(heads=("identity", "expression")).output) == {"expression", "identity"}
    assert {head: out.shape for head, out in toy(heads=("texture", "identity")).output.items()} == {
        "identity": (None, 99),
        "texture": (None, 99),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "vgg"}, "'vgg'; accepted: compact, base, resnet50"),
        ({"heads": ("gaze",)}, "gaze.*expression, identity, pose"),
        ({"heads": ()}, "selection"),
        ({"heads": ("pose", "pose")}, "each once"),
        ({"size": 16}, "16 is too small"),
        ({"size": SIZE, "mean_image": np.zeros((96, 96, 3))}, r"\(96, 96, 3\).*\(32, 32, 3\)"),
        ({"size": SIZE, "mean_image": np.full((SIZE, SIZE, 3), 300.0)}, "0..255"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExpNet(**options)


def test_mean_image_is_subtracted(images: np.ndarray) -> None:
    dark = images // 2
    first, second = toy(mean_image=np.full((SIZE, SIZE, 3), 100.0)), toy()
    set_mean_image(second, np.full((SIZE, SIZE, 3), 120.0))
    assert network.mean_image(second).mean() == 120.0
    expected, got = answer(first, dark), answer(second, dark + 20)
    np.testing.assert_allclose(got["expression"], expected["expression"], atol=1e-5)
    assert np.abs(answer(second, dark)["expression"] - expected["expression"]).max() > 1e-2


def test_pose_is_standardised(images: np.ndarray) -> None:
    model = toy(heads=("pose",))
    dense = model.get_layer("pose_standardised")
    dense.set_weights([np.zeros_like(weight) for weight in dense.get_weights()])
    np.testing.assert_allclose(answer(model, images)["pose"], np.tile(POSE_MEAN, (4, 1)), atol=1e-4)


@pytest.mark.parametrize("load", [load_model, keras.models.load_model])
def test_file_gives_the_same_answer(model: keras.Model, path: Path, images: np.ndarray, load) -> None:
    expected, got = answer(model, images), answer(load(path), images)
    for head in DEFAULT_HEADS:
        np.testing.assert_array_equal(got[head], expected[head])


def test_file_needs_no_custom_objects(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    modules = {layer["module"] for layer in config["config"]["layers"]}
    # Keras' own all: the two operations are the pose head's units and the cast of the pixels.
    assert modules == {"keras.layers", "keras.src.ops.numpy", "keras.src.ops.core"}


def test_info_travels_in_the_file(path: Path) -> None:
    assert read_info(path) == INFO
    assert read_info(path).id == "toy-0.1"


def test_pixels_of_another_kind_travel_in_the_file_too(model: keras.Model, path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert "pixels" not in json.loads(archive.read("expnet.json"))  # older versions read the file as well
    save_model(model, path, replace(INFO, pixels="release2018"))
    assert read_info(path).pixels == "release2018"
    save_model(model, path, replace(INFO, pixels="polar"))
    with pytest.raises(ModelError, match=r"toy\.keras: it takes the pixels 'polar'; this version knows expnet"):
        read_info(path)


def test_float16_file(model: keras.Model, path: Path, images: np.ndarray) -> None:
    half = path.with_name("half.keras")
    save_model(model, half, INFO, float16=True)
    assert half.stat().st_size < 0.4 * path.stat().st_size
    loaded = load_model(half)
    for a, b in zip(model.weights, loaded.weights, strict=True):
        assert b.dtype == a.dtype
        values = keras.ops.convert_to_numpy(a)
        stored = keras.ops.convert_to_numpy(b)
        if a.dtype != "float32":
            np.testing.assert_array_equal(stored, values)
            continue
        values = values.astype(np.float16).astype(np.float32)
        if values.ndim in (2, 4):  # not the mean image: bfloat16 knows every half grey level only
            values = keras.ops.convert_to_numpy(keras.ops.cast(keras.ops.cast(values, "bfloat16"), "float32"))
        normal = np.abs(values) >= np.finfo(np.float16).smallest_normal  # below it float16 has fewer bits than bfloat16
        np.testing.assert_array_equal(stored[normal], values[normal])
        np.testing.assert_allclose(stored[~normal], values[~normal], atol=2.0**-22)
    exact = answer(model, images)["expression"]
    assert np.linalg.norm(answer(loaded, images)["expression"] - exact) < 2.0**-7 * np.linalg.norm(exact)


def test_training_leaves_no_trace_in_the_file(images: np.ndarray, path: Path) -> None:
    """A subclass in mixed precision, compiled, with an auxiliary head: the file holds none of that."""

    class Trained(keras.Model):
        pass

    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        base = toy()
        points = keras.layers.Dense(136, name="points")(base.get_layer("features").output)
        trained = Trained(base.input, {**base.output, "points": points})
    finally:
        keras.mixed_precision.set_global_policy(before)
    assert {value.dtype.name for value in base(images).values()} == {"float32"}
    trained.compile("adam", loss=dict.fromkeys(trained.output, "mse"))
    trained.optimizer.build(trained.trainable_variables)
    save_model(trained, path, INFO)
    loaded = load_model(path)
    assert type(loaded).__name__ == "Functional"
    assert "points" not in [layer.name for layer in loaded.layers]
    assert {layer.compute_dtype for layer in loaded.layers[1:] if isinstance(layer, keras.Layer)} == {"float32"}
    assert path.stat().st_size < 5.0e6  # an optimizer would triple it
    reference = toy()
    reference.load_weights(path)
    np.testing.assert_array_equal(answer(loaded, images)["identity"], answer(reference, images)["identity"])


def test_kernels_next_to_the_largest_float16_stay_finite() -> None:
    largest = np.finfo(np.float16).max
    values = np.array([[largest, -largest, 65408, 1.0, 1 + 2**-8, 1 + 3 * 2**-8, 0.0]], np.float16)
    expected = np.array([[largest, -largest, 65408, 1.0, 1.0, 1 + 2**-6, 0.0]], np.float16)
    np.testing.assert_array_equal(network._eight_bits(values), expected)


@pytest.mark.parametrize(
    ("change", "message"), [({"size": 96}, "size 96.*32"), ({"heads": ("gaze",)}, "no output gaze")]
)
def test_info_must_describe_the_model(model: keras.Model, path: Path, change: dict, message: str) -> None:
    content = path.read_bytes()
    with pytest.raises(ModelError, match=message):
        save_model(model, path, replace(INFO, **change))
    assert path.read_bytes() == content


@pytest.mark.parametrize("weight", [1e6, float("nan")])
def test_failed_save_leaves_the_old_file(path: Path, weight: float) -> None:
    content = path.read_bytes()
    large = toy()
    kernel = large.get_layer("expression").kernel
    kernel.assign(keras.ops.full_like(kernel, weight))
    with pytest.raises(ModelError, match="65504"):
        save_model(large, path, INFO, float16=True)
    assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == ["toy.keras"]


def test_only_keras_files_are_written(model: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"\.h5"):
        save_model(model, tmp_path / "toy.h5", INFO)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.keras: no such model file"):
        load_model(tmp_path / "none.keras")


def test_other_suffix(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"not a \.keras file"):
        load_model(tmp_path / "model.h5")


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_truncated_file(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    with pytest.raises(ModelError, match=r"toy\.keras: not a .keras archive, or a truncated one"):
        load_model(path)


def test_flipped_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ModelError, match=r"toy\.keras.*(damaged|truncated)"):
        load_model(path)


def test_archive_without_weights(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ModelError, match=r"no model\.weights\.h5"):
        load_model(path)


@pytest.mark.parametrize(
    ("shape", "dtype", "width", "message"),
    [((SIZE, SIZE, 3), "float32", 29, "image float32"), ((SIZE, SIZE, 3), "uint8", 30, "Outputs are")],
)
def test_other_models_are_refused(tmp_path: Path, shape: tuple, dtype: str, width: int, message: str) -> None:
    image = keras.Input(shape, dtype=dtype, name="image")
    dense = keras.layers.Dense(width)(keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1.0)(image)))
    keras.Model(image, {"expression": dense}).save(tmp_path / "other.keras")
    with pytest.raises(ModelError, match=f"not an ExpNet model. .*{message}"):
        load_model(tmp_path / "other.keras")


def test_code_in_a_file_is_refused(tmp_path: Path) -> None:
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="image")
    keras.Model(image, keras.layers.Lambda(lambda x: x + 1)(image)).save(tmp_path / "code.keras")
    with pytest.raises(ModelError, match="safe mode"):
        load_model(tmp_path / "code.keras")


def test_file_of_vanilla_keras_has_no_info(model: keras.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "plain.keras")
    load_model(tmp_path / "plain.keras")
    with pytest.raises(ModelError, match=r"no expnet\.json"):
        read_info(tmp_path / "plain.keras")


@pytest.mark.parametrize("record", ['{"schema": 99}', "{", "[]", '{"schema": 1, "heads": [], "colour": 1}'])
def test_unreadable_info(model: keras.Model, tmp_path: Path, record: str) -> None:
    model.save(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "plain.keras", "a") as archive:
        archive.writestr("expnet.json", record)
    with pytest.raises(ModelError, match=r"plain\.keras: expnet\.json"):
        read_info(tmp_path / "plain.keras")


FORWARD = """
import sys
if sys.argv[1] != "tensorflow":
    sys.modules["tensorflow"] = None  # whoever imports it fails
import keras, numpy as np
from expnet_tf.network import load_model
assert keras.backend.backend() == sys.argv[1]
outputs = load_model(sys.argv[2])(np.load(sys.argv[3]), training=False)
np.savez(sys.argv[4], **{name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()})
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backends_agree(model: keras.Model, path: Path, images: np.ndarray, backend: str) -> None:
    """Each in its own process, and without TensorFlow where it is not the backend."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed (pip install {backend})")
    inputs, outputs = path.with_name("images.npy"), path.with_name("outputs.npz")
    np.save(inputs, images)
    command = [sys.executable, "-c", FORWARD, backend, *map(str, (path, inputs, outputs))]
    done = subprocess.run(
        command, env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    expected = answer(model, images)
    with np.load(outputs) as got:
        np.testing.assert_allclose(got["expression"], expected["expression"], atol=1e-4)
        np.testing.assert_allclose(got["identity"], expected["identity"], atol=1e-4)
        np.testing.assert_allclose(got["pose"], expected["pose"], atol=1e-2, rtol=1e-5)
