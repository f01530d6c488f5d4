"""export_model: what it writes, what it keeps, and how it fails."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from expnet_tf.export import EXPORTERS, ExportError, choose, manifest
from expnet_tf.export.bundle import ExportResult, export_model
from expnet_tf.network import ExpNet, ModelError, ModelInfo, load_model, read_info, save_model


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_everything_is_there(exported: ExportResult, model_file: Path) -> None:
    files = {exporter.file for exporter in choose("all")}
    assert exported.passed
    assert listing(exported.directory) - {"parity.json"} == files | {
        "manifest.json",
        "parity_inputs.npz",
        "reference.keras",
    }
    assert (exported.directory / "reference.keras").read_bytes() == model_file.read_bytes()


def test_a_model_without_a_file(model: keras.Model, model_file: Path, images: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="ModelInfo"):
        export_model(model, tmp_path, "onnx", images=images)
    result = export_model(model, tmp_path, ["onnx"], info=read_info(model_file), images=images)
    assert list(result.written) == ["onnx"]
    assert read_info(tmp_path / "reference.keras").name == "toy"


def test_any_name_will_do(images: np.ndarray, tmp_path: Path) -> None:
    """TensorFlow takes nothing but Python identifiers for its modules' names."""
    info = ModelInfo("my-own 2", "0.1", "compact", 32, 1.5, ("pose",), "none", "Apache-2.0")
    model = ExpNet(heads=("pose",), size=32)
    result = export_model(model, tmp_path, "savedmodel,savedmodel-bytes,tflite", info=info, images=images)
    assert result.failures == {}


def test_our_own_errors_are_sentences(
    model_file: Path, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXPORTERS, "onnx", EXPORTERS["onnx"]._replace(needs="no_such_package", extra="strange"))
    result = export_model(model_file, tmp_path, "onnx", images=images)
    assert result.failures["onnx"].startswith("onnx: onnx needs the module no_such_package: pip install")


def test_one_failure_does_not_stop_the_others(
    model_file: Path, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXPORTERS, "savedmodel", EXPORTERS["savedmodel"]._replace(writer="no_such_module:write"))
    said: list[str] = []
    result = export_model(model_file, tmp_path, "savedmodel,onnx", images=images, progress=said.append)
    assert not result.passed
    assert result.failures == {
        "savedmodel": "savedmodel: ModuleNotFoundError: No module named 'expnet_tf.export.no_such_module'"
    }
    assert list(result.written) == ["onnx"]
    assert list(manifest.read(tmp_path)["artifacts"]) == ["onnx"]
    assert listing(tmp_path) == {"manifest.json", "model.onnx", "parity_inputs.npz", "reference.keras"}
    assert any("model.onnx" in line for line in said)


def test_second_export_of_the_same_weights_adds(bundle: Path, model_file: Path, images: np.ndarray) -> None:
    (bundle / "parity.json").write_text("{}")
    before = manifest.read(bundle)["artifacts"]
    (bundle / "model.tflite").write_bytes(b"changed since")
    export_model(model_file, bundle, "onnx", images=images)
    after = manifest.read(bundle)["artifacts"]
    assert list(after) == list(before)
    assert after["tflite"] == before["tflite"]  # not hashed anew: the change must still show
    assert not (bundle / "parity.json").exists()


def test_export_of_other_weights_replaces(bundle: Path, model_file: Path, images: np.ndarray) -> None:
    (bundle / "notes.txt").write_text("mine")
    other = load_model(model_file)
    bias = other.get_layer("expression").bias
    bias.assign(bias + 0.1)
    path = bundle.parent / "other.keras"
    save_model(other, path, read_info(model_file))
    export_model(path, bundle, "onnx", images=images)
    assert listing(bundle) == {
        "manifest.json",
        "model.onnx",
        "notes.txt",
        "parity_inputs.npz",
        "reference.keras",
    }
    assert list(manifest.read(bundle)["artifacts"]) == ["onnx"]


def test_unusable_requests(model_file: Path, images: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Unknown format"):
        export_model(model_file, tmp_path / "out", "coreml")
    with pytest.raises(FileNotFoundError, match="no such model file"):
        export_model(tmp_path / "none.keras", tmp_path / "out", "onnx")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="is a file"):
        export_model(model_file, tmp_path / "file", "onnx")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    with pytest.raises(ModelError):
        export_model(tmp_path / "other.keras", tmp_path / "out", "onnx")
    assert listing(tmp_path) == {"file", "other.keras"}


def test_other_backends_are_refused(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ExportError, match="KERAS_BACKEND=tensorflow; this process runs jax"):
        export_model(model_file, tmp_path / "out", "onnx")


def test_one_head_is_enough(images: np.ndarray, tmp_path: Path) -> None:
    from expnet_tf.export.parity import verify
    info = ModelInfo("pose", "1", "compact", 32, 1.5, ("pose",), "none", "Apache-2.0")
    export_model(ExpNet(heads=("pose",), size=32), tmp_path, "onnx", info=info, images=images)
    report = verify(tmp_path)
    assert report.passed
    assert {row.max_dz_sigma for row in report.results} == {None}
    assert list(json.loads((tmp_path / "parity.json").read_text())["results"][1]["other_heads"]) == ["pose"]
