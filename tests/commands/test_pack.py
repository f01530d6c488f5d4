"""`expnet pack` on the command line: exit codes and what is said."""

import argparse
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.commands import pack
from expnet_tf.commands.common import FAILED, FINE, UsageError
from expnet_tf.data.records import open_packed
from expnet_tf.data.synth import synthesize


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    synthesize(folder, 3, 2, size=64, seed=5, workers=1)
    return folder


def expnet(*words: object) -> int:
    parser = argparse.ArgumentParser()
    pack.add(parser.add_subparsers(dest="command"))
    options = parser.parse_args(["pack", *map(str, words), "--workers", "1"])
    return pack.run(options)


def test_packed_and_told(faces, tmp_path, capsys):
    assert expnet(faces, "--out", tmp_path / "out", "--size", 64) == FINE
    out = capsys.readouterr().out
    count = len(list(faces.glob("0*/*.jpg")))
    assert f"{count} records written now" in out
    assert "1 people for validation" in out
    packed = open_packed(tmp_path / "out")
    assert (sum(packed.counts.values()), packed.crop, packed.size) == (count, "none", 64)
    assert f"The images are {packed.factor:.2f} times the box" in out


def test_the_progress_bar_knows_how_many_there_are(faces, tmp_path, capfd):
    count = len(list(faces.glob("0*/*.jpg")))
    for _ in range(2):  # packed, and found there
        assert expnet(faces, "--out", tmp_path, "--size", 64) == FINE
        assert "100%|" in (said := capfd.readouterr().err)
        assert f"{count}/{count}" in said


def test_an_empty_source_is_a_usage_error(faces, tmp_path):
    with pytest.raises(UsageError, match="The path of the images is empty"):
        expnet(faces, "--out", tmp_path / "out", "--source", "")


def test_the_arguments_arrive(faces, tmp_path):
    words = "--crop boxes --factor 1.25 --size 48 --validation-share 0.4 --max-residual 3 --max-active 5 --seed 9"
    assert expnet(faces, "--out", tmp_path, *words.split()) == FINE
    manifest = open_packed(tmp_path).manifest
    assert (manifest["crop"], manifest["factor"], manifest["size"]) == ("boxes", 1.25, 48)
    assert manifest["split"] == {"by": "subject", "validation_share": 0.4, "seed": 9}
    assert manifest["limits"] == {"residual": 3, "active": 5}


def test_tight_images_are_warned_about(faces, tmp_path, capsys):
    assert expnet(faces, "--out", tmp_path, "--crop", "boxes", "--factor", 3, "--size", 48) == FINE
    assert "of the pixels lie beyond the images and are black" in capsys.readouterr().err


def test_failed_images_are_exit_code_1(faces, tmp_path, capsys):
    folder = shutil.copytree(faces, tmp_path / "faces")
    next(iter(sorted(folder.glob("0*/*.jpg")))).write_bytes(b"x")
    assert expnet(folder, "--out", tmp_path / "out", "--size", 64) == FAILED
    assert "1 image failed" in capsys.readouterr().err
    assert expnet(folder, "--out", tmp_path / "out", "--size", 64) == FAILED  # all there, one failed


@pytest.mark.parametrize("words", [["--factor", "2"], ["--size", "8"], ["--validation-share", "1.5"]])
def test_what_cannot_be_is_a_usage_error(faces, tmp_path, words):
    with pytest.raises(UsageError):
        expnet(faces, "--out", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_told_and_the_same_command_goes_on(faces, tmp_path, capsys, monkeypatch):
    def full(job):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("expnet_tf.data.pack.pack_shard", full)
        assert expnet(faces, "--out", tmp_path, "--size", 64) == FAILED
    assert f"{tmp_path} cannot be written (No space left on device)" in capsys.readouterr().err
    assert expnet(faces, "--out", tmp_path, "--size", 64) == FINE


def test_no_labels_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no labels-NNNNN-of-MMMMM"):
        expnet(tmp_path, "--out", tmp_path / "out")
    assert np.array_equal(list(tmp_path.iterdir()), [])
