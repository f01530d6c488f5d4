"""Workers of one model: as many processes as asked for; one that dies is started again.

A process each, and no threads, because a runtime that crashes takes its process with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from grpc import StatusCode  # type: ignore[import-untyped]

from expnet_tf.serving.board import Board, open_board
from expnet_tf.serving.errors import ServingError
from expnet_tf.serving.signatures import Contract, Outputs

log = logging.getLogger("expnet.serve.workers")

STUCK = 60.0  # s for one batch: the slowest network and the largest batch take a few; then the worker is killed
LOADING = 300.0  # s until a worker is ready: TensorFlow from a slow disk takes a minute; then it is killed
_GLANCE = 0.25  # s between looks at whether there is anything to wait for
_LONGEST_PAUSE = 30.0  # s between attempts to start a worker that cannot be started


class WorkerError(Exception):
    """A worker that did not start: one sentence, the type of the error first."""


class WorkerLost(WorkerError):
    """It never said why: killed, stuck, or there was no process for it. The next one may be luckier."""


class WorkerGone(Exception):
    """A worker that died before it answered."""


class Worker:
    """One process, as the server sees it."""

    def __init__(self, process: Process, board: Board, contract: Contract, runtime: str) -> None:
        self.process, self._board, self.contract, self.runtime = process, board, contract, runtime
        self.answered = 0  # batches
        self._gone = False  # its pipe is closed; that the process has ended is known a little later

    @classmethod
    async def start(cls, program: Sequence[str], max_batch: int) -> Worker:
        """Start, and wait until the network is loaded and warmed up. Raises WorkerError."""
        try:
            async with asyncio.timeout(LOADING):
                return await cls._start(program, max_batch)
        except TimeoutError:
            raise WorkerLost(f"TimeoutError: the worker was not ready within {LOADING:g} s.") from None
        except OSError as error:  # no descriptors, processes or memory left
            raise WorkerLost(f"{type(error).__name__}: {error.strerror or error}; no worker can be started.") from error

    @classmethod
    async def _start(cls, program: Sequence[str], max_batch: int) -> Worker:
        descriptor = open_board()
        try:
            words = (*program, "--board", str(descriptor), "--max-batch", str(max_batch))
            process = await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE, pass_fds=(descriptor,))
            try:
                assert process.stdout is not None
                line = await process.stdout.readline()
                if not line.endswith(b"\n"):
                    code = await process.wait()
                    raise WorkerLost(f"RuntimeError: the worker ended with {code} before it was ready.")
                said = json.loads(line)
                if "error" in said:
                    raise WorkerError(said["error"])
                runtime = said.pop("runtime")
                contract = Contract(**said)
                return cls(process, Board(descriptor, contract, max_batch), contract, runtime)
            # What a library prints before the worker sees to it that none does.
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                await _end(process, 0.0)
                raise WorkerError(f"RuntimeError: the worker's first line is not its own: {error!r}.") from error
            except BaseException:
                await _end(process, 0.0)
                raise
        finally:
            os.close(descriptor)

    @property
    def alive(self) -> bool:
        return not self._gone and self.process.returncode is None

    async def run(self, images: np.ndarray) -> Outputs:
        """uint8 [B, S, S, 3] -> {head: float32 [B, width]}.

        Raises WorkerGone; ServingError (UNAVAILABLE) of a worker that was stuck, and is killed; RuntimeError with
        what the network raised.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._board.images[: len(images)] = images
        try:
            async with asyncio.timeout(STUCK):
                self.process.stdin.write(len(images).to_bytes(4, "little"))
                length = int.from_bytes(await self.process.stdout.readexactly(4), "little")
                message = await self.process.stdout.readexactly(length)
        except TimeoutError:
            self._gone = True
            self.process.kill()
            reason = f"The network did not answer within {STUCK:g} s and was started again."
            raise ServingError(StatusCode.UNAVAILABLE, reason) from None
        except (asyncio.IncompleteReadError, OSError):
            self._gone = True
            raise WorkerGone from None
        self.answered += 1
        if message:
            raise RuntimeError(message.decode())
        return self._board.read(len(images))

    async def close(self) -> None:
        await _end(self.process)


