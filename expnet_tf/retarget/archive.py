""".npz files of strangers: no pickle, and a limit on what they unpack to."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from expnet_tf.retarget import RetargetError


def read_npz(path: Path, limit: int) -> dict[str, np.ndarray]:
    """All arrays of an .npz file. Raises RetargetError: unreadable, damaged, pickled, above `limit` bytes unpacked."""
    try:
        # Opened here: np.load leaves a file that it cannot read open.
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > limit:
                raise RetargetError(f"{path} unpacks to {size:,} bytes; {limit:,} are accepted.")
            file.seek(0)
            with np.load(file, allow_pickle=False) as data:
                return {name: data[name] for name in data.files}
    except RetargetError:
        raise
    except Exception as error:  # a damaged archive raises nearly anything, MemoryError among it
        reason = (isinstance(error, OSError) and error.strerror) or "no npz archive, a damaged one, or one with objects"
        raise RetargetError(f"{path}: not a readable .npz file ({reason}).") from error
