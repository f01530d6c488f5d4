"""Encoded photos to face crops, at the edge: image.py's definition of the pixels, row by row, off the event loop."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from grpc import StatusCode  # type: ignore[import-untyped]
from PIL import Image

from expnet_tf.detect import BlazeFace, Detection, Detector
from expnet_tf.image import FORMATS, ImageError, _quiet, crop, decode_image
from expnet_tf.serving.signatures import Contract


class RowError(Exception):
    """A photo that cannot be used; the rows beside it can."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Row(NamedTuple):
    """What became of one photo: its crop uint8 [S, S, 3] and box (x, y, w, h) in px, or why there is none."""

    crop: np.ndarray | None
    box: Sequence[float] | None
    error: RowError | None


class Edge:
    """Decodes, detects and crops in the threads of `executor`."""

    def __init__(self, executor: Executor, max_pixels: int, detector: Detector | None = None) -> None:
        """`detector`: for photos without a box; None: BlazeFace, one a thread, made when it is first needed."""
        self._executor, self._max_pixels, self._detector = executor, max_pixels, detector
        self._own = threading.local()

    async def rows(self, photos: Sequence[bytes], boxes: Sequence[Sequence[float]] | None, to: Contract) -> list[Row]:
        """Every photo as a Row; boxes float [n, 4] px, a row of NaN (or None for all) asks for the largest face."""
        loop = asyncio.get_running_loop()
        given = boxes if boxes is not None else [None] * len(photos)
        tasks = [
            loop.run_in_executor(self._executor, self._row, number, photo, box, to)
            for number, (photo, box) in enumerate(zip(photos, given, strict=True))
        ]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()  # what is not begun yet need not be
            raise

    def _row(self, number: int, photo: bytes, box: Sequence[float] | None, to: Contract) -> Row:
        assert to.crop_factor is not None
        name = f"row {number}"
        try:
            self._check_pixels(photo, name)
            image = decode_image(photo, name)
            if box is None or np.isnan(box).all():
                faces = self._find(image)
                if not faces:
                    raise ImageError(f"{name} shows no face that the detector finds; send a box.")
                box = faces[0].box
            return Row(_crop(image, box, to, name), box, None)
        except RowError as error:
            return Row(None, None, error)
        except ImageError as error:
            return Row(None, None, RowError(StatusCode.INVALID_ARGUMENT, str(error)))

    def _check_pixels(self, photo: bytes, name: str) -> None:
        """Raises RowError where the header says more pixels than this server takes."""
        try:
            with _quiet(), Image.open(io.BytesIO(photo), formats=FORMATS) as header:
                width, height = header.size
        except Exception:
            return  # decode_image says what is wrong with it
        if width * height > self._max_pixels:
            raise RowError(
                StatusCode.RESOURCE_EXHAUSTED, f"{name} has {width}x{height} px; at most {self._max_pixels:,} are read."
            )

    def _find(self, image: np.ndarray) -> list[Detection]:
        if self._detector is not None:
            return self._detector.detect(image)
        if not hasattr(self._own, "detector"):
            self._own.detector = BlazeFace()  # one a thread: calls of the same one wait for each other
        detector: Detector = self._own.detector
        return detector.detect(image)


def _crop(image: np.ndarray, box: Sequence[float], to: Contract, name: str) -> np.ndarray:
    assert to.crop_factor is not None
    try:
        return crop(image, box, to.size, to.crop_factor)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
