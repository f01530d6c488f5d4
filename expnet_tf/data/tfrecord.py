"""TFRecord files and tf.train.Example messages without TensorFlow: framing, checksums, the wire format.

A record is its length (u64), a masked CRC-32C of these 8 bytes, the data, and a masked CRC-32C of the data; all
little-endian. The data is a `tf.train.Example` of byte strings and float lists:
  Example {Features features = 1}   Features {map<string, Feature> feature = 1}
  Feature {BytesList bytes_list = 1 | FloatList float_list = 2}   BytesList, FloatList {repeated value = 1}
Sources: TensorFlow's record_writer.cc, example.proto, feature.proto; protobuf.dev's page on the encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import numba
import numpy as np

HEADER, FOOTER = 12, 4  # bytes around a record's data
_MASK = 0xA282EAD8
_BYTES_LIST, _FLOAT_LIST = 1, 2


class FormatError(ValueError):
    """Bytes that are no whole record or message; the message says what is wrong, not where."""


def _tables() -> np.ndarray:
    """uint32 [8, 256]: CRC-32C (Castagnoli, reflected) of a byte followed by 0 to 7 zero bytes."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1).astype(np.uint32)
    tables = [table]
    for _ in range(7):
        tables.append(table[tables[-1] & 0xFF] ^ (tables[-1] >> 8))
    return np.stack(tables)


_TABLES = _tables()


@numba.njit("uint32(uint8[::1], uint32[:, ::1])", cache=True, nogil=True)
def _crc(data: np.ndarray, tables: np.ndarray) -> np.uint32:
    # Eight bytes a step: a byte at a time would cost a tenth of the decoding of a JPEG.
    crc = np.uint32(0xFFFFFFFF)
    whole = len(data) // 8 * 8
    for i in range(0, whole, 8):
        crc = (
            tables[7, data[i] ^ (crc & 0xFF)]
            ^ tables[6, data[i + 1] ^ (crc >> 8 & 0xFF)]
            ^ tables[5, data[i + 2] ^ (crc >> 16 & 0xFF)]
            ^ tables[4, data[i + 3] ^ (crc >> 24)]
            ^ tables[3, data[i + 4]]
            ^ tables[2, data[i + 5]]
            ^ tables[1, data[i + 6]]
            ^ tables[0, data[i + 7]]
        )
    for i in range(whole, len(data)):
        crc = tables[0, (crc ^ data[i]) & 0xFF] ^ (crc >> 8)
    return crc ^ np.uint32(0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli, as in RFC 3720) of `data`."""
    # A copy: numba compiles for writable arrays, and those of bytes are not.
    return int(_crc(np.frombuffer(data, np.uint8).copy(), _TABLES))


def masked_crc(data: bytes) -> int:
    """The checksum as TFRecord stores it: turned by 15 bits, plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """The record that holds `data`."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", masked_crc(length)), data, struct.pack("<I", masked_crc(data))))


def unframe(record: bytes) -> bytes:
    """The data of one record; raises FormatError for a wrong length or checksum."""
    if len(record) < HEADER + FOOTER:
        raise FormatError(f"has {len(record)} bytes, a record at least {HEADER + FOOTER}")
    length, check = struct.unpack_from("<QI", record)
    if masked_crc(record[:8]) != check or length != len(record) - HEADER - FOOTER:
        raise FormatError("has a damaged length")
    data = record[HEADER:-FOOTER]
    if masked_crc(data) != struct.unpack_from("<I", record, len(record) - FOOTER)[0]:
        raise FormatError("has a wrong checksum")
    return data


def encode_example(features: Mapping[str, bytes | np.ndarray]) -> bytes:
    """tf.train.Example of the features, in sorted order; arrays are stored as float32, flattened."""
    entries = []
    for name in sorted(features):
        value = features[name]
        if isinstance(value, bytes):
            feature = _field(_BYTES_LIST, _field(1, value))
        else:
            feature = _field(_FLOAT_LIST, _field(1, np.asarray(value, "<f4").tobytes()))
        entries.append(_field(1, _field(1, name.encode()) + _field(2, feature)))
    return _field(1, b"".join(entries))


def decode_example(data: bytes) -> dict[str, bytes | np.ndarray]:
    """The features of a tf.train.Example: the (first) byte string, or float32 [n], of each name.

    Lists of integers are left out. Raises FormatError for bytes that are no such message.
    """
    features: dict[str, bytes | np.ndarray] = {}
    for number, example in _fields(data):
        for inner, entry in _fields(example) if number == 1 else ():
            parts = dict(_fields(entry)) if inner == 1 else {}
            for kind, values in _fields(parts.get(2, b"")):
                items = [value for field, value in _fields(values) if field == 1]
                name = parts.get(1, b"").decode(errors="replace")
                if kind == _BYTES_LIST and items:
                    features[name] = items[0]
                elif kind == _FLOAT_LIST:
                    packed = b"".join(items)
                    if len(packed) % 4:
                        raise FormatError(f"is no tf.train.Example: {name} has {len(packed)} bytes of floats")
                    features[name] = np.frombuffer(packed, "<f4")
    return features


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of each length-delimited or 32-bit field; other kinds are stepped over."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, at = _read_varint(data, at)
            continue
        if kind == 2:
            size, at = _read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise FormatError(f"is no tf.train.Example: a field of kind {kind}")
        if at + size > len(data):
            raise FormatError("is no tf.train.Example: a field reaches beyond its end")
        if kind != 1:
            yield number, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise FormatError("is no tf.train.Example: a number is cut off")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
