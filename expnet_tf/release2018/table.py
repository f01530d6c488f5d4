"""The release's `input.csv`: a row a face, ID, FILE and its box (FACE_X, FACE_Y, FACE_WIDTH, FACE_HEIGHT), in px.

The columns are found by their names, in either case and with or without FACE_ before them.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple

from expnet_tf.inputs import Problem
from expnet_tf.release2018 import ReleaseError

COLUMNS = ("ID", "FILE", "X", "Y", "WIDTH", "HEIGHT")
MAX_BYTES = 256 * 2**20


class Row(NamedTuple):
    """A face to reconstruct; its file need not exist."""

    id: str  # the name of its mesh
    path: Path
    box: tuple[float, float, float, float]  # x, y, w, h in px


def read_table(path: Path, root: Path) -> list[Row | Problem]:
    """The rows in their order, and a sentence in the place of each that is malformed or repeats an ID.

    `root` is the folder that FILE is below, unless it is absolute. Raises ReleaseError where the file cannot be read,
    has not these columns, or no row.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ReleaseError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read.")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        table = list(csv.reader(lines))
    except OSError as error:
        raise ReleaseError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ReleaseError(f"{path}: not a CSV file in UTF-8 ({error}).") from error
    header = [name.strip().upper().removeprefix("FACE_") for name in table[0]] if table else []
    if missing := [name for name in COLUMNS if header.count(name) != 1]:
        raise ReleaseError(
            f"{path}: its first line has not once the column {', '.join(missing)}; "
            "ID,FILE,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT is expected."
        )
    places = [header.index(name) for name in COLUMNS]
    rows: list[Row | Problem] = []
    seen: set[str] = set()
    for number, cells in enumerate(table[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        made: Row | str = f"{len(cells)} cells in place of {len(header)}"
        if len(cells) == len(header):
            made = _row(cells, places, root)
        if isinstance(made, Row) and made.id in seen:
            made = f"the ID {made.id} is there already"
        if isinstance(made, Row):
            seen.add(made.id)
        rows.append(made if isinstance(made, Row) else Problem(f"{path}, row {number}: {made}."))
    if not rows:
        raise ReleaseError(f"{path}: it has no row below its first line.")
    return rows


def _row(cells: list[str], places: list[int], root: Path) -> Row | str:
    """A row, or what is wrong with it."""
    id, file, *numbers = (cells[place].strip() for place in places)
    if not id or id in (".", "..") or "/" in id or "\\" in id or not id.isprintable():
        return f"the ID {id!r} is no file name"
    if not file:
        return "FILE is empty"
    try:
        x, y, w, h = map(float, numbers)
    except ValueError:
        return f"the box {', '.join(numbers)} is not four numbers"
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        return f"the box {', '.join(numbers)} is not four finite numbers, width and height above 0"
    return Row(id, root / file, (x, y, w, h))
