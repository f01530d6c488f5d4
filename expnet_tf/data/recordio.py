"""InsightFace's RecordIO, the other form of CASIA-WebFace: train.rec, train.idx, property (train.lst is not needed).

All numbers are little-endian. A part is u32 0xced7230a, u32 (flag << 29 | length), the data, zeros up to 4 bytes.
Flag 0 is a whole record; 1, 2, 3 are the first, middle and last part of one that was split where its data holds
the magic number at a 4-byte boundary: the reader puts the number back between the parts. A record is a header
`<IfQQ` (flag, label, id, id2), then `flag` float32 labels where flag > 0, then the image. Records without an
image are InsightFace's bookkeeping (key 0: how many there are; then a range of keys a person) and are no samples.
Sources: apache/mxnet python/mxnet/recordio.py, dmlc-core recordio.h, insightface face2rec2.py.
"""

from __future__ import annotations

import copy
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from expnet_tf.data.recordio_scan import FIRST, HEADER, MAGIC, MAGIC_BYTES, MIDDLE, PART, find
from expnet_tf.data.sources import Source, SourceError

OLD_MAGIC = 0x3ED7230A


class RecordIO(Source):
    """The images of a .rec file, in the order of their index keys.

    Key `0000045/00001234.jpg` is the image of person 45 with the index key 1234. Records that are cut off or
    damaged are in `unreadable`. What the .idx leaves out, or all where there is none, is found by reading the .rec
    from front to back; `notes` say so.
    """

    kind = "recordio"

    def __init__(self, path: Path) -> None:
        """Reads the heads of all records (some seconds for CASIA). Raises SourceError when no image is among them."""
        self._people = self._numbers = self._offsets = np.zeros(0, np.int64)
        self._file: int | None = None
        super().__init__(path, _Numbers("{:07d}"), _Numbers("{:07d}"))
        self._property = _read_text(path.with_name("property")).strip()
        try:
            with path.open("rb") as file:
                if not os.fstat(file.fileno()).st_size:
                    raise SourceError(f"{path} is empty (0 bytes).")
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    self._find(data)
        except OSError as error:
            raise SourceError(f"{path} cannot be read ({error.strerror or error}).") from error

    def _find(self, data: mmap.mmap) -> None:
        """Finds every record and says what is odd about the file. Raises SourceError."""
        magic = int.from_bytes(data[:4], "little")
        if magic != MAGIC:
            old = ", the number of files that MXNet itself rejects" if magic == OLD_MAGIC else ""
            raise SourceError(f"{self.path} begins with {magic:#010x}{old}; RecordIO begins with {MAGIC:#010x}.")
        entries = self._entries()
        found = find(data, entries)
        index, name = self.path.with_suffix(".idx"), self.path.name
        if found.between:
            self.notes.append(f"{index.name} leaves out {found.between} records before its last; they are in {name}.")
        if found.after and entries:
            self.notes.append(f"{index.name} ends early: {found.after} records after its last were found in {name}.")
        elif found.after:
            why = "lists no record" if index.exists() else "is not there"
            self.notes.append(f"{index.name} {why}: {name} was read from front to back ({found.after} records).")
        if found.announced is not None and found.announced != len(found.images):
            self.notes.append(f"Record 0 speaks of {found.announced} images; {len(found.images)} can be read.")
        if not found.images:
            raise SourceError(f"{self.path} holds no image that can be read; {len(found.damaged)} records are damaged.")
        self.unreadable = [(record, f"{record} of {self.path} {why}.") for record, why in found.damaged.items()]
        self._take([(number, *found.images[number]) for number in sorted(found.images)])

    def _take(self, rows: list[tuple[int, int, int]] | np.ndarray) -> None:
        """Index key, person and offset of each image."""
        self._numbers, self._people, self._offsets = np.array(rows, np.int64).reshape(-1, 3).T.copy()
        self.keys = _Numbers("{:07d}/{:08d}.jpg", self._people, self._numbers)
        self.identities = _Numbers("{:07d}", self._people)

    def _entries(self) -> list[tuple[int, int]]:
        """(index key, offset) of each line of the .idx file; empty where there is none."""
        path = self.path.with_suffix(".idx")
        entries, bad = [], 0
        for line in _read_text(path).splitlines():
            fields = line.split("\t")
            # More than 20 digits are no 64-bit number, and Python turns no more than 4,300 into one.
            if len(fields) == 2 and all(f.strip().isdecimal() and len(f.strip()) <= 20 for f in fields):
                entries.append((int(fields[0]), int(fields[1])))
            elif line.strip():
                bad += 1
        if bad:
            self.notes.append(f"{bad} lines of {path.name} are not KEY<TAB>OFFSET.")
        return entries

    def _bytes(self, index: int) -> bytes:
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        parts, at, flag = [], int(self._offsets[index]), FIRST
        while flag in (FIRST, MIDDLE):
            magic, word = PART.unpack(os.pread(self._file, PART.size, at).ljust(PART.size, b"\0"))
            flag, length = word >> 29, word & (1 << 29) - 1
            part = os.pread(self._file, length, at + PART.size)
            if magic != MAGIC or len(part) != length:
                raise SourceError(f"{self.keys[index]} of {self.path} is cut off, or the file was changed.")
            parts.append(part)
            at += PART.size + -(-length // 4) * 4
        record = MAGIC_BYTES.join(parts)
        count: int = HEADER.unpack_from(record)[0]
        return record[HEADER.size + 4 * count :]

    def part(self, indices: Sequence[int] | np.ndarray) -> RecordIO:
        made = copy.copy(self)
        made.unreadable, made._file = [], None
        made._take(np.stack([self._numbers, self._people, self._offsets], 1)[np.asarray(indices, np.int64)])
        return made

    def describe(self) -> dict:
        return {**super().describe(), "property": self._property}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __del__(self) -> None:
        if self.__dict__.get("_file") is not None:
            os.close(self.__dict__["_file"])


class _Numbers(Sequence[str]):
    """Texts made of numbers when they are asked for: half a million of them stay small to hold and to pickle."""

    def __init__(self, form: str, *columns: np.ndarray) -> None:
        self._form, self._columns = form, columns

    def __len__(self) -> int:
        return len(self._columns[0]) if self._columns else 0

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> _Numbers: ...
    def __getitem__(self, index: int | slice) -> str | _Numbers:
        if isinstance(index, slice):
            return _Numbers(self._form, *(column[index] for column in self._columns))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._form.format(*(int(column[index]) for column in self._columns))


def _read_text(path: Path) -> str:
    """A small text file; "" where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
