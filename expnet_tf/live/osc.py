"""Open Sound Control 1.0 packets of the three kinds of values that VMC needs.

A dozen lines stand in for a package here: the tests decode them with python-osc where that is installed.
Source: opensoundcontrol.org, "The Open Sound Control 1.0 Specification".
"""

from __future__ import annotations

import struct

# A time tag of 1 means "at once".
_BUNDLE = b"#bundle\0" + struct.pack(">Q", 1)


def message(address: str, *values: int | float | str) -> bytes:
    """One message: int32, float32 and strings, big-endian, everything in fours of bytes.

    Raises struct.error for an int beyond 32 bits.
    """
    tags, data = ",", b""
    for value in values:
        if isinstance(value, str):
            tags, data = tags + "s", data + _string(value)
        elif isinstance(value, int):
            tags, data = tags + "i", data + struct.pack(">i", value)
        else:
            tags, data = tags + "f", data + struct.pack(">f", value)
    return _string(address) + _string(tags) + data


def bundles(messages: list[bytes], limit: int) -> list[bytes]:
    """Messages in their order, in as few bundles of at most `limit` bytes as hold them."""
    packets: list[bytes] = []
    for one in messages:
        part = struct.pack(">i", len(one)) + one
        if not packets or len(packets[-1]) + len(part) > limit:
            packets.append(_BUNDLE)
        packets[-1] += part
    return packets


def _string(text: str) -> bytes:
    raw = text.encode()
    return raw + b"\0" * (4 - len(raw) % 4)
