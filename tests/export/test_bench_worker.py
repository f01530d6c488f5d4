"""The process that measures: what it answers, how it ends, and that it sees its own memory."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.export import EXPORTERS, ExportError, bench_process
from expnet_tf.export.bench_process import Process
from expnet_tf.export.bench_worker import MODULES, _forget_peak, _settle, peak_memory
from expnet_tf.export.bundle import ExportResult


@pytest.fixture
def process(exported: ExportResult):
    with Process("litert", exported.written["tflite"], 1, exported.directory / "parity_inputs.npz") as process:
        yield process
    assert process._process.returncode == 0


def test_answers(process: Process) -> None:
    loaded = process.ask("load")
    assert loaded["import_s"] > 0
    assert loaded["load_s"] > 0
    assert loaded["runtime_version"][0].isdigit()
    warm = process.ask("warm_up", batch=8)  # more than there are images: they are used again
    assert warm["memory_bytes"] > 1_000_000  # 1.1 million parameters
    answer = process.ask("measure", batch=8, calls=5)
    assert len(answer["seconds"]) == 5
    assert all(second > 0 for second in answer["seconds"])
    assert answer["cpu_seconds"] > 0
    with pytest.raises(ExportError, match="not a command"):
        process.ask("dance")


def test_it_ends_with_a_reason(exported: ExportResult, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, inputs = exported.written["tflite"], exported.directory / "parity_inputs.npz"
    sentence = r"load: the process ended with exit code 1: FileNotFoundError: .*none\.npz"
    with Process("litert", model, 1, tmp_path / "none.npz") as process, pytest.raises(ExportError, match=sentence):
        process.ask("load")
    monkeypatch.setattr(bench_process, "PATIENCE", 0)
    with Process("litert", model, 1, inputs) as process, pytest.raises(ExportError, match="load: no answer within 0 s"):
        process.ask("load")
    assert process._process.returncode < 0


def test_every_runtime_s_import_is_told_apart() -> None:
    assert {runner for exporter in EXPORTERS.values() for runner in exporter.runners} <= set(MODULES)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux begins a peak anew")
def test_peak_memory() -> None:
    megabytes = 64
    _forget_peak()
    before = peak_memory()
    block = np.ones(megabytes << 20, np.uint8)
    during = peak_memory()
    del block
    assert during - before > 0.9 * megabytes * 2**20
    assert peak_memory() >= during - 2**20  # the kernel's counters are exact to some pages a CPU
    _forget_peak()
    assert peak_memory() < during - 0.9 * megabytes * 2**20


def test_settled_at_once_where_nothing_spins() -> None:
    start = time.process_time()
    _settle()
    assert time.process_time() - start < 0.1  # CPU time: it sleeps
