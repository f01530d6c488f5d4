"""What the benchmarks of serving share: `expnet serve` on cores of its own, its processes, and the bare runtime there.

Linux only: which core a process runs on and what memory it has are read and set as Linux has them.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import cv2
import numpy as np

from expnet_tf.export import MANIFEST
from expnet_tf.export.runners import RUNNERS, Runner

NAME = "expnet"  # of the model in the repositories made here
_PAGE = os.sysconf("SC_PAGE_SIZE")
Outputs = dict[str, np.ndarray]


class Cores(NamedTuple):
    server: tuple[int, ...]
    generator: tuple[int, ...]

    def __str__(self) -> str:
        server, generator = (", ".join(map(str, half)) for half in self)
        apart = "" if set(self.server).isdisjoint(self.generator) else ": THE SAME, so figures are of both together"
        return f"server and bare runtime on core {server}, generator on core {generator}{apart}"


def split() -> Cores:
    """The cores that this process may use, in two halves; this process, the generator, then keeps to the second."""
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    made = Cores(tuple(cores[:half]), tuple(cores[half:] or cores))
    os.sched_setaffinity(0, made.generator)
    return made


@contextmanager
def pinned(cores: tuple[int, ...]) -> Iterator[None]:
    """Processes that are started in here keep to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def machine(cores: Cores) -> str:
    """One line on where figures are from."""
    return f"{os.cpu_count()} CPUs ({platform.machine()}), load {os.getloadavg()[0]:.1f}; {cores}"


def put(export: Path, file: str, base: Path, version: int = 1) -> Path:
    """Version `version` of the model in the repository `base`: the artifact `file` of an export, and its manifest."""
    folder = base / NAME / str(version)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = base / f".{version}"
    scratch.mkdir()
    for name in (file, MANIFEST):
        shutil.copy(export / name, scratch)
    scratch.rename(folder)
    return folder


def blobs(count: int, side: int) -> np.ndarray:
    """uint8 [count, side, side, 3]: smooth, all different, and to the network all different faces."""
    coarse = np.random.default_rng(0).uniform(0, 255, (count, 5, 5, 3))
    large = [cv2.resize(one, (side, side), interpolation=cv2.INTER_CUBIC) for one in coarse]
    return np.clip(np.stack(large), 0, 255).astype(np.uint8)


class Served:
    """`expnet serve` on a repository, a process on `cores`; a context that ends it with SIGTERM."""

    def __init__(self, repository: Path, cores: tuple[int, ...], *options: str) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  # closed by stop()
        words = ["serve", "--model-repository", str(repository), "--grpc-port", "0", "--rest-port", "0"]
        words += ["--log-level", "warning", *options]
        with pinned(cores):
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("expnet"), *words], stdout=subprocess.PIPE, stderr=self.log, text=True
            )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if "gRPC " not in said:
            self.process.wait()
            raise SystemExit(f"expnet {' '.join(words)} did not start: {said}{self._logged()}")
        self.address = said.split("gRPC ")[1].split(",")[0]
        self.url = said.split("REST ")[1].strip().rstrip(".")

    @property
    def pid(self) -> int:
        return self.process.pid

    def errors(self) -> list[str]:
        """Lines of the log that tell of something nobody foresaw."""
        return [line for line in self._logged().splitlines() if '"level": "error"' in line or "Traceback" in line]

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _logged(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.stop()
        self.log.close()


def processes(pid: int) -> list[int]:
    """A process that runs, and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            # After the name, in brackets of its own and perhaps with spaces: state, parent.
            state, parent = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has ended meanwhile
        if state != "Z":
            parents.setdefault(int(parent), []).append(int(entry))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def workers(pid: int) -> set[int]:
    """The server's workers: its children, less what Python's multiprocessing keeps for itself."""
    return {one for one in processes(pid)[1:] if b"resource_tracker" not in _read(f"/proc/{one}/cmdline")}


def resident(pid: int) -> float:
    """MB that the process and all below it have in memory; what they share counts as often as it is shared."""
    pages = (_read(f"/proc/{one}/statm").split() for one in processes(pid))
    return sum(int(words[1]) for words in pages if words) * _PAGE / 1e6


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


class Memory:
    """A context that looks at the memory of a server every second."""

    def __init__(self, pid: int) -> None:
        self.samples = [resident(pid)]  # MB
        self._pid, self._end = pid, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._end.wait(1):
            self.samples.append(resident(self._pid))

    def flat(self) -> bool:
        """Whether the last quarter of the time has what the second had, within a tenth and 20 MB."""
        quarter = len(self.samples) // 4
        if not quarter:
            return True
        second, last = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        return statistics.median(last) <= 1.1 * statistics.median(second) + 20

    def __str__(self) -> str:
        first, last = self.samples[0], self.samples[-1]
        told = "flat" if self.flat() else "GROWING"
        return f"{first:.0f} MB at the start, {last:.0f} at the end, {max(self.samples):.0f} at most: {told}"

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()


class Bare:
    """The bare runtime in a process on `cores`: one runner and one thread a core, as the server has workers."""

    def __init__(self, artifact: Path, cores: tuple[int, ...]) -> None:
        self.threads = len(cores)
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _load, (artifact, cores))
        self.runtime: str = self._pool.submit(_runtime).result()

    def outputs(self, images: np.ndarray) -> Outputs:
        return self._pool.submit(_outputs, images).result()

    def loop(self, images: np.ndarray, seconds: float) -> list[float]:
        """Seconds of every call with these images, by all threads."""
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


def _loop(images: np.ndarray, seconds: float) -> list[float]:
    times: list[float] = []

    def ask(runner: Runner) -> None:
        runner.run(images)
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            runner.run(images)
            times.append(time.perf_counter() - start)

    threads = [threading.Thread(target=ask, args=(runner,)) for runner in _runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times
