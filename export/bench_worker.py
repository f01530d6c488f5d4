"""One artifact in one runtime in a process of its own: loads it, and takes times when told to; started by bench.py.

python -m expnet_tf.export.bench_worker CONNECTION RUNNER ARTIFACT THREADS INPUTS.npz

CONNECTION is the number of an open socket over which commands and answers go, as JSON.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.export.openvino_runner import OpenVinoRunner, import_openvino
from expnet_tf.export.runner import CannotRun
from expnet_tf.export.runners import RUNNERS

# What each runtime is imported as, so that its import is told apart from loading the artifact. The import of a runtime
# that is not in here counts as loading.
MODULES = {
    "keras": "keras",
    "savedmodel": "tensorflow",
    "savedmodel-v1": "tensorflow",
    "savedmodel-bytes": "tensorflow",
    "onnxruntime": "onnxruntime",
    "onnxruntime-cuda": "onnxruntime",
    "onnxruntime-tensorrt": "onnxruntime",
    "litert": "ai_edge_litert.interpreter",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
}

QUIET = 0.01  # s; a pool of threads that waits by spinning must be asleep before others are measured
RESTLESS = 0.5  # s after which we go on all the same


def main(connection: Connection, runner: str, artifact: Path, threads: int, inputs: Path) -> None:
    """Answer commands until the other side hangs up: {"do": "load"}, then "warm_up" and "measure" at a batch size.

    Each answer is what was measured, {"not_run": reason} or {"error": what the runtime said}.
    """
    with np.load(inputs, allow_pickle=False) as file:
        worker = Worker(file["image"])
    while True:
        try:
            command = json.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            match command:
                case {"do": "load"}:
                    answer = worker.load(runner, artifact, threads)
                case {"do": "warm_up", "batch": batch}:
                    answer = worker.warm_up(batch)
                case {"do": "measure", "batch": batch, "calls": calls}:
                    answer = worker.measure(batch, calls)
                case _:
                    raise ValueError(f"not a command: {command}")
        except CannotRun as error:
            answer = {"not_run": str(error)}
        except Exception as error:  # a runtime may raise anything
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
            answer = {"error": f"{type(error).__name__}: {lines[0][:300]}"}
        connection.send_bytes(json.dumps(answer).encode())


class Worker:
    """An artifact in its runtime, with images, uint8 [n, S, S, 3], to run on."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = images
        self._inputs: dict[int, list[np.ndarray]] = {}  # by batch size
        self._loaded: Any = None
        self._baseline = 0

    def load(self, runner: str, artifact: Path, threads: int) -> dict[str, Any]:
        """{"import_s" (None: not told apart), "load_s", "runtime_version"}."""
        start = time.perf_counter()
        imported = _import_runtime(runner)
        loading = time.perf_counter()
        _forget_peak()
        self._baseline = peak_memory()
        self._loaded = RUNNERS[runner](artifact, threads)
        return {
            "import_s": loading - start if imported else None,
            "load_s": time.perf_counter() - loading,
            "runtime_version": self._loaded.version,
        }

    def warm_up(self, batch: int) -> dict[str, Any]:
        """{"first_s": the first call, "warm_s": a later one, "memory_bytes": the peak above what the import took}."""
        count = len(self._images)
        self._inputs[batch] = [
            np.take(self._images, range(start, start + batch), axis=0, mode="wrap") for start in range(0, count, batch)
        ][:8]
        first = self._times(batch, 1)[0]
        warm = min(self._times(batch, 3))
        gc.collect()
        gc.freeze()  # TensorFlow leaves a million objects, and every collection would go through them
        _settle()
        return {"first_s": first, "warm_s": warm, "memory_bytes": max(0, peak_memory() - self._baseline)}

    def measure(self, batch: int, calls: int) -> dict[str, Any]:
        """{"seconds": of each call, "cpu_seconds": of all, every thread counted}."""
        self._times(batch, 1)  # what others did since has cooled the caches; a change of the batch size may allocate
        start = time.process_time()
        seconds = self._times(batch, calls)
        spent = time.process_time() - start
        _settle()
        return {"seconds": seconds, "cpu_seconds": spent}

    def _times(self, batch: int, calls: int) -> list[float]:
        run, clock, inputs = self._loaded.run, time.perf_counter, self._inputs[batch]
        seconds = []
        gc.disable()
        try:
            for number in range(calls):
                images = inputs[number % len(inputs)]
                start = clock()
                run(images)
                seconds.append(clock() - start)
        finally:
            gc.enable()
        return seconds


def _import_runtime(runner: str) -> bool:
    """Whether the runtime's import is known and done. Failing is left to the Runner, which says it better."""
    try:
        if runner == OpenVinoRunner.name:
            import_openvino()
        elif runner in MODULES:
            import_module(MODULES[runner])
        else:
            return False
    except (ImportError, CannotRun):
        return False
    return True


def _settle() -> None:
    """Wait until this process's threads sleep: ONNX Runtime's spin for some 30 ms after a call."""
    end = time.perf_counter() + RESTLESS
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(QUIET)
        if time.process_time() - before < QUIET / 10:
            return


def peak_memory() -> int:
    """The most memory that this process has had resident, bytes."""
    try:
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere


def _forget_peak() -> None:
    """Begin the peak anew, where the system can: an import may have needed more for a moment."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
