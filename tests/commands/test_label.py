"""`expnet label` on the command line: what the arguments become, exit codes and what is said."""

import argparse
import json
from pathlib import Path

import pytest

from expnet_tf.commands import label
from expnet_tf.commands.common import FAILED, FINE, UsageError
from expnet_tf.data.synth import synthesize

TRUE = ("--landmarks", "labels", "--shape", "labels", "--pose", "labels", "--workers", "1")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    synthesize(folder, 2, 2, size=64, seed=6, workers=1)
    return folder


def parsed(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    label.add(parser.add_subparsers(dest="command"))
    return parser.parse_args(["label", *map(str, words)])


def test_labelled_and_told(faces, tmp_path, capsys):
    out = tmp_path / "out"
    assert label.run(parsed(faces, "--out", out, *TRUE)) == FINE
    said = capsys.readouterr()
    assert said.out == f"4 images labelled, 0 images left out; see {out}/labels.json.\n"
    assert json.loads((out / "labels.json").read_text())["boxes"] == {"kind": "labels"}
    assert label.run(parsed(faces, "--out", out, *TRUE)) == FINE  # again: nothing to do


def test_an_image_that_is_left_out(faces, tmp_path, capsys):
    import shutil

    own = shutil.copytree(faces, tmp_path / "own")
    (own / "0000001/001.jpg").write_bytes(b"no image")
    assert label.run(parsed(own, "--out", tmp_path / "out", *TRUE)) == FAILED
    said = capsys.readouterr()
    assert "3 images labelled, 1 image left out" in said.out
    assert f"1 image left out, each with a reason in {tmp_path / 'out'}/failures.csv." in said.err


def test_what_the_arguments_become(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--landmarks", "pts:points", "--shape", "npz:s.npz", "--pose", "network:compact")
    options = parsed("x", "--out", "y", *words)
    recipe = label._recipe(options, "casia")
    assert recipe.landmarks == f"pts:{tmp_path}/points"  # workers may run elsewhere
    assert recipe.shape == f"npz:{tmp_path}/s.npz"
    assert (recipe.pose, recipe.boxes) == ("network:compact", "detect")
    assert (recipe.camera, recipe.pool, recipe.prior) == ("pinhole", "mean", None)
    assert label._recipe(options, "synthetic").boxes == "labels"
    assert label._recipe(parsed("x", "--out", "y", "--jaw", "180"), "casia").jaw == 180


@pytest.mark.parametrize(("words", "sentence"), [
    (("--camera", "pinhole", "--landmarks", "dlbi"), "--landmarks is 'dlbi'; accepted: dlib, openface:PATH"),
    (("--prior", "-1"), "--prior is -1.0"),
    (("--scheduler", "tcp://127.0.0.1:9"), "with --scheduler the cluster has its own"),
    (("--shape", "network:none.keras"), "none.keras does not exist"),
])  # fmt: skip
def test_usage_errors(faces, tmp_path, words, sentence):
    with pytest.raises(UsageError, match=sentence):
        label.run(parsed(faces, "--out", tmp_path / "out", *TRUE, *words))
    assert not list(tmp_path.rglob("*"))


def test_no_source(tmp_path):
    with pytest.raises(UsageError, match="nowhere does not exist; a folder with a folder a person"):
        label.run(parsed(tmp_path / "nowhere", "--out", tmp_path / "out", *TRUE))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file; a folder is expected"):
        label.run(parsed(tmp_path, "--out", tmp_path / "file", *TRUE))
