"""MATLAB files as plain arrays: the wanted variables alone, with a limit on what they may take."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.morphable import FaceModelError

HEADER = b"MATLAB 5.0 MAT-file"
LIMIT = 2**31  # bytes of all wanted variables; the whole Basel model of 2009 has 260 million
_WIDTH = {"single": 4, "int8": 1, "uint8": 1, "logical": 1, "char": 2, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4}
# What scipy raises on damaged files, by trial.
_DAMAGE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, EOFError, OverflowError, MemoryError,
    NotImplementedError, UnicodeDecodeError, struct.error, zlib.error,
)  # fmt: skip


def variables(path: Path) -> dict[str, tuple[int, ...]]:
    """{name: shape} of a MATLAB 5 file, without its data. Raises FaceModelError."""
    return {name: shape for name, (shape, _) in _contents(path).items()}


def read(path: Path, *names: str) -> dict[str, Any]:
    """These variables of a MATLAB 5 file, as stored; a struct becomes a dict of its fields.

    Raises FaceModelError when one is missing, larger than `LIMIT`, or the file is damaged.
    """
    found = _contents(path)
    missing = [name for name in names if name not in found]
    if missing:
        raise FaceModelError(f"{path}: it lacks {', '.join(missing)}")
    claimed = sum(int(np.prod(shape, dtype=object)) * _WIDTH.get(kind, 8) for shape, kind in
                  (found[name] for name in names))  # fmt: skip
    if claimed > LIMIT:
        raise FaceModelError(f"{path}: its variables take {claimed:,} bytes; at most {LIMIT:,} are read")
    io = _scipy_io()
    try:
        read = io.loadmat(path, variable_names=list(names), appendmat=False, chars_as_strings=True)
        return {name: _plain(read[name]) for name in names}
    except (*_DAMAGE, io.matlab.MatReadError) as error:
        raise _damaged(path, error) from error


def _contents(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    io = _scipy_io()
    try:
        return {name: (tuple(shape), kind) for name, shape, kind in io.whosmat(path, appendmat=False)}
    except (*_DAMAGE, io.matlab.MatReadError) as error:
        raise _damaged(path, error) from error


def _plain(value: Any) -> Any:
    """A struct of one element, which scipy gives as an array [1, 1] of records, as a dict."""
    if value.dtype.names and value.size == 1:
        record = value.ravel()[0]
        return {name: record[name] for name in value.dtype.names}
    return value


def _damaged(path: Path, error: BaseException) -> FaceModelError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return FaceModelError(f"{path}: not a readable MATLAB file ({reason})")


def _scipy_io() -> Any:
    try:
        import scipy.io
    except ImportError:
        raise FaceModelError("MATLAB files need scipy: pip install 'expnet_tf[mat]'") from None
    return scipy.io
