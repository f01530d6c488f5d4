"""Rows by image key: npz files that other programs wrote, and the true labels of a synthetic folder."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from expnet_tf.data.labels import LabelError, read_shard, shard_paths

Row = dict[str, np.ndarray]


class TableError(ValueError):
    """A file of landmarks, shapes or poses that cannot be used: one sentence that names it."""


def digest(path: Path) -> str:
    """sha256, hexadecimal, of a file; of a folder: of the names and sizes of the files in it."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    return hashlib.sha256("".join(f"{name} {file.stat().st_size}\n" for name, file in files).encode()).hexdigest()


def stem(key: str) -> str:
    """The key without its suffix, as programs name their results: 0000045/001.jpg -> 0000045/001."""
    folder, slash, name = key.rpartition("/")
    return f"{folder}{slash}{name.rsplit('.', 1)[0]}"


class Table:
    """An npz file of float columns beside the column `key`. Keys may carry the image's suffix or not."""

    def __init__(self, path: Path, columns: dict[str, tuple[int, ...]], optional: dict[str, tuple[int, ...]]) -> None:
        """columns and optional: {name: width of a row}. Raises TableError where the file does not have them."""
        self.path = path
        try:
            # Opened here: np.load leaves a file that it cannot read open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                self.fields = {name: data[name] for name in data.files}
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            reason = (isinstance(error, OSError) and error.strerror) or "no npz archive, or a damaged one"
            raise TableError(f"{path}: not a readable npz file ({reason})") from error
        key = self.fields.get("key")
        if key is None or key.ndim != 1 or key.dtype.kind != "U":
            raise TableError(f"{path}: a column key, text [n], the images' keys, is needed")
        self._index = {name: row for row, name in enumerate(key.tolist())}
        if len(self._index) != len(key):
            raise TableError(f"{path}: {len(key) - len(self._index)} of its keys come twice")
        for name, width in {**columns, **optional}.items():
            if name not in self.fields and name in optional:
                continue
            if name not in self.fields:
                raise TableError(f"{path}: lacks the column {name}, float {[len(key), *width]}")
            array = self.fields[name]
            if array.dtype.kind not in "fiu" or array.shape != (len(key), *width):
                raise TableError(
                    f"{path}: {name} is {array.dtype} {list(array.shape)}; float {[len(key), *width]} is needed"
                )
        self._names = [name for name in (*columns, *optional) if name in self.fields]

    def row(self, key: str) -> Row | None:
        """The columns of an image, as float64; None where the file does not have it."""
        number = self._index.get(key, self._index.get(stem(key)))
        if number is None:
            return None
        return {name: self.fields[name][number].astype(np.float64) for name in self._names}


class TrueLabels:
    """The labels of a folder of `expnet synth`, by key; a few shards at a time are in memory."""

    def __init__(self, folder: Path) -> None:
        """Raises TableError when the label shards cannot be read."""
        self.folder = folder
        self._where: dict[str, tuple[Path, int]] = {}
        try:
            for path in shard_paths(folder):
                keys = read_shard(path)["key"].tolist()
                self._where.update((key, (path, number)) for number, key in enumerate(keys))
        except LabelError as error:
            raise TableError(str(error)) from error

    def describe(self) -> dict:
        """JSON-able: the sha256 of the label shards, one after the other."""
        digests = "".join(digest(path) for path in shard_paths(self.folder))
        return {"sha256": hashlib.sha256(digests.encode()).hexdigest()}

    def row(self, key: str) -> Row | None:
        """The float columns of labels.py for an image, as float64; None where there is no such image."""
        if key not in self._where:
            return None
        path, number = self._where[key]
        columns = _shard(path)
        return {name: columns[name][number].astype(np.float64) for name in columns if name not in ("key", "subject")}


# Keys come in the order of the shards, nearly.
_shard = lru_cache(maxsize=4)(read_shard)
