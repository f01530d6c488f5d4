"""The pixels of image.py as TensorFlow operations, for a model that is sent the bytes of a photo and a box.

`decode_image` and `crop` give what those of image.py give, bit for bit: decoded by the same libraries, resized in
OpenCV's own arithmetic (of its 8-bit code on x86_64; its code for other processors may round otherwise, by one
grey level). What image.py refuses with a sentence is here `valid`, False.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from expnet_tf.exif_graph import orientation
from expnet_tf.image import MAX_BYTES, MAX_PIXELS, MAX_SIDE

# By EXIF orientation: whether y and x run backwards, once the photos from 5 on have been transposed.
_REVERSED = (
    (False, False), (False, False), (False, True), (True, True), (True, False),
    (False, False), (False, True), (True, True), (True, False),
)  # fmt: skip


def attempt(function: Callable[[tf.Tensor], Any], argument: tf.Tensor, otherwise: Any) -> Any:
    """`function(argument)`, or `otherwise`, of the same types, where an operation in it fails.

    A graph has no try: an operation that fails ends the call, for a whole batch. A dataset is the one place
    where failures can be left out. This one has a single element, costs microseconds, and runs on the CPU.
    """
    tried = tf.data.Dataset.from_tensors(argument).map(function).ignore_errors()
    return tried.concatenate(tf.data.Dataset.from_tensors(otherwise)).take(1).get_single_element()


def decode_image(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode a JPEG or PNG file and turn it upright; see `image.decode_image` for what becomes of odd pixels.

    Other formats that image.py reads are not valid here. EXIF is read, an orientation in XMP alone is not.

    Args:
        data: string scalar, the bytes of the file, at most MAX_BYTES.

    Returns:
        uint8 [H, W, 3], RGB, H * W <= MAX_PIXELS, and `valid`, bool scalar; [0, 0, 3] where it is False: another
        format, too large, truncated or damaged. No bytes make the call fail.
    """
    image = attempt(_decode, data, tf.zeros([0, 0, 3], tf.uint8))
    turn = attempt(orientation, data, tf.constant(0))  # broken EXIF is no reason to refuse whole pixels
    return tf.cond(turn > 1, lambda: _turn_upright(image, turn), lambda: image), tf.size(image) > 0


