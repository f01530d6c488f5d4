"""`expnet bench` on the command line: exit codes and what is said."""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest

from expnet_tf.cli import main
from expnet_tf.export import bench as module
from expnet_tf.export.bundle import export_model
from expnet_tf.network import ExpNet, ModelInfo

WORDS = ["--threads", "1", "--batch", "1, 2", "--rounds", "1", "--calls", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(0)
    info = ModelInfo("toy", "0.1", "compact", 32, 1.5, ("expression",), "none", "Apache-2.0")
    model = ExpNet("compact", size=32, heads=("expression",), mean_image=np.full((32, 32, 3), 128.0))
    images = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)
    path = tmp_path_factory.mktemp("exported")
    assert export_model(model, path, "tflite", info=info, images=images).passed
    return path


def bench(*words: object) -> int:
    return main(["bench", *map(str, words)])


def test_measured_and_told(folder: Path, capfd: pytest.CaptureFixture) -> None:
    assert bench(folder, *WORDS) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0].split()[:5] == ["artifact", "runtime", "version", "threads", "batch"]
    assert [line.split()[:2] + line.split()[3:5] for line in lines[2:4]] == [
        ["tflite", "litert", "1", "1"],
        ["tflite", "litert", "1", "2"],
    ]
    assert any(line.startswith("lowest latency: tflite in litert, threads 1, batch 1: ") for line in lines)
    assert "round 1 of 1" in err
    assert "INFO" not in err  # LiteRT's chatter
    assert json.loads((folder / "bench.json").read_text())["passed"] is True


def test_failures_are_exit_code_1(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    model = folder / "model.tflite"
    content = model.read_bytes()
    model.write_bytes(content[:-1])
    try:
        assert bench(folder, *WORDS, "--json", tmp_path / "figures.json") == 1
    finally:
        model.write_bytes(content)
    assert "tflite in litert: failed: model.tflite: " in capfd.readouterr().out
    assert json.loads((tmp_path / "figures.json").read_text())["passed"] is False


def test_a_busy_machine_is_told_in_one_line(folder: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(module, "machine", lambda: {"cpu": "Abacus", "cores": 2, "system": "Linux", "load": 7.5})
    assert bench(folder, *WORDS) == 0
    assert "This machine is busy: load 7.5 on 2 cores. Times will be too long." in capfd.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--threads", "0"], "'0' is not a whole number of at least 1"),
        (["--batch", "1,many"], "'many' is not a whole number of at least 1"),
        (["--only", "coreml"], "Nothing there is called coreml; artifacts and runtimes there: tflite, litert."),
        (["--json", "/nowhere/at/all.json"], "lies in a folder that does not exist"),
    ],
)
def test_usage(folder: Path, capsys: pytest.CaptureFixture, words: list[str], sentence: str) -> None:
    assert bench(folder, *words) == 2
    assert sentence in capsys.readouterr().err


def test_no_exports(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert bench(tmp_path) == 2
    assert "no manifest.json there; make the folder with `expnet export`" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture) -> None:
    folder.chmod(0o500)
    try:
        assert bench(folder) == 2
    finally:
        folder.chmod(0o700)
    assert "cannot be written to; --json FILE puts the figures elsewhere" in capsys.readouterr().err
