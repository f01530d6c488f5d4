"""bench: real artifacts in real processes; what is measured, in which order, and what happens to those that fail."""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from expnet_tf.export import EXPORTERS, MANIFEST, ExportError, manifest
from expnet_tf.export import bench as module
from expnet_tf.export.bench import Process, bench
from expnet_tf.export.bench_report import FAILED, MEASURED, NOT_RUN, Report
from expnet_tf.export.bundle import ExportResult

ONNX = ["onnxruntime", *(["openvino"] if find_spec("openvino") else [])]
QUICK = {"threads": [1], "batches": [1], "rounds": 1, "calls": 1}


class Watched(Process):
    """A Process that notes whom it asked for what, and which processes there were."""

    asked: list[tuple[Any, ...]]
    made: list["Watched"]

    def __init__(self, runner: str, artifact: Path, threads: int, inputs: Path) -> None:
        super().__init__(runner, artifact, threads, inputs)
        self.run = (artifact.name, runner, threads)
        self.made.append(self)

    def ask(self, do: str, **facts: Any) -> dict[str, Any]:
        self.asked.append((do, *self.run, facts.get("batch"), facts.get("calls")))
        return super().ask(do, **facts)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Watched]]:
    Watched.asked, Watched.made = [], []
    monkeypatch.setattr(module, "Process", Watched)
    yield Watched
    for process in Watched.made:
        assert process._process.returncode is not None, "a process was left behind"


def found(report: Report) -> dict[tuple[str, str, int], tuple[str, str | None]]:
    return {(run.artifact, run.runtime, run.threads): (run.result, run.reason) for run in report.results}


def test_all_are_measured_in_turns(exported: ExportResult, tmp_path: Path, watched: type[Watched]) -> None:
    said: list[str] = []
    file = tmp_path / "figures.json"
    report = bench(
        exported.directory, threads=[2, 1], batches=[3, 1], rounds=3, calls=2, only=["onnx", "tflite"], output=file,
        progress=said.append,
    )  # fmt: skip
    runs = [("onnx", runtime, t) for runtime in ONNX for t in (1, 2)] + [("tflite", "litert", t) for t in (1, 2)]
    assert found(report) == dict.fromkeys(runs, (MEASURED, None))
    assert report.passed
    for run in report.results:
        assert run.runtime_version[0].isdigit()
        assert run.bytes == (exported.directory / run.path).stat().st_size
        assert run.import_s is not None
        assert run.load_s is not None
        assert min(run.import_s, run.load_s) > 0
        assert list(run.batches) == [1, 3]
        assert run.batches[1].memory_bytes <= run.batches[3].memory_bytes
        for batch, times in run.batches.items():
            assert times.calls == 3 * 2
            assert 0 < times.p5_ms <= times.median_ms
            assert times.images_per_s == pytest.approx(1e3 * batch / times.median_ms)
            assert times.cpu_ms > 0
            assert times.spread >= 0

    # Everything is loaded and warm before anything is measured; then each round asks each once, not in one order.
    measured = [asked for asked in watched.asked if asked[0] == "measure"]
    assert [asked[0] for asked in watched.asked].index("measure") == len(runs) * 3
    turns = {(EXPORTERS[name].file, runtime, t, batch, 2) for name, runtime, t in runs for batch in (1, 3)}
    rounds = [measured[i : i + len(turns)] for i in range(0, len(measured), len(turns))]
    assert len(rounds) == 3
    assert all({asked[1:] for asked in once} == turns for once in rounds)
    assert rounds[0] != rounds[1]
    assert said[-1] == "round 3 of 3"

    record = json.loads(file.read_text())
    assert record["passed"] is True
    assert record["settings"] == {"threads": [1, 2], "batches": [1, 3], "rounds": 3, "calls": 2}
    assert record["manifest_sha256"] == manifest.digest(exported.directory / MANIFEST)
    assert record["machine"]["cores"] >= 1
    assert {"cpu", "load", "platform", "python"} <= set(record["machine"])
    assert record["results"][0]["batches"]["3"]["median_ms"] == report.results[0].batches[3].median_ms
    assert [winner["use"] for winner in record["best"]][:2] == ["lowest latency", "lowest latency in float32"]


def test_as_many_calls_as_fill_a_block(exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 0.02)
    report = bench(
        exported.directory, threads=[1], batches=[1], rounds=1, only=["tflite"], output=tmp_path / "figures.json"
    )
    times = report.results[0].batches[1]
    assert times.calls == min(module.MOST_CALLS, max(1, round(0.02 / times.warm_s)))


