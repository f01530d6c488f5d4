"""Clips with emotion labels, and how their images are read: photos, folders of frames and videos are all clips."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from expnet_tf.image import MAX_BYTES, ImageError, decode_image
from expnet_tf.inputs import SUFFIXES

VIDEOS = (".avi", ".mp4", ".mov", ".mkv", ".webm")


class DataError(ValueError):
    """Data that cannot be evaluated: one sentence that names the file or folder."""


@dataclass(frozen=True)
class Frame:
    """A photo, or a video whose every frame counts."""

    path: Path
    box: tuple[float, float, float, float] | None  # x, y, w, h in px of the photo after EXIF rotation
    key: str = ""  # its path below the data folder, with /: what a file of codes calls it


@dataclass(frozen=True)
class Clip:
    """What gets one label: a photo, a sequence of frames or a video."""

    key: str  # unique in the data set
    label: str
    subject: str | None  # None: not known
    frames: tuple[Frame, ...]
    age: float | None = None  # years


@dataclass(frozen=True)
class Dataset:
    """Labelled clips, in the order of their keys."""

    kind: str  # "CK+", "AFEW", "folder" or "CSV"
    path: Path
    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()  # what was left out and why, a sentence each

    @property
    def subjects_known(self) -> bool:
        """Whether every clip says who is in it."""
        return all(clip.subject is not None for clip in self.clips)

    @property
    def labels(self) -> np.ndarray:
        """int [clips] into `classes`."""
        return np.array([self.classes.index(clip.label) for clip in self.clips], int)

    @property
    def people(self) -> np.ndarray:
        """int [clips]: clips with the same number show the same person; all different where that is not known."""
        if not self.subjects_known:
            return np.arange(len(self.clips))
        return np.unique([str(clip.subject) for clip in self.clips], return_inverse=True)[1]


class Ref(NamedTuple):
    """Names an image, without its pixels."""

    key: str  # as Frame.key; of a video FRAME_KEY#0, FRAME_KEY#1, ...
    digest: str  # sha256 of the file's bytes; of a video with the frame's number
    box: tuple[float, float, float, float] | None  # as Frame.box


class Shot(NamedTuple):
    """An image to be coded."""

    ref: Ref
    read: Callable[[], np.ndarray]  # uint8 RGB [H, W, 3]; raises ImageError in one sentence


def is_photo(path: str | os.PathLike[str]) -> bool:
    return os.fspath(path).lower().endswith(SUFFIXES)


def is_video(path: str | os.PathLike[str]) -> bool:
    return os.fspath(path).lower().endswith(VIDEOS)


def shots(frame: Frame) -> Iterator[Shot]:
    """The images of a frame: one, or all those of a video. Raises ImageError where the file cannot be read."""
    try:
        if not frame.path.is_file():
            raise ImageError(f"{frame.path} does not exist; a photo or a video is expected.")
        if is_video(frame.path):
            yield from _video(frame)
            return
        size = frame.path.stat().st_size
        if size > MAX_BYTES:
            raise ImageError(f"{frame.path} has {size:,} bytes; at most {MAX_BYTES:,} are read.")
        data = frame.path.read_bytes()
    except OSError as error:
        raise ImageError(f"{frame.path} cannot be read ({error.strerror or error}).") from error
    digest = hashlib.sha256(data).hexdigest()
    yield Shot(Ref(frame.key, digest, frame.box), lambda: decode_image(data, str(frame.path)))


def _video(frame: Frame) -> Iterator[Shot]:
    import cv2

    with frame.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    capture = cv2.VideoCapture(str(frame.path))
    number = 0
    try:
        while True:
            there, image = capture.read()
            if not there:
                break
            rgb = np.ascontiguousarray(image[..., ::-1])
            ref = Ref(f"{frame.key}#{number}", f"{digest}#{number}", frame.box)
            yield Shot(ref, lambda rgb=rgb: rgb)  # type: ignore[misc]
            number += 1
    finally:
        capture.release()
    if not number:
        raise ImageError(f"{frame.path} is not a video that can be decoded.")
