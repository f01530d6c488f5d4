"""A GLB file (glTF 2.0) with morph targets and animation, written piece by piece.

Core glTF only, no extension: what reads glTF reads it. Morph targets are sparse accessors, which hold the vertices
that move and no others, and are shared by all meshes. The binary chunk is streamed, so an animation may be longer
than memory.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.video.whole import whole_file

MAX_BYTES = 2**32 - 1  # a GLB counts its bytes in 32 bits
_KINDS = {np.dtype(np.float32): 5126, np.dtype(np.uint32): 5125, np.dtype(np.uint16): 5123, np.dtype(np.uint8): 5121}
_TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}
VERTICES, INDICES = 34962, 34963

Pieces = Callable[[], Iterable[np.ndarray]]


class Document:
    """The JSON of a glTF file, and the arrays that its binary chunk will hold."""

    def __init__(self, generator: str) -> None:
        self.json: dict[str, Any] = {"asset": {"version": "2.0", "generator": generator}}
        self._pieces: list[tuple[int, Pieces]] = []  # bytes, and what gives them
        self._length = 0

    def add(self, key: str, thing: dict[str, Any]) -> int:
        """Appends to a top-level list, such as nodes; returns the index."""
        self.json.setdefault(key, []).append(thing)
        return len(self.json[key]) - 1

    def array(self, values: np.ndarray, target: int | None = None, bounds: bool = False, **facts: Any) -> int:
        """An accessor of [n], [n, 3] or [n, 4]; bounds: with min and max, as positions and times need."""
        low, high = (values.min(axis=0), values.max(axis=0)) if bounds else (None, None)
        return self.stream(values.shape, values.dtype, lambda: [values], low, high, target, **facts)

    def stream(
        self,
        shape: tuple[int, ...],
        kind: np.dtype,
        pieces: Pieces,
        low: np.ndarray | None = None,
        high: np.ndarray | None = None,
        target: int | None = None,
        **facts: Any,
    ) -> int:
        """An accessor whose values `pieces()` gives, in parts, when the file is written."""
        width = 1 if len(shape) == 1 else shape[1]
        view = self._view(shape[0] * width * np.dtype(kind).itemsize, pieces, target)
        made = {"bufferView": view, "componentType": _KINDS[np.dtype(kind)], "count": shape[0], "type": _TYPES[width]}
        if low is not None and high is not None:
            made |= {"min": np.atleast_1d(low).tolist(), "max": np.atleast_1d(high).tolist()}
        return self.add("accessors", made | facts)

    def sparse(self, values: np.ndarray, moves: np.ndarray) -> int:
        """An accessor of float32 [n, 3], zero but where bool [n] `moves`."""
        ids = np.flatnonzero(moves)
        # What is left out is zero and counts for the bounds as well.
        kept = np.where(moves[:, None], values, np.float32(0))
        made: dict[str, Any] = {
            "componentType": _KINDS[np.dtype(np.float32)], "count": len(values), "type": "VEC3",
            "min": kept.min(axis=0).tolist(), "max": kept.max(axis=0).tolist(),
        }  # fmt: skip
        if len(ids):
            short = ids.astype(np.uint16 if len(values) <= 2**16 else np.uint32)
            moved = np.ascontiguousarray(values[ids])
            made["sparse"] = {
                "count": len(ids),
                "indices": {
                    "bufferView": self._view(short.nbytes, lambda: [short]),
                    "componentType": _KINDS[short.dtype],
                },
                "values": {"bufferView": self._view(moved.nbytes, lambda: [moved])},
            }
        return self.add("accessors", made)

    def write(self, path: Path) -> None:
        """Raises OSError, and ValueError where the file would exceed what a GLB can count."""
        self.json["buffers"] = [{"byteLength": self._length}]
        text = json.dumps(self.json, separators=(",", ":"), allow_nan=False).encode("ascii")
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + self._length
        if total > MAX_BYTES:
            raise ValueError(f"{path} would have {total:,} bytes; a GLB file holds at most {MAX_BYTES:,}.")
        with whole_file(path) as temporary, temporary.open("wb") as file:
            file.write(struct.pack("<4sII", b"glTF", 2, total))
            file.write(struct.pack("<I4s", len(text), b"JSON") + text)
            file.write(struct.pack("<I4s", self._length, b"BIN\0"))
            for part in self._bytes():
                file.write(part)

    def _view(self, size: int, pieces: Pieces, target: int | None = None) -> int:
        view = {"buffer": 0, "byteOffset": self._length, "byteLength": size}
        self._pieces.append((size, pieces))
        self._length += size + -size % 4
        return self.add("bufferViews", view | ({} if target is None else {"target": target}))

    def _bytes(self) -> Iterator[bytes]:
        for size, pieces in self._pieces:
            written = 0
            for part in pieces():
                data = np.ascontiguousarray(part).tobytes()
                written += len(data)
                yield data
            if written != size:
                raise RuntimeError(f"a view of {size} bytes was given {written}")
            yield bytes(-size % 4)
