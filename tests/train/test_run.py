"""Whole runs on twenty faces."""

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from expnet_tf.network import load_model, read_info
from expnet_tf.train.config import Job, JobError, TrainingError, modern, paper
from expnet_tf.train.run import train

SIZE = 32


def job(packed, out, config, **more):
    return Job((packed,), out, replace(config, batch_size=4), size=SIZE, **more)


@pytest.fixture(scope="module")
def run(packed, tmp_path_factory):
    """(job, folder, report) of sixteen epochs of `modern` on twenty faces."""
    out = tmp_path_factory.mktemp("run") / "run"
    asked = job(packed, out, replace(modern(), epochs=16), licence="Apache-2.0")
    return asked, out, train(asked, say=lambda text: None)


@pytest.mark.slow
def test_it_learns(run):
    lines = run[2]["epochs"]
    assert len(lines) == 16
    # 80 steps on 20 images.
    assert lines[-1]["points_loss"] < 0.7 * lines[0]["points_loss"]
    assert lines[-1]["expression_loss"] < 0.8 * lines[0]["expression_loss"]


@pytest.mark.slow
def test_the_model_is_for_predicting(run):
    path = run[1] / "compact.keras"
    model, info = load_model(path), read_info(path)
    assert set(model.output) == {"expression", "identity", "pose"}
    assert (info.crop_factor, info.size, info.licence) == (1.25, SIZE, "Apache-2.0")
    assert "20 images" in info.training
    assert "320 passes, config modern" in info.training
    assert np.isfinite(model.predict_on_batch(np.zeros((1, SIZE, SIZE, 3), np.uint8))["expression"]).all()


@pytest.mark.slow
def test_what_a_run_leaves(run):
    _, out, report = run
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "checkpoint.npz", "log.csv", "samples", "compact.keras", "report.json", "worst.png"} <= names
    assert not [name for name in names if name.endswith(".tmp")]
    assert len(list((out / "samples").glob("epoch-*.png"))) == 16
    sheet, worst = (cv2.imread(str(path)) for path in (out / "samples/epoch-0001.png", out / "worst.png"))
    assert min(sheet.shape[:2]) > 200
    assert worst.std() > 20
    assert len(list(csv.DictReader((out / "log.csv").read_text().splitlines()))) == 16
    assert report == json.loads((out / "report.json").read_text())
    assert {name: len(values) for name, values in report["r2"].items()} == {"expression": 29, "identity": 99, "pose": 6}
    assert [face["vertex_mm"] for face in report["worst"]] == sorted(
        (face["vertex_mm"] for face in report["worst"]), reverse=True
    )
    assert len(report["curve"]["points"]) == 1


@pytest.mark.slow
def test_the_same_command_again_finds_it_done(run):
    asked, out, report = run
    before = (out / "compact.keras").read_bytes()
    said = []
    assert train(asked, say=said.append) == report
    assert "has ended before" in said[-1]
    assert (out / "compact.keras").read_bytes() == before


@pytest.mark.slow
def test_other_arguments_are_refused(run):
    asked, _, _ = run
    for other, message in (
        (replace(asked, seed=1), "seed was 0, now 1"),
        (replace(asked, config=replace(asked.config, batch_size=5)), r"config\.batch_size was 4, now 5"),
        (replace(asked, steps=7), "steps was None, now 7"),
    ):
        with pytest.raises(JobError, match=rf"holds another run .{message}"):
            train(other)


@pytest.mark.slow
def test_the_paper_and_a_rate_that_is_too_high(packed, tmp_path):
    said = []
    report = train(job(packed, tmp_path / "run", paper(), steps=7), say=said.append)
    assert report["epochs"][-1]["step"] == 7
    assert list(report["r2"]) == ["expression"]
    info = read_info(tmp_path / "run/compact.keras")
    # The whole image is about 1.6 boxes wide: what predict has to cut out for this network.
    assert 1.3 < info.crop_factor < 1.9
    with pytest.raises(TrainingError, match=r"is not finite after|The loss is"):
        train(job(packed, tmp_path / "high", replace(paper(), learning_rate=1e9), checkpoint_every=1), say=said.append)
    assert not (tmp_path / "high/compact.keras").exists()


def test_unknown_backbone(packed, tmp_path):
    with pytest.raises(JobError, match=r"no backbone 'vgg'; accepted: compact"):
        train(job(packed, tmp_path, paper(), backbone="vgg"))