def crop(image: tf.Tensor, box: tf.Tensor, size: int, factor: float | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cut the square about a face box out of the photo and resize it: see `image.crop`.

    Args:
        image: uint8 RGB [H, W, 3].
        box: float [4], (x, y, w, h) px.
        size: side S of the result, px.
        factor: side of the square over max(w, h), positive; float64 where it is a tensor.

    Returns:
        uint8 [S, S, 3] and `valid`, bool scalar; black where it is False: a box that is not finite, empty, outside
        of the photo or larger than MAX_SIDE allows.
    """
    x, y, w, h = tf.unstack(tf.cast(box, tf.float64))
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float64))
    side = factor * tf.maximum(w, h)
    overlaps = (x < width) & (y < height) & (x + w > 0) & (y + h > 0)
    valid = tf.reduce_all(tf.math.is_finite(box)) & (w > 0) & (h > 0) & overlaps & (side <= MAX_SIDE)

    def cut() -> tf.Tensor:
        whole = tf.maximum(1, _round_half_up(side))
        half = tf.cast(whole, tf.float64) / 2
        corner = tf.stack([_round_half_up(y + h / 2 - half), _round_half_up(x + w / 2 - half)])
        return _resize(_square(image, corner, whole), size)

    return tf.cond(valid, cut, lambda: tf.zeros([size, size, 3], tf.uint8)), valid


def _decode(data: tf.Tensor) -> tf.Tensor:
    is_jpeg = tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff"
    is_png = tf.strings.substr(data, 0, 8) == b"\x89PNG\r\n\x1a\n"

    def png_shape() -> tf.Tensor:
        width_height = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)
        return width_height[::-1]

    def fits(shape: tf.Tensor) -> tf.Tensor:
        return (tf.reduce_prod(tf.cast(shape, tf.float64)) <= MAX_PIXELS) & (tf.strings.length(data) <= MAX_BYTES)

    def none() -> tf.Tensor:
        return tf.zeros([0, 0, 3], tf.uint8)

    # The header first: a file that claims too many pixels must not be decoded at all.
    def jpeg() -> tf.Tensor:
        small = fits(tf.io.extract_jpeg_shape(data)[:2])
        return tf.cond(small, lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"), none)

    def png() -> tf.Tensor:
        return tf.cond(fits(png_shape()), lambda: tf.io.decode_png(data, channels=3), none)

    return tf.cond(is_jpeg, jpeg, lambda: tf.cond(is_png, png, none))


def _turn_upright(image: tf.Tensor, turn: tf.Tensor) -> tf.Tensor:
    image = tf.cond(turn >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    y, x = tf.unstack(tf.gather(tf.constant(_REVERSED), turn))
    return tf.raw_ops.Reverse(tensor=image, dims=tf.stack([y, x, False]))


def _round_half_up(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.floor(value + 0.5), tf.int32)


def _square(image: tf.Tensor, corner: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """uint8 [side, side, 3] from `corner`, int32 (y, x), on; black where the photo has no pixels."""
    limit = tf.shape(image)[:2]
    low, high = tf.clip_by_value(corner, 0, limit), tf.clip_by_value(corner + side, 0, limit)
    part = tf.slice(image, tf.concat([low, [0]], 0), tf.concat([high - low, [3]], 0))
    before = tf.clip_by_value(low - corner, 0, side)
    padding = tf.stack([before, side - before - (high - low)], axis=1)
    return tf.pad(part, tf.concat([padding, [[0, 0]]], 0))


def _resize(square: tf.Tensor, size: int) -> tf.Tensor:
    side = tf.shape(square)[0]
    resized = tf.cond(side < size, lambda: _linear(square, size), lambda: _area(square, size))
    return tf.ensure_shape(tf.cond(side == size, lambda: square, lambda: resized), [size, size, 3])


def _linear(square: tf.Tensor, size: int) -> tf.Tensor:
    """cv2.INTER_LINEAR of 8-bit pixels: weights of 11 bits, 4 low bits lost between the passes, and rounding last."""
    side = tf.shape(square)[0]
    place = (tf.range(size, dtype=tf.float64) + 0.5) * _scale(side, size) - 0.5
    place = tf.cast(place, tf.float32)
    first = tf.floor(place)
    part, first = place - first, tf.cast(first, tf.int32)

    def weights(part: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(tf.round((1 - part) * 2048), tf.int32), tf.cast(tf.round(part * 2048), tf.int32)

    def take(values: tf.Tensor, index: tf.Tensor, axis: int) -> tf.Tensor:
        return tf.gather(values, tf.clip_by_value(index, 0, side - 1), axis=axis)

    pixels = tf.cast(square, tf.int32)
    # Columns beyond the edge count as the edge; rows beyond it are weighed with their own weights.
    left, right = weights(tf.where((first < 0) | (first >= side - 1), 0.0, part))
    rows = take(pixels, first, 1) * left[:, None] + take(pixels, first + 1, 1) * right[:, None]
    rows = tf.bitwise.right_shift(rows, 4)
    above, below = (weight[:, None, None] for weight in weights(part))
    total = tf.bitwise.right_shift(take(rows, first, 0) * above, 16)
    total += tf.bitwise.right_shift(take(rows, first + 1, 0) * below, 16)
    return tf.cast(tf.bitwise.right_shift(total + 2, 2), tf.uint8)


def _area(square: tf.Tensor, size: int) -> tf.Tensor:
    """cv2.INTER_AREA of 8-bit pixels: float32 sums over the columns, then over the rows, in that order."""
    side = tf.shape(square)[0]
    scale = _scale(side, size)
    start = tf.range(size, dtype=tf.float64) * scale
    end = start + scale
    cell = tf.minimum(scale, tf.cast(side, tf.float64) - start)
    last = tf.minimum(tf.floor(end), tf.cast(side - 1, tf.float64))  # the px that may be covered in part
    first = tf.minimum(tf.math.ceil(start), last)  # the first one that is covered whole
    index = first[:, None] - 1 + tf.range(tf.math.ceil(scale) + 2, dtype=tf.float64)

    def column(values: tf.Tensor) -> tf.Tensor:
        return values[:, None]

    weight = tf.where((index >= column(first)) & (index < column(last)), column(1 / cell), 0)
    head, tail = first - start, end - last  # parts under a thousandth of a px are left out
    weight = tf.where((index == column(first) - 1) & (column(head) > 1e-3), column(head / cell), weight)
    tail_weight = tf.minimum(tf.minimum(tail, 1), cell) / cell
    weight = tf.where((index == column(last)) & (column(tail) > 1e-3), column(tail_weight), weight)
    # Whole multiples are summed in integers and divided once.
    multiple = side % size == 0
    weight = tf.where(multiple, tf.cast(weight > 0, tf.float64), weight)
    share = tf.where(multiple, 1 / (scale * scale), 1)

    index = tf.cast(tf.clip_by_value(index, 0, tf.cast(side - 1, tf.float64)), tf.int32)
    taps = tf.transpose(index), tf.transpose(tf.cast(weight, tf.float32))

    def across(total: tf.Tensor, tap: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return total + tf.cast(tf.gather(square, tap[0], axis=1), tf.float32) * tap[1][:, None]

    rows = tf.foldl(across, taps, tf.zeros([side, size, 3]))

    def down(total: tf.Tensor, tap: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return total + tf.gather(rows, tap[0]) * tap[1][:, None, None]

    mean = tf.foldl(down, taps, tf.zeros([size, size, 3])) * tf.cast(share, tf.float32)
    # Halves go to the even level, except in OpenCV's own code for halving, which rounds them up.
    return tf.cast(tf.where(side == 2 * size, tf.floor(mean + 0.5), tf.round(mean)), tf.uint8)


def _scale(side: tf.Tensor, size: int) -> tf.Tensor:
    """px of the square to one of the result, float64, rounded twice as OpenCV does."""
    return 1 / (size / tf.cast(side, tf.float64))
