"""The EXIF orientation of a JPEG or PNG file, read by TensorFlow operations: the decoders of TensorFlow ignore it.

Everything here fails, as an operation fails, on bytes that end too early; `image_graph.attempt` catches that.
"""

from __future__ import annotations

import tensorflow as tf

# Segments or chunks that are looked at, about 0.1 ms each: bytes made of nothing else must not hold a server up.
# EXIF is the first or second of a handful in a JPEG; in a PNG of 8 kB chunks it is found behind 30 MB of pixels.
MAX_PARTS = 4096

_ORIENTATION_TAG, _SHORT = 0x0112, 3
_APP1, _START_OF_SCAN, _END_OF_IMAGE = 0xFFE1, 0xFFDA, 0xFFD9


def orientation(data: tf.Tensor) -> tf.Tensor:
    """What the file says about how it was held: int32 scalar, 1..8, or 0 where it says nothing.

    data: string scalar, the bytes of a JPEG or PNG. The first EXIF block is read, as image.py reads it; an
    orientation that is written in XMP alone is not.
    """
    is_jpeg = tf.strings.substr(data, 0, 2) == b"\xff\xd8"
    start, length = tf.cond(is_jpeg, lambda: _find_in_jpeg(data), lambda: _find_in_png(data))
    return tf.cond(length > 0, lambda: _read_tag(tf.strings.substr(data, start, length)), lambda: tf.constant(0))


def _find_in_jpeg(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the TIFF block lies in the APP1 segment: start and length int32, length 0 where there is none."""

    def look(at: tf.Tensor, start: tf.Tensor, length: tf.Tensor, go: tf.Tensor) -> tuple[tf.Tensor, ...]:
        marker, size = _number(data, at, 2), _number(data, at + 2, 2)
        found = (marker == _APP1) & (tf.strings.substr(data, at + 4, 6) == b"Exif\0\0")
        ends = (marker == _START_OF_SCAN) | (marker == _END_OF_IMAGE) | (marker < 0xFF00)
        # A marker may be preceded by any number of bytes FF.
        onward = tf.where(marker == 0xFFFF, at + 1, at + 2 + size)
        return onward, tf.where(found, at + 10, start), tf.where(found, size - 8, length), ~(found | ends)

    return _walk(look, 2)


def _find_in_png(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The same of the chunk eXIf, which may stand before or behind the pixels."""

    def look(at: tf.Tensor, start: tf.Tensor, length: tf.Tensor, go: tf.Tensor) -> tuple[tf.Tensor, ...]:
        size, kind = _number(data, at, 4), tf.strings.substr(data, at + 4, 4)
        found = kind == b"eXIf"
        # A negative size is one of 2 GB and more, which no file that was decoded has.
        go = ~(found | (kind == b"IEND") | (size < 0))
        return at + 12 + size, tf.where(found, at + 8, start), tf.where(found, size, length), go

    return _walk(look, 8)


def _walk(look, first: int) -> tuple[tf.Tensor, tf.Tensor]:
    state = (tf.constant(first), tf.constant(0), tf.constant(0), tf.constant(True))
    _, start, length, _ = tf.while_loop(lambda at, start, length, go: go, look, state, maximum_iterations=MAX_PARTS)
    return start, length


def _read_tag(block: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of a TIFF block: int32 scalar, 0 where it has none."""
    start = tf.strings.substr(block, 0, 4)
    big = start == b"MM\x00\x2a"

    def directory() -> tf.Tensor:
        at = _number(block, 4, 4, big)
        # As many entries as there are bytes for: the first ones of a block that was cut off are still good.
        room = (tf.strings.length(block) - at - 2) // 12
        count = tf.minimum(_number(block, at, 2, big), room)
        entries = tf.reshape(_bytes(block, at + 2, 12 * count), [count, 12])

        def pair(column: int) -> tf.Tensor:
            first, second = entries[:, column], entries[:, column + 1]
            return tf.where(big, 256 * first + second, first + 256 * second)

        found = (pair(0) == _ORIENTATION_TAG) & (pair(2) == _SHORT)
        value = tf.reduce_max(tf.where(found, pair(8), 0))
        return tf.where((count > 0) & (value <= 8), value, 0)

    return tf.cond(big | (start == b"II\x2a\x00"), directory, lambda: tf.constant(0))


def _bytes(data: tf.Tensor, at: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(tf.strings.substr(data, at, count), tf.uint8), tf.int32)


def _number(data: tf.Tensor, at: tf.Tensor | int, count: int, big: tf.Tensor | bool = True) -> tf.Tensor:
    """The int32 in `count` bytes from `at`."""
    weights = [256**place for place in reversed(range(count))]
    return tf.reduce_sum(_bytes(data, at, count) * tf.where(big, weights, weights[::-1]))
