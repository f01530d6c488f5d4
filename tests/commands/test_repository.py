"""`expnet repository` on the command line: exit codes and what is said."""

import argparse
from pathlib import Path

import pytest

from expnet_tf.commands import repository
from expnet_tf.commands.common import FAILED, FINE, UsageError
from expnet_tf.export import MANIFEST, manifest
from expnet_tf.serving.repository import TARGETS


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export as far as this command looks into one: files and their manifest."""
    folder = tmp_path / "export"
    (folder / "savedmodel").mkdir(parents=True)
    for name in ("savedmodel/saved_model.pb", "model.onnx", "reference.keras", "parity_inputs.npz"):
        (folder / name).write_text(name)
    record = {
        "schema": manifest.SCHEMA,
        "model": {"id": "toy-0.1"},
        "input": {"shape": [None, 32, 32, 3], "crop_factor": 1.5},
        "outputs": {"expression": {"shape": [None, 29]}},
        "reference": {
            "model": manifest.entry(folder, "reference.keras"),
            "inputs": manifest.entry(folder, "parity_inputs.npz"),
        },
        "artifacts": {
            "savedmodel": manifest.entry(folder, "savedmodel", precision="float32", verified="pass"),
            "onnx": manifest.entry(folder, "model.onnx", precision="float32"),
        },
    }
    manifest.write_json(folder / MANIFEST, record)
    return folder


def expnet(*words: object) -> int:
    parser = argparse.ArgumentParser()
    repository.add(parser.add_subparsers(dest="command"))
    return repository.run(parser.parse_args(["repository", *map(str, words)]))


def test_the_targets_are_those_of_the_package():
    assert list(TARGETS) == list(repository.TARGETS) == list(repository.NEXT)


@pytest.mark.parametrize("target", repository.TARGETS)
def test_written_and_told(export, tmp_path, capsys, target):
    out = tmp_path / "out"
    assert expnet(export, "--out", out, "--target", target) == FINE
    said = capsys.readouterr()
    artifact = "onnx" if target == "triton" else "savedmodel"
    assert f"{out}: expnet, version 1, {artifact} for {target}" in said.out
    named = [line.strip() for line in said.out.splitlines() if line.startswith("  ")]
    assert named
    assert all((out / path).is_file() for path in named)
    assert str(out) in said.out.splitlines()[-1]  # what to do next
    warned = [line for line in said.err.splitlines() if line.startswith("warning: ")]
    assert len(warned) == (artifact == "onnx")  # the SavedModel was verified


def test_the_arguments_arrive(export, tmp_path, capsys):
    words = "--target kubernetes --name faces --model-version 7 --artifact onnx --image mine/triton:2"
    assert expnet(export, "--out", tmp_path / "out", *words.split()) == FINE
    assert "faces, version 7, onnx for kubernetes" in capsys.readouterr().out
    assert (tmp_path / "out/models/faces/7/model.onnx").read_text() == "model.onnx"
    assert "image: mine/triton:2\n" in (tmp_path / "out/kubernetes/deployment.yaml").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["--target", "triton", "--artifact", "savedmodel"],
        ["--target", "tfserving", "--name", "No Name"],
        ["--target", "tfserving", "--image", "x"],
    ],
)
def test_what_cannot_be_is_a_usage_error(export, tmp_path, words):
    with pytest.raises(UsageError):
        expnet(export, "--out", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_what_is_no_export_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"no manifest\.json there"):
        expnet(tmp_path, "--out", tmp_path / "out", "--target", "triton")


def test_a_damaged_export_is_a_usage_error(export, tmp_path):
    (export / "model.onnx").write_text("other")
    with pytest.raises(UsageError, match=r"model\.onnx: 5 bytes; the manifest says 10"):
        expnet(export, "--out", tmp_path / "out", "--target", "triton")


def test_a_full_disk_is_told(export, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("expnet_tf.serving.repository.write_whole", full)
    assert expnet(export, "--out", tmp_path / "out", "--target", "triton") == FAILED
    assert "cannot be read or written (No space left on device)" in capsys.readouterr().err
