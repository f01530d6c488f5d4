"""A row a face a frame, kept in finished chunks: what the network said, before any smoothing.

The folder of a run holds chunks/NNNNNN.npy, the rows of CHUNK frames, and chunks/NNNNNN.json beside each: frames that
are missing, and the tracker's state, from which the next chunk goes on. The JSON is written last: where it is, the
rows are whole. No rows are held in memory beyond one chunk.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.files import write_whole
from expnet_tf.video.reader import Dropped
from expnet_tf.video.tracker import Tracked

CHUNK = 256  # frames


def row_type(expression: int, identity: int) -> np.dtype:
    """A row of a model with so many coefficients; identity 0: the model has no identity head."""
    return np.dtype([
        ("frame", np.int64),  # from 0
        ("time", np.float64),  # s
        ("id", np.int32),  # from 1
        ("box", np.float64, 4),  # x, y, w, h of the mesh, px
        ("square", np.int32, 3),  # x0, y0, side of what the network saw, px
        ("quality", np.float32),  # 0..1; NaN: the model does not say
        ("expression", np.float32, expression),  # sigma units
        ("identity", np.float32, identity),
        ("pose", np.float32, 6),  # rad (3), mm (3) at the nominal camera of the square
    ])  # fmt: skip


def rows(kind: np.dtype, index: int, time: float, faces: Sequence[Tracked]) -> np.ndarray:
    """The rows of one frame."""
    table = np.zeros(len(faces), kind)
    table["frame"], table["time"] = index, time
    for row, (number, face) in zip(table, faces, strict=True):
        row["id"], row["box"], row["square"] = number, face.box, face.square
        quality = getattr(face, "quality", None)
        row["quality"] = np.nan if quality is None else quality
        row["expression"], row["pose"] = face.expression, face.pose
        if face.identity is not None:
            row["identity"] = face.identity
    return table


@dataclass(frozen=True)
class Record:
    """What is known of a finished chunk besides its rows."""

    next: int  # index of the frame after it
    frames: int  # that were read
    time: float  # s, of the last frame that was read so far
    dropped: list[Dropped]
    tracker: dict[str, Any]  # its state after the chunk
    last: bool  # whether the video ends with it


class Chunks:
    """The finished chunks of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "chunks"

    def count(self) -> int:
        """How many there are, up to the first that is missing."""
        count = 0
        while self._path(count, "json").is_file() and self._path(count, "npy").is_file():
            count += 1
        return count

    def write(self, number: int, table: np.ndarray, record: Record) -> None:
        """Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.save(buffer, table, allow_pickle=False)
        write_whole(self._path(number, "npy"), buffer.getvalue())
        facts = {**vars(record), "dropped": [vars(one) for one in record.dropped]}
        write_whole(self._path(number, "json"), json.dumps(facts).encode())

    def record(self, number: int) -> Record:
        facts = json.loads(self._path(number, "json").read_text())
        return Record(**{**facts, "dropped": [Dropped(**one) for one in facts["dropped"]]})

    def records(self) -> Iterator[Record]:
        return (self.record(number) for number in range(self.count()))

    def tables(self) -> Iterator[np.ndarray]:
        """The rows, chunk by chunk, by frame and then by id."""
        return (np.load(self._path(number, "npy"), allow_pickle=False) for number in range(self.count()))

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:06d}.{suffix}"
