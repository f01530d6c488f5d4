"""What the benchmarks of serving share: `expnet serve` on cores of its own, and what its processes take.

Linux only: which core a process runs on and what memory it has are read and set as Linux has them.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from expnet_tf.export import MANIFEST

NAME = "expnet"  # of the model in the repositories made here
_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


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


def cpu(pid: int) -> float:
    """Seconds of CPU that the process and all that are now below it have used, to 10 ms."""
    texts = (_read(f"/proc/{one}/stat").rpartition(b")")[2].split() for one in processes(pid))
    return sum(int(words[11]) + int(words[12]) for words in texts if words) / _TICKS


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
