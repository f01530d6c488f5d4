"""Damage to bytes, and photos that are no photos: what hostile requests are made of. The same seed, the same bytes."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

# Lengths, counts and signs where parsers go wrong.
NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63))


def noise(rng: random.Random, most: int) -> bytes:
    """Between none and `most` bytes of anything."""
    return rng.randbytes(rng.randint(0, most))


def flip(rng: random.Random, data: bytes, most: int = 8) -> bytes:
    """Up to `most` bits of it, half of the time in its head, where lengths and types are."""
    made = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if made:
            at = rng.randrange(min(len(made), 128) if rng.random() < 0.5 else len(made))
            made[at] ^= 1 << rng.randrange(8)
    return bytes(made)


def cut(rng: random.Random, data: bytes) -> bytes:
    """Without its end."""
    return data[: rng.randint(0, len(data))]


def lose(rng: random.Random, data: bytes) -> bytes:
    """Without a piece in it."""
    at = rng.randint(0, len(data))
    return data[:at] + data[at + rng.randint(1, 64) :]


def repeat(rng: random.Random, data: bytes) -> bytes:
    """A piece of it twice, or a hundred times."""
    at = rng.randint(0, len(data))
    return data[:at] + data[at : at + rng.randint(1, 64)] * rng.choice((2, 100)) + data[at:]


def insert(rng: random.Random, data: bytes) -> bytes:
    """Something else in the middle."""
    at = rng.randint(0, len(data))
    return data[:at] + noise(rng, 64) + data[at:]


_DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (flip, flip, cut, lose, repeat, insert)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """One or two damages to it."""
    for _ in range(rng.randint(1, 2)):
        data = rng.choice(_DAMAGES)(rng, data)
    return data


def _photo(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


PHOTOS = {kind: _photo(kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")}  # 64 x 48 px each


def bomb(width: int, height: int) -> bytes:
    """A PNG that is nothing but its size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def photo(rng: random.Random) -> bytes:
    """A photo: whole, damaged, of another kind, a bomb, or none."""
    whole = rng.choice(list(PHOTOS.values()))
    return rng.choice(
        (
            lambda: whole,
            lambda: damaged(rng, whole),
            lambda: damaged(rng, whole),
            lambda: damaged(rng, whole),
            lambda: bomb(rng.choice((0, 1, 60_000, 2**31 - 1)), rng.choice((0, 1, 60_000, 2**31 - 1))),
            lambda: noise(rng, 300),
            lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        )
    )()


def box(rng: random.Random) -> list[float]:
    """x, y, w, h in px: on the photo, or nonsense."""
    if rng.random() < 0.5:
        return [5.0, 5.0, 30.0, 30.0]
    return [float(rng.choice((0, -1, 5, 30, 1e9, -1e38, 1e-38, float("nan"), float("inf")))) for _ in range(4)]
