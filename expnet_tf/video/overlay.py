"""The predicted meshes over the film, fast enough to keep up with it.

A face is drawn at PATCH px whatever its size in the picture, and then enlarged: the mesh has no detail beyond that.
OpenCV's wheels bring no H.264 encoder. MP4 is therefore MPEG-4 Part 2 (`mp4v`), which players show and browsers do
not; WebM is VP8, which browsers show, at ten times the price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from expnet_tf.camera import NOMINAL_FOCAL, transform
from expnet_tf.morphable import MorphableModel
from expnet_tf.paint import FACE, studio, vertex_colors
from expnet_tf.render import Surface, render
from expnet_tf.video.reader import Frame, Source, VideoError
from expnet_tf.video.whole import whole_file

PATCH = 160  # px
OPACITY = 0.7
LONGEST = 1920  # px, the longer side of the film that is written
CODECS = {".mp4": "mp4v", ".webm": "VP80"}
_ROOM = 1.35  # side of the patch over the face box
_LABEL = (255, 178, 84)


class Overlay:
    """Draws the faces of one face model."""

    def __init__(self, model: MorphableModel) -> None:
        self._model = model
        # In float32, and the person's shape added up once: a frame costs 29 components and not 128.
        self._basis = model.expression_basis.reshape(len(model.expression_basis), -1).astype(np.float32)
        self._triangles = _face_triangles(model)
        self._colors = vertex_colors(model) ** 2 if model.has("regions") else None
        self._light = studio()
        self._shapes: dict[int, np.ndarray] = {}

    def shape(self, number: int, identity: np.ndarray | None) -> None:
        """The head of person `number`: identity float [99], sigma units; None is the mean head."""
        self._shapes[number] = self._model.decode(identity).astype(np.float32)

    def draw(self, image: np.ndarray, row: np.void, scale: float = 1.0) -> None:
        """Draws a row of table.py into uint8 RGB [H, W, 3], which is the frame times `scale`."""
        number = int(row["id"])
        if number not in self._shapes:
            self.shape(number, None)
        vertices = self._shapes[number] + (row["expression"] @ self._basis).reshape(-1, 3)
        placed = transform(vertices, row["pose"])
        x, y, w, h = (float(value) * scale for value in row["box"])
        side = _ROOM * max(w, h)
        left, top = round(x + w / 2 - side / 2), round(y + h / 2 - side / 2)
        pixels = max(2, round(side))
        made = min(PATCH, pixels)
        ratio = made / pixels
        x0, y0, square = (float(value) * scale for value in row["square"])
        focal = NOMINAL_FOCAL * square * ratio
        center = ((x0 + square / 2 - left) * ratio, (y0 + square / 2 - top) * ratio)
        surface = Surface(placed, self._triangles, self._colors)
        drawn = render([surface], focal, center, (made, made), self._light, supersample=1)
        _lay(image, drawn, left, top, pixels)

    def label(self, image: np.ndarray, row: np.void, scale: float = 1.0) -> None:
        """The person's number above the face."""
        x, y, w, _ = (float(value) * scale for value in row["box"])
        size = min(2.0, max(0.4, w / 150))
        place = round(x + w / 2 - 8 * size), round(max(20 * size, y - 6))
        cv2.putText(image, str(int(row["id"])), place, cv2.FONT_HERSHEY_SIMPLEX, size, _LABEL, 2, cv2.LINE_AA)


def _lay(image: np.ndarray, drawn: np.ndarray, left: int, top: int, side: int) -> None:
    """Premultiplied uint8 RGBA [p, p, 4], enlarged to `side` px, over the image at (left, top)."""
    height, width = image.shape[:2]
    low_x, low_y = max(left, 0), max(top, 0)
    high_x, high_y = min(left + side, width), min(top + side, height)
    if low_x >= high_x or low_y >= high_y:
        return
    # Soft edges: one sample a pixel leaves steps.
    soft = cv2.blur(drawn, (3, 3))
    soft[..., :3] = np.where(drawn[..., 3:] > 0, drawn[..., :3], soft[..., :3])
    if side != len(drawn):
        soft = cv2.resize(soft, (side, side), interpolation=cv2.INTER_LINEAR)
    part = soft[low_y - top : high_y - top, low_x - left : high_x - left]
    under = image[low_y:high_y, low_x:high_x]
    alpha = cv2.cvtColor(np.ascontiguousarray(part[..., 3]), cv2.COLOR_GRAY2RGB).astype(np.float32) * (OPACITY / 255)
    solid = cv2.multiply(np.ascontiguousarray(part[..., :3]), (OPACITY,) * 3, dtype=cv2.CV_32F)
    under[:] = np.clip(under * (1 - alpha) + solid + 0.5, 0, 255)


@cache
def _face_triangles(model: MorphableModel) -> np.ndarray:
    """Those in the face: the film keeps its own hair, ears and neck."""
    if not model.has("regions"):
        return model.triangles
    inside = model.region(*(name for name in FACE if name in model.region_names))
    return model.triangles[inside[model.triangles].all(axis=1)]


def write_overlay(
    path: Path,
    source: Source,
    tables: Iterator[np.ndarray],
    overlay: Overlay,
    rate: float,
    labelled: bool,
    progress: Callable[[int], None] = lambda frames: None,
) -> None:
    """The source's film with the meshes of the rows over it.

    Args:
        path: ends with .mp4 or .webm.
        source: read once more; frames that are missing now are shown as the one before.
        rate: frames/s of the film, which is constant; a source of varying rate keeps its length on average.
        labelled: people's numbers are written above them.

    Raises VideoError where the film cannot be written.
    """
    width, height = source.facts.width, source.facts.height
    scale = min(1.0, LONGEST / max(width, height))
    # The codecs want even numbers.
    size = max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)
    rows = (row for table in tables for row in table)
    row = next(rows, None)
    with whole_file(path) as temporary:
        writer = open_writer(temporary, rate, size)
        try:
            for item in source.frames():
                if not isinstance(item, Frame):
                    continue
                image = item.image
                if size != (width, height):
                    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
                while row is not None and row["frame"] <= item.index:
                    if row["frame"] == item.index:
                        overlay.draw(image, row, scale)
                        if labelled:
                            overlay.label(image, row, scale)
                    row = next(rows, None)
                writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
                progress(item.index + 1)
        finally:
            writer.release()
        if not temporary.stat().st_size:
            raise VideoError(f"{path} could not be written; is the disk full?")


def open_writer(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """A film of size (width, height) px. Raises VideoError."""
    code = cv2.VideoWriter.fourcc(*CODECS[path.suffix])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, rate, size)
    if not writer.isOpened():
        what = f"{CODECS[path.suffix]}, {size[0]}x{size[1]} px, {rate:g} frames/s"
        raise VideoError(f"a film cannot be written to {path.parent} ({what}).")
    return writer
