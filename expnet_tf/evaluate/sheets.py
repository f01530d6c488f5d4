"""Contact sheets of the report: photos beside the expressions read from them, on one shape (Figs. 1, 5, 6 and 7)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from expnet_tf.files import write_whole
from expnet_tf.image import crop
from expnet_tf.morphable import MorphableModel
from expnet_tf.paint import paint, studio
from expnet_tf.render import over, render

CELL, GAP, MARGIN = 132, 6, 14  # px
PAPER, STAGE, INK, SOFT = (255, 255, 255), (240, 241, 244), (34, 34, 34), (112, 112, 112)
PHOTO_FACTOR = 1.35  # side of a photo's cell over the face box
VIEW_HEIGHT = 200.0  # mm of the head that a cell shows
FOCAL = 5.0  # focal length over a cell's side: little perspective
LARGEST = 900_000  # bytes; a larger sheet is written in 256 colours


@dataclass(frozen=True)
class Row:
    """A line of a sheet."""

    title: str  # left of the cells; lines are split at \n
    cells: tuple[np.ndarray | None, ...]  # uint8 RGB [CELL, CELL, 3]; None stays empty
    notes: tuple[str, ...] = ()  # below the cells, as many as there are cells or none


def photo_cell(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The face of a photo, uint8 RGB [CELL, CELL, 3]. Raises ImageError where the box lies outside."""
    return crop(image, box, CELL, PHOTO_FACTOR)


def face_cell(model: MorphableModel, identity: np.ndarray | None, expression: np.ndarray | None) -> np.ndarray:
    """The face model from the front, uint8 RGB [CELL, CELL, 3]; codes in sigma, None for the mean or neutral face."""
    vertices = model.decode(identity, expression)
    # The middle of the neutral face of this shape, between brows and chin: a jaw that drops must not move the head.
    points = model.landmarks(identity)
    middle = points.min(0) * [0.5, 0.5, 0] + points.max(0) * [0.5, 0.5, 0] + [0, 8.0, FOCAL * VIEW_HEIGHT]
    drawn = render(paint(model, vertices - middle), FOCAL * CELL, (CELL / 2, CELL / 2), (CELL, CELL), studio())
    # The bust ends in a fade, not in the mesh's torn edge.
    fade = np.clip((1.0 - np.arange(CELL) / CELL) / 0.12, 0, 1)[:, None, None]
    return over(np.rint(drawn * fade).astype(np.uint8), np.full((CELL, CELL, 3), STAGE, np.uint8))


def sheet(path: Path, title: str, headings: Sequence[str], rows: Sequence[Row], side: int = 150) -> None:
    """Write a sheet as PNG.

    Args:
        headings: one a column of cells; lines are split at \\n.
        side: px left of the cells, for the rows' titles.
    """
    note = 17 if any(row.notes for row in rows) else 0
    top = MARGIN + 30 + 16 * max(heading.count("\n") + 1 for heading in headings)
    step = CELL + note + GAP
    width = MARGIN + side + len(headings) * (CELL + GAP) + MARGIN
    page = Image.new("RGB", (width, top + len(rows) * step + MARGIN), PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, MARGIN), title, fill=INK, font=_font(16))
    lefts = [MARGIN + side + number * (CELL + GAP) for number in range(len(headings))]
    for left, heading in zip(lefts, headings, strict=True):
        pen.multiline_text((left + CELL / 2, top - 5), heading, fill=INK, font=_font(12), anchor="md", align="center")
    for number, row in enumerate(rows):
        y = top + number * step
        pen.multiline_text((MARGIN, y + CELL / 2), row.title, fill=INK, font=_font(12), anchor="lm", spacing=5)
        for left, cell in zip(lefts, row.cells, strict=True):
            if cell is not None:
                page.paste(Image.fromarray(cell), (left, y))
            else:
                pen.rectangle((left, y, left + CELL - 1, y + CELL - 1), fill=STAGE)
                pen.text((left + CELL / 2, y + CELL / 2), "no face", fill=SOFT, font=_font(12), anchor="mm")
        for left, text in zip(lefts, row.notes):  # noqa: B905  a row may have no notes
            pen.text((left + CELL / 2, y + CELL + 3), text, fill=SOFT, font=_font(11), anchor="ma")
    data = _png(page)
    write_whole(path, data if len(data) <= LARGEST else _png(page.quantize(256, method=Image.Quantize.FASTOCTREE)))


def _png(page: Image.Image) -> bytes:
    file = io.BytesIO()
    page.save(file, format="png", optimize=True)
    return file.getvalue()


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
