"""Where the records of a RecordIO file lie, and whose images they hold: by the index, and where it has gaps, by eye.

The format is described in recordio.py.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
PART = struct.Struct("<II")
HEADER = struct.Struct("<IfQQ")
WHOLE, FIRST, MIDDLE, LAST = range(4)
END = 2**63  # index keys are held as int64


class _DamagedError(ValueError):
    """A record that is not whole: why, as the second half of a sentence."""


class _Head(NamedTuple):
    number: int  # id in the header: the writer's index key
    labels: tuple[float, ...]
    has_image: bool
    end: int  # byte after the record


@dataclass
class Found:
    """What is in a file. The keys of `images` are below 2^63."""

    images: dict[int, tuple[int, int]] = field(default_factory=dict)  # index key -> person, offset
    damaged: dict[str, str] = field(default_factory=dict)  # name of a record -> second half of a sentence
    announced: int | None = None  # images that record 0 speaks of
    between: int = 0  # records that the index leaves out, before its last
    after: int = 0  # records after the last of the index


def find(data: mmap.mmap, entries: list[tuple[int, int]]) -> Found:
    """Finds every record: those of the index, (key, offset) each, then what lies beside them."""
    found = Found()
    covered: list[tuple[int, int]] = []
    for number, offset in entries:
        try:
            head = _head(data, offset)
            if found.images.get(number, (0, offset))[1] != offset:
                continue  # a second record with this key: taken below, as one that the index leaves out
            covered.append((offset, head.end))
            _take(found, head, offset, number)
        except _DamagedError as error:
            found.damaged[f"record {number}"] = str(error)
    known, top, end = {offset for _, offset in entries}, max(found.images, default=0), 0
    for start, stop in sorted(covered):
        if start > end:
            count, top = _search(data, end, start, known, top, found)
            found.between += count
        end = max(end, stop)
    found.after, _ = _search(data, end, len(data), known, top, found)
    return found


def _search(data: mmap.mmap, at: int, stop: int, known: set[int], top: int, found: Found) -> tuple[int, int]:
    """Takes the records that lie one after the other from `at` to `stop`; returns how many, and the largest key.

    known: offsets in the index, empty where there is none. top: the largest key so far; a record whose own is taken
    gets the next one.
    """
    count, sure = 0, True
    while at < stop:
        offset = at
        try:
            head = _head(data, offset)
            at, sure = head.end, True
            count += 1
            number = head.number
            if head.has_image and number in found.images:
                number = top + 1
            if _take(found, head, offset, number):
                top = max(top, number)
                found.damaged.pop(f"record {number}", None)  # the index had its key at a wrong place
        except _DamagedError as error:
            # What the index has is listed with its key; what only looks like a record may be a part of one.
            if not known or (sure and offset not in known):
                found.damaged[f"record at byte {offset}"] = str(error)
            if at > offset:
                continue  # whole, but of no use
            # On to the next place where a record could begin: a multiple of 4.
            at, sure = offset + 4, False
            while at < stop and data[at : at + 4] != MAGIC_BYTES:
                step = data.find(MAGIC_BYTES, at)
                at = stop if step < 0 else -(-step // 4) * 4
    return count, top


def _take(found: Found, head: _Head, offset: int, number: int) -> bool:
    """Whether the record has an image, which then is in `found`. Raises _DamagedError."""
    if head.has_image:
        if number >= END:
            raise _DamagedError(f"has the key {number}; keys below 2^63 are read")
        found.images[number] = _person(head), offset
    elif number == 0 and math.isfinite(head.labels[0]):
        found.announced = int(head.labels[0]) - 1
    return head.has_image


def _head(data: mmap.mmap, offset: int) -> _Head:
    """The head of the record at a byte of the file; raises _DamagedError."""
    parts: list[tuple[int, int]] = []  # start, length
    at, flag = offset, FIRST
    while flag in (FIRST, MIDDLE):
        if at % 4 or at + PART.size > len(data):
            raise _DamagedError(f"begins or goes on at byte {at:,}; the file has {len(data):,}")
        magic, word = PART.unpack_from(data, at)
        expected = (MIDDLE, LAST) if parts else (WHOLE, FIRST)
        flag, length = word >> 29, word & (1 << 29) - 1
        if magic != MAGIC:
            raise _DamagedError(f"has {magic:#010x} in place of {MAGIC:#010x} at byte {at:,}")
        if flag not in expected:
            raise _DamagedError(
                f"has a part of kind {flag} at byte {at:,}; {expected[0]} or {expected[1]} belongs there"
            )
        if at + PART.size + length > len(data):
            raise _DamagedError(f"is cut off: it ends at byte {at + PART.size + length:,}, the file has {len(data):,}")
        parts.append((at + PART.size, length))
        at += PART.size + -(-length // 4) * 4
    size = sum(length for _, length in parts) + 4 * (len(parts) - 1)
    start = parts[0][0]
    whole: Any = data
    if len(parts) > 1:
        whole, start = MAGIC_BYTES.join(data[first : first + length] for first, length in parts), 0
    if size < HEADER.size:
        raise _DamagedError(f"has {size} bytes, its header alone {HEADER.size}")
    flag, label, number, _ = HEADER.unpack_from(whole, start)
    if HEADER.size + 4 * flag > size:
        raise _DamagedError(f"announces {flag} labels and has {size} bytes")
    labels = struct.unpack_from(f"<{min(flag, 2)}f", whole, start + HEADER.size) if flag else (label,)
    return _Head(number, labels, size > HEADER.size + 4 * flag, min(at, len(data)))


def _person(head: _Head) -> int:
    """The label as the number of a person; raises _DamagedError."""
    label = head.labels[0]
    if not (0 <= label < 2**31 and label == int(label)):
        raise _DamagedError(f"has the label {label:g}; the number of a person is expected")
    return int(label)
