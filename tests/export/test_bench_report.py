"""The winners and the table, on numbers written by hand."""

import re

from expnet_tf.export.bench_report import COLUMNS, FAILED, MEASURED, NOT_RUN, Report, Run, Times, best, table


def made(artifact: str, runtime: str, threads: int, size: int, batches: dict[int, tuple[float, int]]) -> Run:
    """batches: {batch: (ms, MB)}."""
    precision = "int8" if "int8" in artifact else "float32"
    run = Run(artifact, runtime, threads, f"model.{artifact}", precision, size, "1.2", 0.1, 0.02, result=MEASURED)
    for batch, (ms, memory) in batches.items():
        run.batches[batch] = Times(0.01, ms / 1e3, memory * 1_000_000, 10, ms, 0.9 * ms, 0.05, ms, 1e3 * batch / ms)
    return run


RUNS = [
    made("onnx", "onnxruntime", 1, 4_000_000, {1: (0.6, 25), 8: (4.0, 30)}),
    made("onnx", "openvino", 1, 4_000_000, {1: (0.5, 50), 8: (3.0, 60)}),
    made("onnx", "openvino", 2, 4_000_000, {1: (0.3, 5), 8: (1.0, 6)}),  # two threads: only throughput is theirs
    made("tflite-int8", "litert", 1, 1_000_000, {1: (0.2, 12), 8: (1.6, 4)}),
    Run("tflite", "litert", 1, "model.tflite", "float32", 9, reason="model.tflite: missing."),
    Run("tensorrt", "tensorrt", 1, "model.plan", "float16", 9, result=NOT_RUN, reason="tensorrt needs a GPU."),
    Run("tensorrt", "tensorrt", 2, "model.plan", "float16", 9, result=NOT_RUN, reason="tensorrt needs a GPU."),
]


def report(runs: list[Run]) -> Report:
    about = {"cpu": "Abacus", "cores": 2, "load": 0.1}
    return Report(1, {"id": "toy-0.1"}, "", about, "", {}, runs, best(runs), False)


def test_best() -> None:
    winners = {w["use"]: (w["artifact"], w["runtime"], w["threads"], w["batch"], w["value"]) for w in best(RUNS)}
    assert winners == {
        "lowest latency": ("tflite-int8", "litert", 1, 1, 0.2),
        "lowest latency in float32": ("onnx", "openvino", 1, 1, 0.5),
        "highest throughput": ("onnx", "openvino", 2, 8, 8000.0),
        "least memory": ("tflite-int8", "litert", 1, 1, 12.0),
        "smallest file": ("tflite-int8", "litert", 1, 1, 1.0),
    }


def test_without_float32_or_without_anything() -> None:
    assert "lowest latency in float32" not in [winner["use"] for winner in best(RUNS[3:])]
    assert best(RUNS[4:]) == []
    assert table(report(RUNS[4:])).splitlines()[2:4] == [
        "tflite in litert: failed: model.tflite: missing.",
        "tensorrt in tensorrt: not run: tensorrt needs a GPU.",
    ]


def test_table() -> None:
    lines = table(report(RUNS)).splitlines()
    assert re.split(r"  +", lines[0]) == list(COLUMNS)
    assert set(lines[1]) == {"-", " "}
    cells = ["onnx", "onnxruntime", "1.2", "1", "8", "4.000", "3.600", "5%", "4.000", "2000", "0.10", "0.020", "0.010"]
    assert lines[3].split() == [*cells, "4.00", "30"]
    assert lines[10:12] == [
        "tflite in litert: failed: model.tflite: missing.",
        "tensorrt in tensorrt: not run: tensorrt needs a GPU.",
    ]
    assert lines[12] == "lowest latency: tflite-int8 in litert, threads 1, batch 1: 0.2 ms"
    assert lines[14] == "highest throughput: onnx in openvino, threads 2, batch 8: 8000 images/s"
    assert lines[-1] == "model toy-0.1, Abacus, 2 cores, load 0.1 at the start"
    assert len(lines) == 2 + 8 + 2 + 5 + 1
    assert FAILED in lines[10]