async def _end(process: Process, patience: float = 2.0) -> None:
    """Let go of a process; kill it where it does not leave by itself within `patience` s."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Workers:
    """The processes of one model. To be started, used and closed in one event loop."""

    def __init__(self, program: Sequence[str], count: int, max_batch: int, first: Worker) -> None:
        self._program, self._max_batch, self.count = program, max_batch, count
        self.contract, self.runtime = first.contract, first.runtime
        self.restarts = 0
        self._working = {first}
        self._unstartable = False
        self._idle: asyncio.LifoQueue[Worker] = asyncio.LifoQueue()  # the last one used has warm caches
        self._tried = [asyncio.Event() for _ in range(count)]
        mine: list[Worker | None] = [first, *[None] * (count - 1)]
        self._keepers = [asyncio.create_task(self._keep(*pair)) for pair in zip(mine, self._tried, strict=True)]

    @classmethod
    async def start(cls, program: Sequence[str], count: int, max_batch: int) -> Workers:
        """Start them; returns when the first one is ready. Raises WorkerError of the first one.

        Args:
            program: words that start a worker; worker.program makes them.
        """
        return cls(program, count, max_batch, await Worker.start(program, max_batch))

    async def complete(self) -> None:
        """Wait until all are ready, or have failed once."""
        for tried in self._tried:
            await tried.wait()

    @property
    def ready(self) -> int:
        """How many live, with the network loaded."""
        return len(self._working)

    @property
    def pids(self) -> list[int]:
        return [worker.process.pid for worker in self._working]

    async def run(self, images: np.ndarray) -> Outputs:
        """uint8 [B, S, S, 3], B at most the largest batch -> {head: float32 [B, width]}; `count` at a time.

        A batch whose worker dies goes to another one, once: a batch that kills must not kill them all.
        Raises ServingError (UNAVAILABLE), or RuntimeError with what the network raised.
        """
        for _ in range(2):
            worker = await self._take()
            try:
                return await worker.run(images)
            except WorkerGone:
                log.warning("a worker died at work", extra={"pid": worker.process.pid, "images": len(images)})
            finally:
                if worker.alive:
                    self._idle.put_nowait(worker)
        raise ServingError(StatusCode.UNAVAILABLE, "The network's process died twice on this batch; try again.")

    async def _take(self) -> Worker:
        """Raises ServingError (UNAVAILABLE) where none lives and the last attempt to start one failed."""
        while True:
            if self._unstartable and not self._working:
                reason = "No process of this model lives, and none can be started; try again."
                raise ServingError(StatusCode.UNAVAILABLE, reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(_GLANCE if self._idle.empty() else None):
                    worker = await self._idle.get()
                if worker.alive:
                    return worker

    def _forget_dead(self) -> None:
        """Those that died idle: below living ones nobody would take them, nor free their boards."""
        idle = [self._idle.get_nowait() for _ in range(self._idle.qsize())]
        for worker in reversed(idle):
            if worker.alive:
                self._idle.put_nowait(worker)

    async def close(self) -> None:
        """End all; nothing must be running any more."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(worker.close() for worker in self._working))
        self._working.clear()

    async def _keep(self, worker: Worker | None, tried: asyncio.Event) -> None:
        """See to it that there is a worker, for as long as the model is served."""
        pause = 0.0
        while True:
            try:
                worker = worker or await self._another()
            except WorkerError as error:
                self._unstartable = True
                log.error("a worker cannot be started", extra={"error": str(error)})
            else:
                self._unstartable = False
                self._working.add(worker)
                self._idle.put_nowait(worker)
                tried.set()
                code = await worker.process.wait()
                self._working.discard(worker)
                self._forget_dead()
                self.restarts += 1
                log.error("a worker died, and is started again", extra={"pid": worker.process.pid, "exit": code})
                pause, worker = 0.0 if worker.answered else pause, None
            tried.set()
            # At once the first time; one that cannot live must not take all the CPU.
            await asyncio.sleep(pause)
            pause = min(2 * pause + 0.5, _LONGEST_PAUSE)

    async def _another(self) -> Worker:
        worker = await Worker.start(self._program, self._max_batch)
        if worker.contract != self.contract:
            await worker.close()
            raise WorkerError(f"RuntimeError: it has become another model, {worker.contract}.")
        return worker
