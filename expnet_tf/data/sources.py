"""Where face images with a person's name come from: folder trees, synthetic folders, InsightFace RecordIO.

`open_source(path)` tells the kind itself:
  casia      a folder a person, images in it: ROOT/0000045/001.jpg. Folders may lie deeper; where all of them lie
             below one folder (CASIA-WebFace/0000045/001.jpg) that folder is no part of the person's name
  recordio   train.rec with train.idx and property, see recordio.py; the folder or the .rec file may be named
  synthetic  a folder written by `expnet synth`: labels-*.npz and the images beside them
"""

from __future__ import annotations

import copy
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expnet_tf.data import labels
from expnet_tf.image import MAX_BYTES, ImageError, decode_image
from expnet_tf.inputs import SUFFIXES


class SourceError(ValueError):
    """A source, or one image of it, that cannot be read: one sentence that names the file."""


@dataclass(frozen=True)
class Sample:
    """One image as it is stored; nothing is decoded yet."""

    key: str  # unique in the source, path-like, forward slashes
    identity: str  # whose face it is
    image_bytes: bytes


class Source(ABC):
    """Images by number, in a fixed order. Can be pickled; files are opened where and when they are read.

    keys and identities are parallel. `unreadable` lists (key, reason): what opening found damaged, and what
    iterating could not read. `notes` are sentences about the source as a whole.
    """

    kind: str

    def __init__(self, path: Path, keys: Sequence[str], identities: Sequence[str]) -> None:
        self.path = path
        self.keys = keys
        self.identities = identities
        self.unreadable: list[tuple[str, str]] = []
        self.notes: list[str] = []

    @abstractmethod
    def _bytes(self, index: int) -> bytes:
        """The stored bytes; raises OSError or SourceError."""

    def read(self, index: int) -> Sample:
        """Image `index`, 0 <= index < len(). Raises SourceError when its bytes cannot be had; decodes nothing."""
        key = self.keys[index]
        try:
            data = self._bytes(index)
        except OSError as error:
            raise SourceError(f"{key} of {self.path} cannot be read ({error.strerror or error}).") from error
        if not data:
            raise SourceError(f"{key} of {self.path} is empty (0 bytes).")
        return Sample(key, self.identities[index], data)

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Sample]:
        """The images that can be read and decoded; the others are appended to `unreadable` (once)."""
        listed = {key for key, _ in self.unreadable}
        for index in range(len(self)):
            try:
                sample = self.read(index)
                decode_image(sample.image_bytes, sample.key)
            except (SourceError, ImageError) as error:
                if self.keys[index] not in listed:
                    self.unreadable.append((self.keys[index], str(error)))
                continue
            yield sample

    def part(self, indices: Sequence[int] | np.ndarray) -> Source:
        """The source with these images alone, in this order: small to pickle, for a worker's share."""
        made = copy.copy(self)
        made.keys = [self.keys[index] for index in indices]
        made.identities = [self.identities[index] for index in indices]
        made.unreadable = []
        return made

    def describe(self) -> dict:
        """What it is, for labels.json; the fingerprint is the sha256 of the keys, a line each."""
        digest = hashlib.sha256("".join(f"{key}\n" for key in self.keys).encode()).hexdigest()
        facts = {"kind": self.kind, "images": len(self), "identities": len(set(self.identities))}
        return {**facts, "unreadable": len(self.unreadable), "notes": list(self.notes), "fingerprint": digest}


class _Files(Source):
    """Images that are files below the path, named by their keys."""

    def _bytes(self, index: int) -> bytes:
        path = self.path / self.keys[index]
        if not path.is_file():  # reading a pipe or a device could wait for ever
            raise SourceError(f"{path} {'is no plain file' if path.exists() else 'does not exist'}.")
        if path.stat().st_size > MAX_BYTES:
            raise SourceError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read.")
        return path.read_bytes()


class FolderTree(_Files):
    """A folder a person, as CASIA-WebFace comes; sorted, hidden files and folders left out."""

    kind = "casia"

    def __init__(self, path: Path) -> None:
        """Raises SourceError when no person's folder with an image is there, or a folder cannot be read."""
        keys: list[str] = []
        loose = 0
        problems: list[OSError] = []
        for folder, folders, files in os.walk(path, onerror=problems.append):
            folders[:] = sorted(name for name in folders if name[0] != ".")
            found = sorted(name for name in files if name[0] != "." and name.lower().endswith(SUFFIXES))
            below = Path(folder).relative_to(path).as_posix()
            if below == ".":
                loose = len(found)
            else:
                keys += [f"{below}/{name}" for name in found]
        if problems and not keys:
            raise SourceError(f"{problems[0].filename} cannot be read ({problems[0].strerror}).")
        if not keys:
            what = f"{loose} images but no folder with images" if loose else "no image"
            raise SourceError(
                f"{path} holds {what}; a folder a person with its images is expected (0000045/001.jpg; files that "
                f"end with {', '.join(SUFFIXES)} are taken), or train.rec, or a folder written by expnet synth."
            )
        people = [key.rsplit("/", 1)[0] for key in keys]
        tops = {name.split("/", 1)[0] for name in people}
        if len(tops) == 1 and all("/" in name for name in people):
            people = [name.split("/", 1)[1] for name in people]
        super().__init__(path, keys, people)
        self.unreadable = [(os.path.relpath(e.filename, path), f"cannot be read ({e.strerror})") for e in problems]
        if loose:
            self.notes.append(f"{loose} images directly in {path.name} belong to nobody and are left out.")


class SyntheticFolder(_Files):
    """A folder of `expnet synth`: what its labels name."""

    kind = "synthetic"

    def __init__(self, path: Path) -> None:
        """Raises SourceError when the labels cannot be read, or name images that lie elsewhere."""
        try:
            columns = labels.read_labels(path)
        except labels.LabelError as error:
            raise SourceError(str(error)) from error
        keys = columns["key"].tolist()
        if not keys or not (path / keys[0]).exists():
            first = f" ({keys[0]} is not there)" if keys else ""
            raise SourceError(f"{path} holds labels but not their images{first}; name the folder with the images.")
        super().__init__(path, keys, columns["subject"].tolist())


def open_source(path: str | Path) -> Source:
    """The source at a folder or a .rec file.

    Raises:
        SourceError: nothing there, no images, or a file that is not what its name says.
    """
    from expnet_tf.data.recordio import RecordIO

    path = Path(path)
    if path.is_file() and path.suffix == ".rec":
        return RecordIO(path)
    if not path.is_dir():
        what = "is no folder and no .rec file" if path.exists() else "does not exist"
        raise SourceError(f"{path} {what}; a folder with a folder a person, train.rec, or synthetic faces is expected.")
    records = [path / "train.rec"] if (path / "train.rec").exists() else sorted(path.glob("*.rec"))
    if len(records) > 1:
        raise SourceError(f"{path} holds {', '.join(file.name for file in records)}; name the one to read.")
    if records:
        return RecordIO(records[0])
    if (path / "labels.json").exists() and any(path.glob("labels-*-of-*.npz")):
        return SyntheticFolder(path)
    return FolderTree(path)
