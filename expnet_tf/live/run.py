"""`expnet live` from its first frame to its last: one thread reads, one looks, the event loop serves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from expnet_tf.live.message import message
from expnet_tf.live.reading import Slot, read
from expnet_tf.live.server import Server
from expnet_tf.live.vmc import VMC
from expnet_tf.live.watching import Watcher
from expnet_tf.video.reader import Dropped, Source

_LATENCIES = 10_000  # of the last frames
_END = 2.0  # s that a thread may take to end; a camera that hangs is left alone


@dataclass(frozen=True)
class Manner:
    """How frames are taken."""

    paced: bool = True  # a clip at its own rate; else as fast as it can be read
    patient: bool = False  # every frame is looked at; else the newest
    loop: bool = False  # a clip begins anew when it has ended


@dataclass
class Summary:
    """What became of it."""

    frames: int = 0  # looked at
    missed: int = 0  # too late for them
    people: int = 0
    lost: int = 0  # that could not be read
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))  # s, arrival to message

    def latency(self) -> tuple[float, float] | None:
        """Median and 95th percentile, ms."""
        if len(self.latencies) < 2:
            return None
        return 1000 * statistics.median(self.latencies), 1000 * statistics.quantiles(self.latencies, n=20)[-1]


async def live(
    source: Source,
    watcher: Watcher,
    server: Server,
    listening: socket.socket,
    manner: Manner,
    begin: threading.Event,
    vmc: VMC | None = None,
    report: Callable[[str], None] = lambda text: None,
    started: Callable[[], None] = lambda: None,
    close: Callable[[], None] = lambda: None,
) -> Summary:
    """Serve until the source ends, or SIGTERM or SIGINT.

    Args:
        listening: see server.bound.
        begin: the source is not read before it is set.
        report: gets a sentence for frames that are not there.
        started: called when clients can come.
        close: called at the end by the thread that reads, and not while a camera hangs in a read.

    Raises ModelError, ImageError.
    """
    loop, stop, told = asyncio.get_running_loop(), threading.Event(), asyncio.Event()
    slot, summary = Slot(), Summary()

    def lost(gap: Dropped) -> None:
        summary.lost += gap.count
        report(f"frame {gap.index}: {gap.count} missing, {gap.reason}.")

    def take() -> None:
        try:
            read(source, slot, stop, begin, manner.paced, manner.patient, manner.loop, lost)
        finally:
            close()

    def look() -> None:
        while not stop.is_set() and (shot := slot.take()) is not None:
            frame = shot.frame
            table = watcher.faces(frame)
            size = frame.image.shape[1], frame.image.shape[0]
            latency = time.monotonic() - shot.arrived
            said = message(frame.index, frame.time, size, table, watcher.face_model, latency)
            if vmc is not None:
                vmc.send(said)
            loop.call_soon_threadsafe(server.messages.publish, json.dumps(said, allow_nan=False))
            summary.frames += 1
            summary.latencies.append(latency)
            if server.watched:
                loop.call_soon_threadsafe(server.pictures.publish, watcher.picture(frame.image, table))

    await server.start(listening)
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C is a KeyboardInterrupt there
            loop.add_signal_handler(number, told.set)
    started()
    reading = _thread(loop, take)
    looking = _thread(loop, look)
    waiting = asyncio.ensure_future(told.wait())
    either: set[asyncio.Future] = {looking, waiting}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        slot.close()
        waiting.cancel()
        await asyncio.wait({reading, looking}, timeout=_END)
        await server.stop()
    summary.missed, summary.people = slot.missed, watcher.people
    for work in (reading, looking):
        if work.done():
            work.result()
    return summary


def _thread(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> asyncio.Future[None]:
    """Runs `work` in a thread that the process does not wait for when it ends."""
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop was not kept waiting
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, daemon=True).start()
    return done
