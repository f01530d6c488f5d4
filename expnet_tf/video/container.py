"""Why a file cannot be opened as a video: one sentence, read off its first bytes and its boxes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

ACCEPTED = "a video that FFmpeg reads (MP4, MOV, MKV, WebM, AVI, ...) is expected"
_SOUND = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"\xff\xf9", b"#!AMR")
_MAX_INDEX = 64 * 2**20  # bytes of an index that are searched


def reason(path: Path) -> str:
    """The sentence for a file that exists and that the decoder has refused."""
    with path.open("rb") as file:
        head = file.read(16)
        if not head:
            return f"{path} is empty (0 bytes); {ACCEPTED}."
        if (head[:4] == b"RIFF" and head[8:12] == b"WAVE") or head.startswith(_SOUND):
            return f"{path} holds sound only; {ACCEPTED}."
        if head[4:8] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
            return f"{path} holds no video that can be decoded (its first bytes are {head[:8]!r}); {ACCEPTED}."
        index = _index(path, file)
    if index is None:
        return (
            f"{path} is cut off: its index (the moov box, which phones and cameras write last) is missing, so none of "
            f"its frames can be found."
        )
    if b"vide" in index:
        return f"{path} has a video track without frames that can be decoded: it is empty, or of an unknown codec."
    if b"soun" in index:
        return f"{path} holds sound only; {ACCEPTED}."
    return f"{path} holds no video track; {ACCEPTED}."


def cut_off(path: Path) -> bool | None:
    """Whether an MP4 or MOV file ends within one of its boxes; None: it is neither, and does not tell."""
    with path.open("rb") as file:
        if file.read(8)[4:] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
            return None
        end = path.stat().st_size
        return any(at + size > end for _, at, size in _boxes(end, file))


def _index(path: Path, file: BinaryIO) -> bytes | None:
    """The moov box of an MP4 or MOV file; None where it is missing or cut off."""
    end = path.stat().st_size
    for kind, at, size in _boxes(end, file):
        if kind == b"moov":
            file.seek(at)
            return file.read(min(size, _MAX_INDEX)) if at + size <= end else None
    return None


def _boxes(end: int, file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of the file: kind, start and length as they are stated, the last perhaps beyond the end."""
    at = 0
    while at + 8 <= end:
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1:  # 64 bits follow
            extended = file.read(8)
            size = struct.unpack(">Q", extended)[0] if len(extended) == 8 else 0
        elif size == 0:  # up to the end of the file
            size = end - at
        if size < 8:
            return
        yield kind, at, size
        at += size
