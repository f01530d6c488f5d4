"""The same labels from processes of this machine and from a Dask cluster that loses a worker half way."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.data import labels
from expnet_tf.data.labelling.job import label, one_by_one
from expnet_tf.data.labelling.recipe import Recipe
from expnet_tf.data.labelling.workers import Cluster, Processes, WorkerError, cores
from expnet_tf.data.sources import open_source

# The detector runs, so that a shard takes long enough to be interrupted; no TensorFlow, so that workers start fast.
RECIPE = Recipe(landmarks="labels", shape="labels", pose="labels", boxes="detect")
SHARDS = 40


@pytest.fixture(scope="module")
def crowd(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The faces again and again, as if of forty people; one image of each cannot be read."""
    folder = tmp_path_factory.mktemp("crowd")
    one = labels.read_labels(faces)
    rows = np.arange(4 * SHARDS) % 12
    keys = [f"{row // 4:07d}/{row % 4}.jpg" for row in range(len(rows))]
    for key, row in zip(keys, rows, strict=True):
        (folder / key).parent.mkdir(exist_ok=True)
        (folder / key).write_bytes((faces / one["key"][row]).read_bytes() if key[-5] != "3" else b"no image")
    columns = {name: values[rows] for name, values in one.items()}
    columns |= {"key": np.array(keys), "subject": np.array([key[:7] for key in keys])}
    labels.write_shard(folder / labels.shard_name(0, 1), columns)
    labels.write_summary(folder, {"source": "synthetic", "camera": "pinhole"})
    return folder


@pytest.fixture(scope="module")
def expected(crowd: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("local") / "out"
    assert label(open_source(crowd), out, RECIPE, one_by_one, images_per_shard=4).made == SHARDS
    assert len(labels.read_labels(out)["key"]) > 2 * SHARDS
    return files(out)


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and path.name != "timings.json"}


@pytest.mark.slow
def test_processes_make_the_same_labels(crowd, expected, tmp_path):
    done = label(open_source(crowd), tmp_path / "out", RECIPE, Processes(2), images_per_shard=4)
    assert done.made == SHARDS
    assert files(tmp_path / "out") == expected


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A Dask scheduler and two workers, processes of their own that speak TCP on the loopback device."""
    environment = {**os.environ, "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__LOG_LENGTH": "10"}
    log = (folder / "log").open("wb")

    def start(program: str, *arguments: str) -> subprocess.Popen:
        line = [sys.executable, "-m", f"distributed.cli.dask_{program}", *arguments]
        return subprocess.Popen(line, stdout=log, stderr=log, cwd=folder, env=environment)

    scheduler = start(
        "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", "address.json"
    )
    common = ("--scheduler-file", "address.json", "--nthreads", "1", "--no-nanny", "--no-dashboard")
    workers = [start("worker", *common, "--local-directory", f"w{number}") for number in range(2)]
    try:
        import json

        while not (folder / "address.json").exists():
            assert scheduler.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield json.loads((folder / "address.json").read_text())["address"], workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()
        log.close()


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_half_way(crowd, expected, tmp_path):
    """Two workers; one is killed with -9 when a quarter is done: same labels, nothing lost, nothing twice."""
    distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")
    out = tmp_path / "out"
    with cluster(tmp_path) as (address, workers):
        with distributed.Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        killed_at: list[int] = []

        def progress(images: int, total: int) -> None:
            if images >= total // 4 and not killed_at:
                workers[0].send_signal(signal.SIGKILL)
                workers[0].wait()
                killed_at.append(len(list(out.glob("labels-*.npz"))))

        done = label(open_source(crowd), out, RECIPE, Cluster(address), progress, images_per_shard=4)
        assert killed_at
        assert killed_at[0] < SHARDS
        assert workers[1].poll() is None
    assert done.made == SHARDS
    assert files(out) == expected
    keys = labels.read_labels(out)["key"].tolist()
    left_out = [line.split(",")[0] for line in (out / "failures.csv").read_text().splitlines()[1:]]
    assert sorted(keys + left_out) == sorted(open_source(crowd).keys)


def test_no_scheduler(crowd, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    monkeypatch.setattr("expnet_tf.data.labelling.workers.ANSWER_S", 0.3)
    with pytest.raises(WorkerError, match=r"^no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        label(open_source(crowd), tmp_path / "out", RECIPE, Cluster("tcp://127.0.0.1:9"), images_per_shard=4)


@pytest.mark.slow
def test_workers_that_grow_are_replaced():
    """joblib looks once a second whether a worker has grown by 300 MB, and warns when it starts another."""
    pytest.importorskip("psutil", reason="comes with the extra cluster")

    def grow(share: int) -> tuple[int, int]:
        time.sleep(0.55)
        sys.__dict__.setdefault("kept", []).append(np.ones(20_000_000))  # 160 MB
        return share, os.getpid()

    made: list[tuple[int, int]] = []
    run = threading.Thread(target=lambda: made.extend(Processes(2, grow)(range(12))), daemon=True)
    run.start()
    run.join(60)  # for ever, without expect_replaced_workers
    assert sorted(share for share, _ in made) == list(range(12))
    assert len({process for _, process in made}) > 2


@pytest.mark.slow
def test_a_killed_process_is_one_sentence(crowd, tmp_path):
    psutil = pytest.importorskip("psutil", reason="comes with the extra cluster")
    out = tmp_path / "out"

    def progress(images: int, total: int) -> None:
        if images:
            for process in psutil.Process().children(recursive=True):
                if "LokyProcess" in " ".join(process.cmdline()):
                    process.kill()

    with pytest.raises(WorkerError, match="a worker process was killed, perhaps for want of memory"):
        label(open_source(crowd), out, RECIPE, Processes(2), progress, images_per_shard=4)
    assert 0 < len(list(out.glob("labels-*.npz"))) < SHARDS


def test_cores():
    assert 1 <= cores() <= (os.cpu_count() or 1)
