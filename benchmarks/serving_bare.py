"""The bare runtime that serving is measured beside, in a process of its own on the server's cores."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np

from expnet_tf.export.runners import RUNNERS, Runner

Outputs = dict[str, np.ndarray]


class Bare:
    """The bare runtime in a process on `cores`: one runner and one thread a core, as the server has workers."""

    def __init__(self, artifact: Path, cores: tuple[int, ...]) -> None:
        self.threads = len(cores)
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _load, (artifact, cores))
        self.runtime: str = self._pool.submit(_runtime).result()

    def outputs(self, images: np.ndarray) -> Outputs:
        return self._pool.submit(_outputs, images).result()

    def loop(self, images: np.ndarray, seconds: float) -> tuple[list[float], float]:
        """Seconds of every call with these images, by all threads; and seconds of CPU, all together."""
        return self._pool.submit(_loop, images, seconds).result()

    def __enter__(self) -> Bare:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()


_runners: list[Runner] = []  # of the process of a Bare


def _load(artifact: Path, cores: tuple[int, ...]) -> None:
    os.sched_setaffinity(0, cores)
    kind = {".onnx": "onnxruntime", ".tflite": "litert"}[artifact.suffix]
    _runners.extend(RUNNERS[kind](artifact) for _ in cores)


def _runtime() -> str:
    return f"{_runners[0].name} {_runners[0].version}"


def _outputs(images: np.ndarray) -> Outputs:
    return _runners[0].run(images)


def _loop(images: np.ndarray, seconds: float) -> tuple[list[float], float]:
    times: list[float] = []

    def ask(runner: Runner) -> None:
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            runner.run(images)
            times.append(time.perf_counter() - start)

    for runner in _runners:
        runner.run(images)
    before = time.process_time()
    threads = [threading.Thread(target=ask, args=(runner,)) for runner in _runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, time.process_time() - before
