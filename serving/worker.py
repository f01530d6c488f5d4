"""A worker: a process that holds one network and answers batches, until the server lets go of it.

    python -m expnet_tf.serving.worker version|keras PATH --board N --max-batch N

The server starts it, and speaks to it over standard input and output. First the worker says in a line of JSON what it
loaded, or `error`. Then it reads the number of images on the board (4 bytes, little endian), runs the network, writes
the answers to the board, and says so: 4 bytes, the length of an error message that follows; 0 where all is well. The
end of standard input is the end of the worker, so none survives its server; on Linux not even one that is stuck.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from expnet_tf.quiet import quiet
from expnet_tf.serving.board import Board
from expnet_tf.serving.loaded import LoadedModel, load_keras, load_version

_LONGEST = 2000  # characters of an error: it may quote a file, and the server reads a line of at most 64 KiB

LOADERS: dict[str, Callable[[Path, int], LoadedModel]] = {"version": load_version, "keras": load_keras}


def program(kind: str, path: Path) -> list[str]:
    """The words that start a worker: of a version's folder ("version") or of a .keras file ("keras")."""
    return [sys.executable, "-m", "expnet_tf.serving.worker", kind, str(path)]


def work(load: Callable[[], LoadedModel], board: int, max_batch: int) -> None:
    """Load, then answer batches; `board` is the descriptor of the memory shared with the server."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the server says when
        signal.signal(number, signal.SIG_IGN)
    _die_with_the_server()
    # A network a core: TensorFlow must not start as many threads as there are cores in each of them.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    # The way to the server is ours alone: what a library prints goes to standard error.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    try:
        with quiet():
            model = load()
    except Exception as error:  # a runtime may raise anything
        reason = (str(error).strip().splitlines() or [""])[0]
        _say(answers, {"error": f"{type(error).__name__}: {reason[:_LONGEST]}"})
        return
    contract = model.contract
    shared = Board(board, contract, max_batch)
    outputs = dict(contract.outputs)
    _say(answers, {**vars(contract), "outputs": outputs, "runtime": model.runtime})
    requests = os.fdopen(0, "rb")
    while len(head := requests.read(4)) == 4:
        message = b""
        try:
            shared.write(model.run(shared.images[: int.from_bytes(head, "little")]))
        except Exception as error:
            message = f"{type(error).__name__}: {error}"[:_LONGEST].encode(errors="replace")
        answers.write(len(message).to_bytes(4, "little") + message)


def _die_with_the_server() -> None:
    """A worker that is stuck does not see the end of its input; Linux can end it all the same."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: when the thread that started it ends


def _say(answers: BinaryIO, facts: dict[str, object]) -> None:
    answers.write(json.dumps(facts).encode() + b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="expnet_tf.serving.worker")
    parser.add_argument("kind", choices=LOADERS)
    parser.add_argument("path", type=Path)
    parser.add_argument("--board", type=int, required=True)
    parser.add_argument("--max-batch", type=int, required=True)
    options = parser.parse_args()
    with suppress(BrokenPipeError):  # the server is gone
        work(lambda: LOADERS[options.kind](options.path, options.max_batch), options.board, options.max_batch)


if __name__ == "__main__":
    main()
