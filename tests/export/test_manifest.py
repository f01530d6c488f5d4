"""The manifest: what it says, and what it notices."""

import hashlib
import json
from pathlib import Path

import keras
import pytest

from expnet_tf.export import ExportError, choose, manifest
from expnet_tf.export.bundle import ExportResult
from expnet_tf.network import load_model


def test_says_what_lies_there(exported: ExportResult) -> None:
    record = manifest.read(exported.directory)
    assert record["model"]["id"] == "toy-0.1"
    assert record["licence"] == "Apache-2.0"
    assert record["input"]["shape"] == [None, 32, 32, 3]
    assert record["input"]["crop_factor"] == 1.5
    assert {head: facts["shape"] for head, facts in record["outputs"].items()} == {
        "expression": [None, 29],
        "identity": [None, 99],
        "pose": [None, 6],
    }
    assert record["toolchain"]["tensorflow"].startswith("2.")
    assert record["reference"]["inputs"]["count"] == 6
    assert list(record["artifacts"]) == [exporter.name for exporter in choose("all")]
    content = (exported.directory / "model.onnx").read_bytes()
    assert record["artifacts"]["onnx"]["bytes"] == len(content)
    assert record["artifacts"]["onnx"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(record["artifacts"]["savedmodel"]["files"]) >= 3


def test_weights_digest_is_of_the_weights(model: keras.Model, model_file: Path, exported: ExportResult) -> None:
    digest = manifest.read(exported.directory)["weights_sha256"]
    other = load_model(model_file)
    assert manifest.weights_digest(model) == manifest.weights_digest(other) == digest
    bias = other.get_layer("expression").bias
    bias.assign(bias + 1e-6)
    assert manifest.weights_digest(other) != digest


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json there"):
        manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a manifest"),
        ("[]", "not a manifest"),
        ('{"schema": 9}', "schema 9"),
        ('{"schema": 1}', "has no"),
    ],
)
def test_unreadable_manifest(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ExportError, match=message):
        manifest.read(tmp_path)


@pytest.mark.parametrize(("section", "name"), [("artifacts", "onnx"), ("reference", "inputs")])
def test_incomplete_entry(bundle: Path, section: str, name: str) -> None:
    record = json.loads((bundle / "manifest.json").read_text())
    del record[section][name]["sha256"]
    (bundle / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(ExportError, match=f"the entry {name} has no sha256"):
        manifest.read(bundle)


def test_an_artifact_has_a_precision(bundle: Path) -> None:
    record = json.loads((bundle / "manifest.json").read_text())
    del record["artifacts"]["onnx"]["precision"]
    (bundle / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(ExportError, match="the entry onnx has no precision"):
        manifest.read(bundle)
    record["artifacts"] = list(record["artifacts"])
    (bundle / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(ExportError, match="not objects"):
        manifest.read(bundle)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "thing" / "sub").mkdir(parents=True)
    (tmp_path / "thing" / "a").write_bytes(b"one")
    (tmp_path / "thing" / "sub" / "b").write_bytes(b"two")
    return tmp_path


def test_entry_of_a_folder(folder: Path) -> None:
    noted = manifest.entry(folder, "thing", precision="float32")
    assert (noted["path"], noted["bytes"], noted["precision"]) == ("thing", 6, "float32")
    assert list(noted["files"]) == ["thing/a", "thing/sub/b"]
    manifest.check(folder, noted)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a", b"onf", "thing/a: its sha256"),
        ("a", b"on", "thing/a: 2 bytes; the manifest says 3"),
        ("sub/b", None, "thing/sub/b: missing"),
        ("c", b"", "thing/c: not in the manifest"),
    ],
)
def test_check_notices(folder: Path, name: str, content: bytes | None, message: str) -> None:
    noted = manifest.entry(folder, "thing")
    if content is None:
        (folder / "thing" / name).unlink()
    else:
        (folder / "thing" / name).write_bytes(content)
    with pytest.raises(ExportError, match=message):
        manifest.check(folder, noted)


@pytest.mark.parametrize("target", ["thing/sub", "nowhere"])
def test_a_link_is_no_way_around_the_manifest(folder: Path, target: str) -> None:
    noted = manifest.entry(folder, "thing")
    (folder / "thing" / "c").symlink_to(folder / target)
    with pytest.raises(ExportError, match=r"thing/c: a link to a folder, or to nothing\."):
        manifest.check(folder, noted)


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    manifest.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        manifest.write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]
