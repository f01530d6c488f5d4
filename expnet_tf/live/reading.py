"""Frames as they happen: a camera's when they arrive, a clip's when they are due; the newest alone is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from expnet_tf.video.reader import Dropped, Frame, Source


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame and when it arrived."""

    frame: Frame
    arrived: float  # s, of time.monotonic


class Slot:
    """Room for one frame, between the thread that reads and the one that looks."""

    def __init__(self) -> None:
        self.missed = 0  # frames that were replaced before anybody looked
        self._shot: Shot | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, shot: Shot, patient: bool) -> None:
        """patient: waits until the frame before was taken; else that one is dropped."""
        with self._changed:
            if patient:
                self._changed.wait_for(lambda: self._shot is None or self._closed)
            self.missed += self._shot is not None
            self._shot = shot
            self._changed.notify_all()

    def take(self) -> Shot | None:
        """The newest frame, when there is one; None: no more come."""
        with self._changed:
            self._changed.wait_for(lambda: self._shot is not None or self._closed)
            shot, self._shot = self._shot, None
            self._changed.notify_all()
            return shot

    def close(self) -> None:
        """Nothing more is put; a frame that is there can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def read(
    source: Source,
    slot: Slot,
    stop: threading.Event,
    begin: threading.Event,
    paced: bool,
    patient: bool,
    loop: bool,
    report: Callable[[Dropped], None],
) -> None:
    """Frames into the slot until the source ends or `stop` is set; closes the slot.

    Args:
        begin: nothing is read before it is set.
        paced: each frame waits until it is due (a clip at its own rate); a camera paces itself.
        patient: no frame is left out.
        loop: the source begins anew when it has ended.
    """
    try:
        while not begin.wait(0.05):
            if stop.is_set():
                return
        start = time.monotonic()
        for item in _round(source, loop):
            if stop.is_set():
                return
            if isinstance(item, Dropped):
                report(item)
                continue
            if paced and stop.wait(max(0.0, start + item.time - time.monotonic())):
                return
            slot.put(Shot(item, time.monotonic()), patient)
    finally:
        slot.close()


def _round(source: Source, loop: bool) -> Iterator[Frame | Dropped]:
    """The frames, and with `loop` again and again, numbers and times going on; what is missing is told once."""
    index, begun, first = 0, 0.0, True
    while True:
        end, last = index, begun - 1 / source.facts.rate
        for item in source.frames():
            if isinstance(item, Frame):
                item = replace(item, index=item.index + index, time=item.time + begun)
                end, last = item.index + 1, item.time
                yield item
            elif first:
                yield item
        if not loop:
            return
        index, begun, first = end, last + 1 / source.facts.rate, False
