"""`expnet predict --shards` on the command line: exit codes, what is said, and a Dask cluster."""

import json
import os
from pathlib import Path

import keras
import pytest

from expnet_tf import faceshard, shards
from expnet_tf.cli import main
from expnet_tf.models import ASSETS
from expnet_tf.network import ExpNet, ModelInfo, save_model

ASTRONAUT = ASSETS / "astronaut.jpg"
ONE = ("--shards", "jsonl", "--workers", "1")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    keras.utils.set_random_seed(5)
    info = ModelInfo("toy", "1.0", "compact", 32, 1.25, ("expression", "identity", "pose"), "random", "Apache-2.0")
    path = tmp_path_factory.mktemp("toy") / "toy.keras"
    save_model(ExpNet("compact", size=32), path, info)
    return str(path)


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(ASTRONAUT.read_bytes())
    return folder


def predict(*words: object) -> int:
    return main(["predict", *map(str, words)])


def test_all_is_well(photos: Path, weights: str, capfd: pytest.CaptureFixture[str]) -> None:
    line = (photos, "--out", "out", "--model", weights, "--box", "180,55,90,120", *ONE)
    assert predict(*line) == 0
    assert capfd.readouterr().out == "2 photos done, 2 faces; see out/faces.json.\n"
    assert len(Path("out/faces-00000-of-00001.jsonl").read_text().splitlines()) == 2
    assert json.loads(Path("out/faces.json").read_text())["detector"] is None
    assert Path("out/failures.jsonl").read_bytes() == b""
    assert predict(*line) == 0  # again: nothing to do


def test_bad_photos_then_another_run(photos: Path, weights: str, capfd: pytest.CaptureFixture[str]) -> None:
    (photos / "c.jpg").write_bytes(b"")
    line = (photos, "none*.jpg", "--out", "out", "--model", weights, *ONE)
    assert predict(*line) == 1
    out, err = capfd.readouterr()
    assert out == "2 photos done, 2 faces, 2 failed; see out/faces.json.\n"
    assert "2 failed, each with a sentence in out/failures.jsonl." in err
    failures = [json.loads(text) for text in Path("out/failures.jsonl").read_text().splitlines()]
    assert failures[0] == {"file": None, "sentence": "none*.jpg matches no file."}
    assert failures[1]["file"] == "photos/c.jpg"
    assert failures[1]["sentence"].startswith("photos/c.jpg is empty")
    assert predict(*line, "--shard-size", 1) == 2
    err = capfd.readouterr().err
    assert "out holds a run with another photos_per_shard: it was 500, now it is 1; use the same" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--shards csv", "invalid choice: 'csv'"),
        ("--shards jsonl --format json", "--format names files by photo; with --shards"),
        ("--shards jsonl --workers 2 --scheduler tcp://127.0.0.1:9", "with --scheduler the cluster has its own"),
        ("--workers 2", "--workers needs --shards jsonl or --shards parquet."),
        ("--scheduler tcp://127.0.0.1:9", "--scheduler needs --shards"),
        ("--shard-size 2", "--shard-size needs --shards"),
        ("--shards jsonl --shard-size 0", "'0' is not a whole number of at least 1"),
        ("--shards jsonl --model gone.keras", "gone.keras does not exist"),
    ],
)
def test_usage_errors(words: str, sentence: str, photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert predict(photos, "--out", "out", *words.split()) == 2
    assert sentence in capfd.readouterr().err
    assert not Path("out").exists()


def test_the_formats_and_size_are_those_of_the_job(capfd: pytest.CaptureFixture[str]) -> None:
    assert predict("--help") == 0
    text = capfd.readouterr().out
    assert f"--shards {{{','.join(faceshard.FORMATS)}}}" in text
    assert f"(default: {shards.PHOTOS_PER_SHARD})" in " ".join(text.split())


def test_a_cluster_makes_the_same_bytes(photos: Path, weights: str, tmp_path: Path) -> None:
    """The worker is a thread of this process, which has TensorFlow; the labelling tests lose a worker of its own."""
    distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")
    (photos / "c.jpg").write_bytes(b"")
    line = (photos, "--model", os.path.relpath(weights), "--shards", "jsonl", "--shard-size", 2)
    with distributed.LocalCluster(
        1, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=None,
        worker_dashboard_address=None, local_directory=str(tmp_path / "dask"),
    ) as cluster:  # fmt: skip
        assert predict(*line, "--out", "there", "--scheduler", cluster.scheduler_address) == 1
    assert predict(*line, "--out", "here", "--workers", 1) == 1
    there, here = (
        {path.relative_to(out): path.read_bytes() for path in Path(out).rglob("*") if path.is_file()}
        for out in ("there", "here")
    )
    assert len(here) == 7
    assert there == here
