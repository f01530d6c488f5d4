"""Numbers that were expensive to compute, kept in .npz files."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

from expnet_tf.files import write_whole


class Store:
    """Rows of numbers by key in one .npz file."""

    def __init__(self, folder: Path, kind: str, id: str, scale: float) -> None:
        """A file that is damaged or not there is an empty store."""
        self.path = folder / f"{kind}-{hashlib.sha256(id.encode()).hexdigest()[:12]}-{scale:g}.npz"
        self._rows: dict[str, np.ndarray] = {}
        self._saved = 0
        try:
            # Opened here: numpy leaves the file open when it is damaged.
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                self._rows = dict(zip(data["key"].tolist(), data["row"], strict=True))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass
        self._saved = len(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> np.ndarray:
        return self._rows[key]

    def __setitem__(self, key: str, row: np.ndarray) -> None:
        self._rows[key] = np.asarray(row, np.float64)

    def save(self) -> None:
        if len(self._rows) == self._saved:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        np.savez(file, key=np.array(list(self._rows)), row=np.stack(list(self._rows.values())))
        write_whole(self.path, file.getvalue())
        self._saved = len(self._rows)
