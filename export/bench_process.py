"""The near end of bench_worker.py: starts the process, asks, and says in one sentence what went wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

from expnet_tf.evaluate.runtime import environment
from expnet_tf.export import ExportError
from expnet_tf.export.runner import CannotRun
from expnet_tf.quiet import NOISE

PATIENCE = 300  # s that an answer may take: building an engine takes a minute


class Process:
    """A process that holds one artifact in one runtime; a context that ends it."""

    def __init__(self, runner: str, artifact: Path, threads: int, inputs: Path) -> None:
        self._connection, theirs = Pipe()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        words = [theirs.fileno(), runner, artifact.resolve(), threads, inputs.resolve()]
        # -P: a folder that somebody happens to stand in is no place to import from.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "expnet_tf.export.bench_worker", *map(str, words)],
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **environment(threads)},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
        )
        theirs.close()

    def ask(self, do: str, **facts: Any) -> dict[str, Any]:
        """The answer to a command. Raises CannotRun, or ExportError where the artifact or the process fails."""
        try:
            self._connection.send_bytes(json.dumps({"do": do, **facts}).encode())
            if not self._connection.poll(PATIENCE):
                self._process.kill()
                raise ExportError(f"{do}: no answer within {PATIENCE} s.")
            answer: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, ConnectionError):
            raise ExportError(f"{do}: {self._end()}") from None
        if "not_run" in answer:
            raise CannotRun(answer["not_run"])
        if "error" in answer:
            raise ExportError(answer["error"])
        return answer

    def _end(self) -> str:
        """How the process ended, and the last line that it left."""
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._said.seek(0)
        lines = [line.decode(errors="replace").strip() for line in self._said if line.strip() and not NOISE.match(line)]
        return f"the process ended with {how}" + (f": {lines[-1][:300]}" if lines else ".")

    def close(self) -> None:
        """End the process: it leaves by itself when the connection closes, unless it hangs."""
        self._connection.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
