"""The release's .npy and .npz files: means and spreads. Pickles in them are refused, never read."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from expnet_tf.release2018 import ReleaseError

MAX_BYTES = 64 * 2**20  # the largest, a mean image in float64, has 1.2 million


def read_array(path: Path, name: str | None, shape: tuple[int, ...]) -> np.ndarray:
    """One array: of a .npy file (name None), or of that name in a .npz file.

    Returns float64 of this shape; an array of other axes of length 1 is given that shape. Raises ReleaseError.
    """
    if not path.is_file():
        raise ReleaseError(f"{path}: no such file.")
    if path.stat().st_size > MAX_BYTES:
        raise ReleaseError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read.")
    try:
        if name is not None:
            _check_members(path, name)
        read = np.load(path, allow_pickle=False)
        values = read if name is None else read[name]
        if name is not None:
            read.close()
    except ReleaseError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        if "pickle" in str(error):
            raise ReleaseError(
                f"{path}: it holds pickled Python objects, which are code and are never loaded; an array is expected."
            ) from None
        raise ReleaseError(f"{path}: not a readable {path.suffix or 'array'} file ({error}).") from None
    what = f"{path}{'' if name is None else f': {name}'}"
    if not isinstance(values, np.ndarray):
        raise ReleaseError(f"{path}: an archive of arrays; a single array is expected.")
    if values.dtype.kind not in "fiu":
        raise ReleaseError(f"{what} is of type {values.dtype}; numbers are expected.")
    if values.size != np.prod(shape) or _long(values.shape) != _long(shape):
        raise ReleaseError(f"{what} has the shape {list(values.shape)}; {list(shape)} is expected.")
    if not np.isfinite(values).all():
        raise ReleaseError(f"{what} holds values that are not finite.")
    return values.astype(np.float64).reshape(shape)


def _long(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]


def _check_members(path: Path, name: str) -> None:
    """Before anything is unpacked: an archive with that array, of a size that the file may have."""
    with zipfile.ZipFile(path) as archive:
        sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.infolist()}
    if name not in sizes:
        raise ReleaseError(f"{path}: it has the arrays {', '.join(sizes) or 'none'}; {name} is expected.")
    if sizes[name] > MAX_BYTES:
        raise ReleaseError(f"{path}: {name} unpacks to {sizes[name]:,} bytes; at most {MAX_BYTES:,} are read.")
