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
from collections import deque
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

    key: str  # unique in the source, path-like, forward slashes; can be written as UTF-8
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


def _printable(text: str) -> str:
    """The same text; bytes of a file name that are not UTF-8 as \\udcNN."""
    return text.encode(errors="backslashreplace").decode()


def _take_printable(keys: Sequence[str], people: Sequence[str]) -> tuple[list[int], list[tuple[str, str]]]:
    """The numbers of the keys that label files and records can hold, which are UTF-8; why the others cannot be used."""
    kept, bad = [], []
    for number, (key, person) in enumerate(zip(keys, people, strict=True)):
        shown = _printable(key)
        if shown == key and _printable(person) == person:
            kept.append(number)
        else:
            bad.append((shown, f"{shown} has a name that is not UTF-8 and cannot stand in label files; rename it."))
    return kept, bad


class FolderTree(_Files):
    """A folder a person, as CASIA-WebFace comes; sorted, hidden files and folders left out.

    Links to folders are followed; where one leads to a folder that is there already, `notes` say so.
    """

    kind = "casia"

    def __init__(self, path: Path) -> None:
        """Raises SourceError when no person's folder with an image is there, or a folder cannot be read."""
        problems: list[OSError] = []
        folders, again = _images_by_folder(path, problems)
        loose = len(folders.pop(".", []))
        keys = [f"{below}/{name}" for below in sorted(folders, key=lambda one: one.split("/"))
                for name in sorted(folders[below])]  # fmt: skip
        kept, unusable = _take_printable(keys, keys)
        keys = [keys[number] for number in kept]
        if problems and not keys:
            raise SourceError(f"{problems[0].filename} cannot be read ({problems[0].strerror}).")
        if unusable and not keys:
            raise SourceError(f"{path}: {unusable[0][1]} So it is with all {len(unusable)} images.")
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
        self.unreadable = [
            (_printable(os.path.relpath(one.filename, path)), f"cannot be read ({one.strerror})") for one in problems
        ] + unusable
        if again:
            self.notes.append(f"{again} links lead to folders that were read already and are left out.")
        if loose:
            self.notes.append(f"{loose} images directly in {path.name} belong to nobody and are left out.")


def _images_by_folder(root: Path, problems: list[OSError]) -> tuple[dict[str, list[str]], int]:
    """{folder below root: names of images in it}, and the number of links that are left out.

    Each folder is read once, so that no circle of links is walked for ever and no image counts for two people. What
    lies below the root itself comes first.
    """
    real_root = os.path.realpath(root)
    seen = {str(parent) for parent in Path(real_root).parents}
    found: dict[str, list[str]] = {}
    waiting, again = deque([(str(root), real_root)]), 0
    while waiting:
        start, real = waiting.popleft()
        for folder, folders, files in os.walk(start, onerror=problems.append):
            here = os.path.normpath(os.path.join(real, os.path.relpath(folder, start)))
            if here in seen:
                folders.clear()
                again += 1
                continue
            seen.add(here)
            images = [name for name in files if name[0] != "." and name.lower().endswith(SUFFIXES)]
            if images:
                found[Path(folder).relative_to(root).as_posix()] = images
            folders[:] = sorted(name for name in folders if name[0] != ".")
            links = [os.path.join(folder, name) for name in folders if os.path.islink(os.path.join(folder, name))]
            waiting += ((link, os.path.realpath(link)) for link in links)
    return found, again


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
        people = columns["subject"].tolist()
        kept, unusable = _take_printable(keys, people)
        super().__init__(path, [keys[number] for number in kept], [people[number] for number in kept])
        self.unreadable = unusable


def open_source(path: str | Path) -> Source:
    """The source at a folder or a .rec file.

    Raises:
        SourceError: nothing there, no images, or a file that is not what its name says.
    """
    from expnet_tf.data.recordio import RecordIO

    if not str(path):  # Path would take it for the folder of the process
        raise SourceError(
            "The path of the images is empty; a folder with a folder a person, or train.rec, is expected."
        )
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