def test_the_others_go_on(bundle: Path, keep: Callable, bless: Callable, watched: type[Watched]) -> None:
    """One altered, which must not be loaded, one that its runtime refuses, one whose process dies in the middle."""
    keep(bundle, "onnx", "tflite", "tflite-fp16")
    (bundle / "model.onnx").write_bytes(b"no model")
    half = bundle / "model-fp16.tflite"
    half.write_bytes(b"\0" * 64 + half.read_bytes()[64:])
    bless(bundle, "tflite-fp16")

    def kill(text: str) -> None:
        if text == "round 2 of 3":
            assert watched.made[0].run == ("model.tflite", "litert", 1)
            watched.made[0]._process.kill()

    report = bench(bundle, threads=[1, 2], batches=[1], rounds=3, calls=1, progress=kill)
    results = found(report)
    for runtime in ONNX:
        assert results["onnx", runtime, 1] == (FAILED, "model.onnx: 8 bytes; the manifest says " + size(bundle, "onnx"))
    assert results["tflite", "litert", 1] == (FAILED, "measure: the process ended with signal SIGKILL.")
    assert results["tflite", "litert", 2] == (MEASURED, None)
    for threads in (1, 2):
        result, reason = results["tflite-fp16", "litert", threads]
        assert result == FAILED
        assert reason.startswith("ValueError: ")
    assert {process.run[0] for process in watched.made} == {"model.tflite", "model-fp16.tflite"}
    assert not report.passed
    record = json.loads((bundle / "bench.json").read_text())
    assert record["passed"] is False
    assert [(run["threads"], run["result"]) for run in record["results"] if run["artifact"] == "tflite"] == [
        (1, FAILED),
        (2, MEASURED),
    ]
    assert {winner["artifact"] for winner in record["best"]} == {"tflite"}


def size(folder: Path, name: str) -> str:
    return f"{json.loads((folder / MANIFEST).read_text())['artifacts'][name]['bytes']}."


@pytest.mark.skipif(not find_spec("openvino"), reason="openvino is not installed (extra bench)")
def test_what_cannot_run_here_has_not_failed(
    exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OpenVINO whose library does not load, found by the processes before the real one."""
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text("raise ImportError('libopenvino.so: not for this machine')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    file = tmp_path / "figures.json"
    report = bench(exported.directory, **QUICK, only=["onnx"], output=file)
    results = found(report)
    assert results["onnx", "onnxruntime", 1] == (MEASURED, None)
    result, reason = results["onnx", "openvino", 1]
    assert result == NOT_RUN
    assert "libopenvino.so: not for this machine" in reason
    assert report.passed
    assert not bench(exported.directory, **QUICK, only=["openvino"], output=file).passed  # nothing was measured


def test_only_some(exported: ExportResult, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    report = bench(exported.directory, **QUICK, only=["tflite-fp16", "tflite", "litert"], output=file)
    assert list(found(report)) == [("tflite", "litert", 1), ("tflite-fp16", "litert", 1)]
    with pytest.raises(ExportError, match="Nothing there is called pytorch; artifacts and runtimes there: saved"):
        bench(exported.directory, only=["tflite", "pytorch"], output=file)
    with pytest.raises(ExportError, match="No artifact there runs in onnx, litert"):
        bench(exported.directory, only=["onnx", "litert"], output=file)


def test_a_folder_that_cannot_be_measured(bundle: Path, keep: Callable, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json"):
        bench(tmp_path)
    with (bundle / "parity_inputs.npz").open("ab") as file:
        file.write(b"0")
    with pytest.raises(ExportError, match=r"parity_inputs\.npz: \d+ bytes"):
        bench(bundle)
    keep(bundle)
    with pytest.raises(ExportError, match="No artifact is in the folder"):
        bench(bundle)
    assert not (bundle / "bench.json").exists()


def test_an_artifact_of_another_version(bundle: Path, keep: Callable) -> None:
    keep(bundle, "tflite")
    record = json.loads((bundle / MANIFEST).read_text())
    record["artifacts"]["coreml"] = record["artifacts"]["tflite"]
    manifest.write_json(bundle / MANIFEST, record)
    results = found(bench(bundle, **QUICK))
    assert results["tflite", "litert", 1] == (MEASURED, None)
    assert results["coreml", "unknown", 1][1].startswith("not an artifact that this version knows; it knows savedmodel")


@pytest.mark.slow
def test_tensorflow(exported: ExportResult, tmp_path: Path) -> None:
    report = bench(exported.directory, **QUICK, only=["savedmodel-v1"], output=tmp_path / "figures.json")
    assert found(report) == {("savedmodel", "savedmodel-v1", 1): (MEASURED, None)}
    assert report.results[0].import_s is not None
