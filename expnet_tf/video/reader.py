"""Frames of a video file or a camera, upright, in RGB, with the time at which each is shown.

OpenCV alone reads: its wheels bring FFmpeg under the LGPL, apply a phone's rotation, and give every frame's own time,
also where the frame rate varies. A packet that cannot be decoded is told; one that the decoder patches up (its error
concealment) is not, and comes as a frame with a flaw.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from expnet_tf.image import MAX_PIXELS
from expnet_tf.video.container import ACCEPTED, cut_off, reason

# FFmpeg's own lines on standard error: what is wrong is told here, once. OpenCV reads this with its first film.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

# Refused packets in a row after which the file is taken to have ended: the decoder does not tell the two apart.
MAX_REFUSED = 250
MAX_SILENT = 10  # pictures in a row that a camera may fail to give
DEFAULT_RATE = 30.0  # frames/s, where the file says none or nonsense
_RATES = 1.0, 1000.0


class VideoError(ValueError):
    """A video or camera that cannot be used: one sentence that names it."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture."""

    index: int  # from 0, dropped frames counted
    time: float  # s since the first frame
    image: np.ndarray  # uint8 RGB [H, W, 3], upright


@dataclass(frozen=True)
class Dropped:
    """Frames that are not there."""

    index: int  # of the first; near it where the file stores frames out of order
    count: int
    reason: str


@dataclass(frozen=True)
class Facts:
    """What a source says of itself."""

    name: str
    width: int  # px, upright
    height: int
    rate: float  # frames/s, the average
    frames: int | None  # None: not known
    rotation: int  # degrees by which frames are turned, 0 for none


class Source(Protocol):
    """Where frames come from."""

    facts: Facts

    def frames(self, start: int = 0) -> Iterator[Frame | Dropped]:
        """The frames from index `start` on."""
        ...


class VideoFile:
    """A video file; each call of `frames` reads it anew, in constant memory."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises VideoError where the path is no file, or holds no video that can be decoded."""
        self.path = Path(path)
        if not self.path.is_file():
            kind = "is a folder" if self.path.is_dir() else "is no plain file"
            raise VideoError(f"{self.path} {kind if self.path.exists() else 'does not exist'}; {ACCEPTED}.")
        capture = self._open()
        try:
            if not _grab(capture):
                raise VideoError(f"{self.path} holds no frame that can be decoded; {ACCEPTED}.")
            # From a frame: the header's numbers may be those before the rotation.
            shown, image = capture.retrieve()
            if not shown:
                raise VideoError(f"{self.path} holds no frame that can be decoded; {ACCEPTED}.")
            height, width = image.shape[:2]
            if height * width > MAX_PIXELS:
                raise VideoError(f"{self.path} is {width}x{height} px; at most {MAX_PIXELS:,} px a frame are read.")
            count = int(max(0, min(capture.get(cv2.CAP_PROP_FRAME_COUNT), 2**53)))
            rate = capture.get(cv2.CAP_PROP_FPS)
            rotation = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        finally:
            capture.release()
        rate = rate if math.isfinite(rate) and _RATES[0] <= rate <= _RATES[1] else DEFAULT_RATE
        self.facts = Facts(self.path.name, width, height, rate, count or None, rotation)

    def frames(self, start: int = 0) -> Iterator[Frame | Dropped]:
        """Those before `start` are decoded, which their successors need, but not handed out."""
        capture = self._open()
        index, refused, last, first = 0, 0, -math.inf, math.nan
        try:
            while refused < MAX_REFUSED:
                if not capture.grab():
                    refused += 1
                    continue
                if refused:
                    if index >= start:
                        yield Dropped(index, refused, "could not be decoded")
                    index, refused = index + refused, 0
                at = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                first = at if math.isnan(first) else first
                # Streams without times, and damaged ones: a time must grow.
                shown_at = at - first if math.isfinite(at) and at - first > last else last + 1 / self.facts.rate
                last = max(0.0, shown_at)
                if index >= start:
                    shown, image = capture.retrieve()
                    if shown:
                        yield Frame(index, last, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
                    else:
                        yield Dropped(index, 1, "could not be converted")
                index += 1
            missing = (self.facts.frames or 0) - index
            if missing > 0 and self._cut_off(missing, index):
                yield Dropped(max(index, start), missing, f"not in the file, which says it has {self.facts.frames}")
        finally:
            capture.release()

    def _cut_off(self, missing: int, index: int) -> bool:
        """Whether frames that the file counts are missing because its end is."""
        cut = cut_off(self.path)
        # MP4: or else somebody trimmed the film, and its player shows no more. Others state a duration, from which
        # the number of frames is worked out: not exact.
        return cut if cut is not None else missing > 2 + index // 50

    def _open(self) -> cv2.VideoCapture:
        with _silent():
            # One thread: FFmpeg's frame threads hold as many frames as there are cores.
            capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not capture.isOpened():
            raise VideoError(reason(self.path))
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        return capture


class Camera:
    """A camera by its number, for `seconds` or until it is closed."""

    def __init__(self, number: int, seconds: float | None = None) -> None:
        """Raises VideoError where there is no such camera, or it gives no picture."""
        self.seconds = seconds
        with _silent():
            self._capture = cv2.VideoCapture(number)
            shown, image = self._capture.read() if self._capture.isOpened() else (False, None)
        if not shown or image is None:
            self._capture.release()
            raise VideoError(f"camera {number} is not there, in use, or gives no picture; cameras count from 0.")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        rate = rate if math.isfinite(rate) and _RATES[0] <= rate <= _RATES[1] else DEFAULT_RATE
        expected = round(rate * seconds) if seconds else None
        self.facts = Facts(f"camera {number}", image.shape[1], image.shape[0], rate, expected, 0)

    def frames(self, start: int = 0) -> Iterator[Frame | Dropped]:
        """Frames as they come, from `start` on; the time is when each arrived. Ends when the camera is unplugged."""
        began, index, refused = time.monotonic(), start, 0
        while self.seconds is None or time.monotonic() - began < self.seconds:
            with _silent():
                shown, image = self._capture.read()
            if shown:
                yield Frame(index, time.monotonic() - began, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
                index, refused = index + 1, 0
            else:
                # Not counted: the recording of the camera has no place for it.
                yield Dropped(index, 1, "the camera gave no picture")
                refused += 1
                if refused == MAX_SILENT:
                    return

    def close(self) -> None:
        """Gives the camera back."""
        self._capture.release()


def _grab(capture: cv2.VideoCapture) -> bool:
    return any(capture.grab() for _ in range(MAX_REFUSED))


@contextmanager
def _silent() -> Iterator[None]:
    """OpenCV's warnings off: that a file cannot be opened is said in our own words."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
