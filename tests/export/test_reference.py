"""The float64 reference and the file it is kept in."""

from pathlib import Path

import keras
import numpy as np
import pytest

from expnet_tf.export import ExportError, reference


def test_every_weight_is_float64(model: keras.Model) -> None:
    double = reference.to_float64(model)
    assert {w.dtype for w in double.weights} == {"float64"}
    policies = {layer.compute_dtype for layer in double.layers[1:] if isinstance(layer, keras.Layer)}
    assert policies == {"float64"}


def test_float64_answer_is_the_models(model: keras.Model, images: np.ndarray) -> None:
    """Equal to float32 rounding, and not to the last bit, which would mean that float32 was computed."""
    double, single = reference.predict_float64(model, images, batch=4), model(images)
    for head, value in double.items():
        assert value.dtype == np.float64
        scale = np.abs(value).max()
        difference = np.abs(value - keras.ops.convert_to_numpy(single[head])).max() / scale
        assert 0 < difference < 1e-5
        assert np.abs(value - value.astype(np.float32)).max() > 0


def test_inputs_round_trip(model: keras.Model, images: np.ndarray, tmp_path: Path) -> None:
    reference.write_inputs(tmp_path / "inputs.npz", model, images)
    got, heads = reference.read_inputs(tmp_path / "inputs.npz")
    np.testing.assert_array_equal(got, images)
    assert {head: value.shape for head, value in heads.items()} == {
        "expression": (6, 29),
        "identity": (6, 99),
        "pose": (6, 6),
    }


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"expression": np.zeros((2, 29))}, "image is"),
        ({"image": np.zeros((2, 8, 8, 3), np.float32)}, "not uint8"),
        ({"image": np.zeros((2, 8, 8, 3), np.uint8), "expression": np.zeros((3, 29))}, r"\[2, 29\]"),
        ({"image": np.zeros((2, 8, 8, 3), np.uint8), "pose": np.full((2, 6), np.nan)}, "not finite"),
        ({"image": np.zeros((2, 8, 8, 3), np.uint8), "gaze": np.zeros((2, 8))}, "gaze"),
    ],
)
def test_malformed_inputs(tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez(tmp_path / "inputs.npz", **arrays)
    with pytest.raises(ExportError, match=message):
        reference.read_inputs(tmp_path / "inputs.npz")


def test_pickles_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", image=np.array([object()]))
    with pytest.raises(ExportError, match=r"inputs\.npz: cannot be read"):
        reference.read_inputs(tmp_path / "inputs.npz")


def test_face_images() -> None:
    faces, coverage = reference.face_images(48, 1.5, count=9)
    assert (faces.shape, faces.dtype) == ((9, 48, 48, 3), np.uint8)
    np.testing.assert_array_equal(faces, reference.face_images(48, 1.5, count=9)[0])
    assert len({face.tobytes() for face in faces}) == 9
    assert coverage["faces"] == "9, rendered, of 5 people"
    assert coverage["scale"].startswith("2 shrunk to 0.5, 0.33, 0.2")


def test_small_faces_are_small() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    assert reference._shrunk(noise, 1.0) is noise
    assert reference._shrunk(noise, 0.2).std() < 0.4 * noise.std()


def test_large_networks_answer_in_float32(
    model: keras.Model, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reference.write_inputs(tmp_path / "inputs.npz", model, images) == "float64"
    monkeypatch.setattr(reference, "FLOAT64_PARAMETERS", 1000)
    assert reference.write_inputs(tmp_path / "inputs.npz", model, images) == "float32"
    answer = reference.read_inputs(tmp_path / "inputs.npz")[1]["expression"]
    np.testing.assert_array_equal(answer, answer.astype(np.float32))
