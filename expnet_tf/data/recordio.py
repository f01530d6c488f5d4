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
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from expnet_tf.data.sources import Source, SourceError

MAGIC = 0xCED7230A
OLD_MAGIC = 0x3ED7230A
_MAGIC_BYTES = struct.pack("<I", MAGIC)
_PART = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)


class _DamagedError(ValueError):
    """A record that is not whole: why, as the second half of a sentence."""


class _Head(NamedTuple):
    number: int  # id in the header: the writer's index key
    labels: tuple[float, ...]
    has_image: bool
    end: int  # byte after the record


class RecordIO(Source):
    """The images of a .rec file, in the order of their index keys.

    Key `0000045/00001234.jpg` is the image of person 45 with the index key 1234. Records that are cut off or
    damaged are in `unreadable`. Without .idx, or after its last entry, the .rec is read from front to back; `notes`
    say so.
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
        """Finds every record: those of the index, then what follows the last of them."""
        magic = int.from_bytes(data[:4], "little")
        if magic != MAGIC:
            old = ", the number of files that MXNet itself rejects" if magic == OLD_MAGIC else ""
            raise SourceError(f"{self.path} begins with {magic:#010x}{old}; RecordIO begins with {MAGIC:#010x}.")
        images: dict[int, tuple[int, int]] = {}  # index key -> person, offset
        damaged: dict[int, str] = {}
        announced, end = None, 0
        entries = self._entries()
        for number, offset in entries:
            try:
                head = _head(data, offset)
                if head.has_image:
                    images[number] = _person(head), offset
                elif number == 0 and head.labels:
                    announced = int(head.labels[0]) - 1
                end = max(end, head.end)
            except _DamagedError as error:
                damaged[number] = str(error)
        found, fresh = 0, 0
        while end < len(data):
            offset = end
            try:
                head = _head(data, offset)
                end = head.end
                found += 1
                if head.has_image:
                    fresh = head.number if head.number not in images else max(images) + 1
                    images[fresh] = _person(head), offset
                    damaged.pop(fresh, None)
                elif head.number == 0 and head.labels:
                    announced = int(head.labels[0]) - 1
            except _DamagedError as error:
                if not entries:
                    damaged[-1 - offset] = str(error)
                # On to the next place where a record could begin: a multiple of 4.
                end = max(end, offset + 4)
                while end < len(data) and data[end : end + 4] != _MAGIC_BYTES:
                    step = data.find(_MAGIC_BYTES, end)
                    end = len(data) if step < 0 else -(-step // 4) * 4
        if found:
            index, name = self.path.with_suffix(".idx"), self.path.name
            if entries:
                self.notes.append(f"{index.name} ends early: {found} records after its last were found in {name}.")
            else:
                why = "lists no record" if index.exists() else "is not there"
                self.notes.append(f"{index.name} {why}: {name} was read from front to back ({found} records).")
        if announced is not None and announced != len(images):
            self.notes.append(f"Record 0 speaks of {announced} images; {len(images)} can be read.")
        if not images:
            raise SourceError(f"{self.path} holds no image that can be read; {len(damaged)} records are damaged.")
        for number in sorted(damaged):
            name = f"record {number}" if number >= 0 else f"record at byte {-1 - number}"
            self.unreadable.append((name, f"{name} of {self.path} {damaged[number]}."))
        self._take([(number, *images[number]) for number in sorted(images)])

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
            if len(fields) == 2 and all(field.strip().isdecimal() for field in fields):
                entries.append((int(fields[0]), int(fields[1])))
            elif line.strip():
                bad += 1
        if bad:
            self.notes.append(f"{bad} lines of {path.name} are not KEY<TAB>OFFSET.")
        return entries

    def _bytes(self, index: int) -> bytes:
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        parts, at, flag = [], int(self._offsets[index]), _FIRST
        while flag in (_FIRST, _MIDDLE):
            magic, word = _PART.unpack(os.pread(self._file, _PART.size, at).ljust(_PART.size, b"\0"))
            flag, length = word >> 29, word & (1 << 29) - 1
            part = os.pread(self._file, length, at + _PART.size)
            if magic != MAGIC or len(part) != length:
                raise SourceError(f"{self.keys[index]} of {self.path} is cut off, or the file was changed.")
            parts.append(part)
            at += _PART.size + -(-length // 4) * 4
        record = _MAGIC_BYTES.join(parts)
        count: int = _HEADER.unpack_from(record)[0]
        return record[_HEADER.size + 4 * count :]

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


def _head(data: mmap.mmap, offset: int) -> _Head:
    """The head of the record at a byte of the file; raises _DamagedError."""
    parts: list[tuple[int, int]] = []  # start, length
    at, flag = offset, _FIRST
    while flag in (_FIRST, _MIDDLE):
        if at % 4 or at + _PART.size > len(data):
            raise _DamagedError(f"begins or goes on at byte {at:,}; the file has {len(data):,}")
        magic, word = _PART.unpack_from(data, at)
        expected = (_MIDDLE, _LAST) if parts else (_WHOLE, _FIRST)
        flag, length = word >> 29, word & (1 << 29) - 1
        if magic != MAGIC:
            raise _DamagedError(f"has {magic:#010x} in place of {MAGIC:#010x} at byte {at:,}")
        if flag not in expected:
            raise _DamagedError(
                f"has a part of kind {flag} at byte {at:,}; {expected[0]} or {expected[1]} belongs there"
            )
        if at + _PART.size + length > len(data):
            raise _DamagedError(f"is cut off: it ends at byte {at + _PART.size + length:,}, the file has {len(data):,}")
        parts.append((at + _PART.size, length))
        at += _PART.size + -(-length // 4) * 4
    size = sum(length for _, length in parts) + 4 * (len(parts) - 1)
    start = parts[0][0]
    whole: Any = data
    if len(parts) > 1:
        whole, start = _MAGIC_BYTES.join(data[first : first + length] for first, length in parts), 0
    if size < _HEADER.size:
        raise _DamagedError(f"has {size} bytes, its header alone {_HEADER.size}")
    flag, label, number, _ = _HEADER.unpack_from(whole, start)
    if _HEADER.size + 4 * flag > size:
        raise _DamagedError(f"announces {flag} labels and has {size} bytes")
    labels = struct.unpack_from(f"<{min(flag, 2)}f", whole, start + _HEADER.size) if flag else (label,)
    return _Head(number, labels, size > _HEADER.size + 4 * flag, min(at, len(data)))


def _person(head: _Head) -> int:
    """The label as the number of a person; raises _DamagedError."""
    label = head.labels[0]
    if not (0 <= label < 2**31 and label == int(label)):
        raise _DamagedError(f"has the label {label:g}; the number of a person is expected")
    return int(label)


def _read_text(path: Path) -> str:
    """A small text file; "" where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
