"""HDF5 files as plain arrays: the wanted datasets alone, from the file itself, with a limit on what they may take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.morphable import FaceModelError

MAGIC = b"\x89HDF\r\n\x1a\n"
LIMIT = 2**31  # bytes of all wanted datasets; the full head of 2019 has 800 million


def names(path: Path) -> set[str]:
    """What the file has at its top. Raises FaceModelError."""
    with _Opened(path) as file:
        return set(file)


def read(path: Path, wanted: list[str], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """{name: array or bytes} of these datasets, the optional ones where they are.

    Raises FaceModelError when one is missing, no dataset, outside of the file, or all are larger than `LIMIT`.
    """
    import h5py

    with _Opened(path) as file:
        missing = [name for name in wanted if name not in file]
        if missing:
            raise FaceModelError(f"{path}: it lacks {', '.join(missing)}")
        found = {name: file[name] for name in (*wanted, *optional) if name in file}
        for name, data in found.items():
            if not isinstance(data, h5py.Dataset):
                raise FaceModelError(f"{path}: {name} is no dataset")
            if data.external or data.is_virtual or data.file.filename != file.filename:
                raise FaceModelError(f"{path}: {name} is kept in another file, which is not read")
        claimed = sum(int(data.size or 0) * data.dtype.itemsize for data in found.values())
        if claimed > LIMIT:
            raise FaceModelError(f"{path}: its datasets take {claimed:,} bytes; at most {LIMIT:,} are read")
        return {name: data[()] for name, data in found.items()}


class _Opened:
    """An HDF5 file, whose errors become FaceModelError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Any:
        import h5py

        try:
            self._file = h5py.File(self._path, "r")
        except Exception as error:  # h5py raises OSError, KeyError, RuntimeError, ... on damage
            raise self._damaged(error) from error
        return self._file

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._file.close()
        if isinstance(error, Exception) and not isinstance(error, FaceModelError):
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> FaceModelError:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return FaceModelError(f"{self._path}: not a readable HDF5 file ({reason})")


def text(value: Any) -> str:
    """A dataset that holds one string, as text."""
    value = np.asarray(value).ravel()[0]
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
