"""The pixels of the release: what its networks were shown of a photo, as `pixels="release2018"`.

The square of side max(w, h) about the box's centre, a quarter of the side added on every side, zero padded, its
corners rounded up; cubic to 227 px; written as a JPEG file and read again; for the two ResNets bilinear to 224 px as
TF1 did it, without half-pixel centres. `crop_square` and `crop` take and give what those of image.py do. They leave out
the JPEG file, whose bytes depend on the library that writes it and which no exported graph can repeat; the pipeline,
which is for what the release's program made of a photo, has it. Nor can a network's uint8 input hold the fractions
that the bilinear step gives: `crop` rounds them, and the pipeline does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from expnet_tf.image import MAX_SIDE, ImageError, check_box, check_overlap, check_pixels, cut_square

SIDE = 227  # px; FacePoseNet's input, and what the other two are resized from
FACTOR = 1.5
JPEG_QUALITY = 95  # OpenCV's own, which the program left as it was


def crop_square(box: Sequence[float], factor: float = FACTOR) -> tuple[int, int, int]:
    """The square that is cut out for a face box (x, y, w, h) px: x0, y0 (may be negative), side >= 1, whole px.

    Raises ImageError: a bad box, a factor that is not positive, or a side above MAX_SIDE.
    """
    x, y, w, h = check_box(box)
    if not (math.isfinite(factor) and factor > 0):
        raise ImageError(f"the crop factor is {factor!r}; a positive number is expected.")
    if factor * max(w, h) > MAX_SIDE:
        raise ImageError(f"the box {w:g}x{h:g} px times the crop factor {factor:g} exceeds {MAX_SIDE} px.")
    left, right = _span((x + (x + w)) / 2, max(w, h), (factor - 1) / 2)
    top, bottom = _span((y + (y + h)) / 2, max(w, h), (factor - 1) / 2)
    # Rounded up one by one, the two sides may differ by a pixel: the program takes the longer.
    return left, top, max(1, right - left, bottom - top)


def _span(center: float, side: float, margin: float) -> tuple[int, int]:
    """First and last edge along an axis, in the program's float32: where it rounds up, the last bit decides."""
    low, high = np.float32(center - side / 2), np.float32(center + side / 2)
    length = high - low
    low, high = low - length * np.float32(margin), low + length * np.float32(1 + margin)
    filled = max(0, math.ceil(-low))  # columns that the program adds before it rounds
    return tuple(math.ceil(np.float32(float(edge) + filled)) - filled for edge in (low, high))  # type: ignore[return-value]


def crop(image: np.ndarray, box: Sequence[float], size: int, factor: float = FACTOR) -> np.ndarray:
    """Cut the square out of the photo and resize it, without the JPEG file.

    Args:
        image: uint8 RGB [H, W, 3].
        box: (x, y, w, h) px; may reach beyond the photo (zero padded) but must overlap it.
        size: side S of the result, px: 227, or what it is resized to.
        factor: side of the square over max(w, h); the release's is 1.5.

    Returns:
        uint8 [S, S, 3]. Raises ImageError: see `image.crop`.
    """
    first = crop227(image, box, factor)
    return first if size == SIDE else np.rint(legacy_bilinear(first[None], size)[0]).astype(np.uint8)


def crop227(image: np.ndarray, box: Sequence[float], factor: float = FACTOR) -> np.ndarray:
    """The crop before the bilinear step: uint8 [227, 227, 3]; arguments and errors as of `crop`."""
    check_pixels(image)
    check_overlap(image, box)
    square = np.ascontiguousarray(cut_square(image, *crop_square(box, factor)))
    return np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))


def through_jpeg(image: np.ndarray) -> np.ndarray:
    """uint8 RGB [H, W, 3] as it comes back from a JPEG file that OpenCV wrote."""
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    read = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert read is not None  # it has just been written
    return np.ascontiguousarray(read[..., ::-1])


def legacy_bilinear(images: np.ndarray, size: int) -> np.ndarray:
    """[B, H, W, 3] -> float32 [B, size, size, 3]: TF1's resize_bilinear, in its order of float32 operations.

    Output pixel i lies at i * H / size of the input: the first rows agree, and the last are never reached.
    """
    values = np.asarray(images, np.float32)
    up, down, below = _taps(values.shape[1], size)
    left, right, beside = _taps(values.shape[2], size)
    columns = values[:, :, left] + (values[:, :, right] - values[:, :, left]) * beside[:, None]
    return np.asarray(columns[:, up] + (columns[:, down] - columns[:, up]) * below[:, None, None])


def _taps(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel before and after each output pixel, and the share of the one after, float32."""
    at = np.arange(size, dtype=np.float32) * (np.float32(length) / np.float32(size))
    first = np.floor(at).astype(np.int64)
    return first, np.minimum(first + 1, length - 1), at - first.astype(np.float32)
