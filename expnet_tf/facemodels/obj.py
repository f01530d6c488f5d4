"""Wavefront OBJ files: positions, and where wanted faces and texture coordinates."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from expnet_tf.morphable import FaceModelError

LIMIT = 2**26  # bytes; a file of ICT-FaceKit has 3 million


def vertices(path: Path) -> np.ndarray:
    """float64 [n, 3]: the positions in the file's order. Raises FaceModelError."""
    return _table(path, _lines(path), b"v ", 3)


def mesh(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions float64 [n, 3], triangles int64 [t, 3], texture coordinates float64 [m, 2], their triangles [t, 3].

    Numbers from 0; a face of more corners becomes a fan. Without texture coordinates the last two are empty. Raises
    FaceModelError when the file is damaged; the numbers' range is not checked.
    """
    lines = _lines(path)
    corners, texture = [], []
    try:
        for line in lines:
            if line.startswith(b"f "):
                parts = [part.split(b"/") for part in line.split()[1:]]
                if len(parts) < 3:
                    raise ValueError(f"a face of {len(parts)} corners")
                corners += _fan([int(part[0]) for part in parts])
                if len(parts[0]) > 1 and parts[0][1]:
                    texture += _fan([int(part[1]) for part in parts])
    except (ValueError, IndexError) as error:
        raise FaceModelError(f"{path}: not a readable OBJ file ({error})") from error
    uvs = _table(path, lines, b"vt ", 2)
    if len(texture) != len(corners):
        uvs, texture = np.zeros((0, 2)), []
    triangles, uv_triangles = (np.array(some, np.int64).reshape(-1, 3) - 1 for some in (corners, texture))
    return _table(path, lines, b"v ", 3), triangles, uvs, uv_triangles


def _fan(polygon: list[int]) -> list[tuple[int, int, int]]:
    return [(polygon[0], second, third) for second, third in pairwise(polygon[1:])]


def _lines(path: Path) -> list[bytes]:
    try:
        size = path.stat().st_size
        if size > LIMIT:
            raise FaceModelError(f"{path}: an OBJ file of {size:,} bytes; at most {LIMIT:,} are read")
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        raise FaceModelError(f"{path}: no such file") from None
    except OSError as error:
        raise FaceModelError(f"{path}: it cannot be read ({error.strerror})") from error


def _table(path: Path, lines: list[bytes], kind: bytes, width: int) -> np.ndarray:
    """float64 [rows, width] of the lines of a kind; further numbers of a line, such as colours, are left out."""
    rows = [line.split()[1 : width + 1] for line in lines if line.startswith(kind)]
    if any(len(row) != width for row in rows):
        raise FaceModelError(f"{path}: not a readable OBJ file (a line {kind.decode().strip()} has too few numbers)")
    try:
        made = np.array(rows, dtype=np.bytes_).astype(np.float64).reshape(-1, width)
    except ValueError as error:
        raise FaceModelError(f"{path}: not a readable OBJ file ({error})") from error
    if not np.isfinite(made).all():
        raise FaceModelError(f"{path}: it holds values that are not finite")
    return made
