"""The definition of the pixels: how a file becomes an RGB array and a face box the network's input.

Training, prediction and the parity inputs of every export go through `decode_image` and `crop`. Boxes are
(x, y, w, h) in px of the photo *after* its EXIF rotation, x to the right and y down from its top left corner.
"""

from __future__ import annotations

import io
import math
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
# Largest crop square; a face that fills a square photo of MAX_PIXELS, with room around it, needs 10,600 px.
MAX_SIDE = 12_288
# How a crop is cut out of a photo, by the name that a model's file says: as here, which is the default, or as the
# program of 2018 did it, for its networks (release2018/pixels.py).
PIXELS = ("expnet", "release2018")

_ACCEPTED = "JPEG, PNG, WebP, BMP, TIFF or GIF"
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_warnings_lock = threading.Lock()


class ImageError(ValueError):
    """An image or a box that cannot be used; the message is one sentence that names the file."""


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a photo from disk: see `decode_image`.

    Raises:
        ImageError: the path is missing, no regular file, unreadable, too large, or not a whole image.
    """
    path = Path(path)
    try:
        # Only regular files: reading a pipe or a device could wait for ever.
        if not path.is_file():
            kind = "is a folder" if path.is_dir() else "is no plain file"
            what = kind if path.exists() else "does not exist"
            raise ImageError(f"{path} {what}; a {_ACCEPTED} file is expected.")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ImageError(_too_long(str(path), size))
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror or error}).") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str = "image") -> np.ndarray:
    """Decode an image file held in memory.

    The format is told from the bytes, never from the name; the format and the number of pixels are checked in
    the header, before any pixel is decoded. The EXIF orientation is applied. Colour profiles are ignored, of
    several frames the first is taken, of 16 bits the upper 8 are kept (within one level of 1/257), and
    transparency is dropped (the colour below it stays, nothing is blended): TensorFlow's in-graph decoders do
    the same, so that a serving graph that decodes PNG or JPEG bytes itself sees the same pixels.

    Args:
        data: the bytes of a JPEG, PNG, WebP, BMP, TIFF or GIF file, at most MAX_BYTES.
        name: how error messages call it, usually its path.

    Returns:
        uint8 [H, W, 3], RGB, H * W <= MAX_PIXELS.

    Raises:
        ImageError: not one of these formats, too large, truncated or damaged.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); a {_ACCEPTED} file is expected.")
    if len(data) > MAX_BYTES:
        raise ImageError(_too_long(name, len(data)))
    try:
        with _quiet():
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(_too_many_pixels(name, f"{image.width}x{image.height} px"))
            image.load()
            return np.ascontiguousarray(_to_rgb(_turn_upright(image), name))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        start = bytes(data[:8])
        raise ImageError(f"{name} is not a {_ACCEPTED} image (its first bytes are {start!r}).") from error
    except Image.DecompressionBombError as error:
        # Above its own limit Pillow refuses before it hands out a size; its message has the count.
        count = re.search(r"\d+", str(error))
        received = f"{int(count[0]):,} px" if count else "far more"
        raise ImageError(_too_many_pixels(name, received)) from error
    except MemoryError as error:
        raise ImageError(f"{name} does not fit into memory when decoded.") from error
    except Exception as error:
        # Hostile or broken bytes end in OSError, SyntaxError, struct.error, IndexError, ...: for the caller
        # they are all one thing, and a batch must go on.
        reason = str(error) or type(error).__name__
        raise ImageError(f"{name} is a truncated or damaged image ({reason}).") from error


def check_box(box: Sequence[float], name: str = "image") -> tuple[float, float, float, float]:
    """Return the box as four floats (x, y, w, h) in px.

    Raises:
        ImageError: not four finite numbers, or a width or height that is not positive.
    """
    try:
        numbers = tuple(float(value) for value in box)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise ImageError(f"{name}: the box is {box!r}; four finite numbers x, y, w, h in px are expected.")
    x, y, w, h = numbers
    if w <= 0 or h <= 0:
        raise ImageError(f"{name}: the box is {w:g} px wide and {h:g} px high; both must be positive.")
    return x, y, w, h


def check_pixels(image: np.ndarray, name: str = "image") -> None:
    """Raise ImageError unless `image` is a non-empty uint8 array [H, W, 3]."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{name} is a {type(image).__name__}; a uint8 RGB array [H, W, 3] is expected.")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f"{name} is {image.dtype} {list(image.shape)}; uint8 RGB [H, W, 3] is expected.")


def crop_square(box: Sequence[float], factor: float) -> tuple[int, int, int]:
    """The square that is cut out for a face box.

    Args:
        box: (x, y, w, h) px of the photo.
        factor: side of the square over max(w, h).

    Returns:
        x0, y0 (may be negative), side >= 1, whole px of the photo; halves are rounded up, so that the result
        does not hang on the parity of a coordinate.

    Raises:
        ImageError: a bad box, a factor that is not positive, or a side above MAX_SIDE.
    """
    x, y, w, h = check_box(box)
    if not (math.isfinite(factor) and factor > 0):
        raise ImageError(f"the crop factor is {factor!r}; a positive number is expected.")
    if factor * max(w, h) > MAX_SIDE:
        raise ImageError(f"the box {w:g}x{h:g} px times the crop factor {factor:g} exceeds {MAX_SIDE} px.")
    side = max(1, _round_half_up(factor * max(w, h)))
    return _round_half_up(x + w / 2 - side / 2), _round_half_up(y + h / 2 - side / 2), side


def crop(image: np.ndarray, box: Sequence[float], size: int, factor: float) -> np.ndarray:
    """Cut the square of `crop_square` out of the photo and resize it.

    Args:
        image: uint8 RGB [H, W, 3].
        box: (x, y, w, h) px; may reach beyond the photo (zero padded) but must overlap it.
        size: side S of the result, px.
        factor: side of the square over max(w, h).

    Returns:
        uint8 [S, S, 3]; cv2.INTER_AREA where the square shrinks, cv2.INTER_LINEAR where it grows.

    Raises:
        ImageError: see `check_pixels` and `crop_square`; the box lies outside the photo.
    """
    check_pixels(image)
    check_overlap(image, box)
    square = cut_square(image, *crop_square(box, factor))
    side = len(square)
    if side == size:
        return square.copy()
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(square), (size, size), interpolation=interpolation)


class Pixels(NamedTuple):
    """One of PIXELS: `crop_square` and `crop`, or functions of the same arguments and answers."""

    crop_square: Callable[[Sequence[float], float], tuple[int, int, int]]
    crop: Callable[[np.ndarray, Sequence[float], int, float], np.ndarray]


def pixels(name: str) -> Pixels:
    """The functions behind a name of PIXELS; raises ValueError for another name."""
    if name == "expnet":
        return Pixels(crop_square, crop)
    if name == "release2018":
        from expnet_tf.release2018 import pixels as release2018

        return Pixels(release2018.crop_square, release2018.crop)
    raise ValueError(f"There are no pixels {name!r}; accepted: {', '.join(PIXELS)}.")


def check_overlap(image: np.ndarray, box: Sequence[float]) -> None:
    """Raise ImageError where the box (x, y, w, h) px has no pixel of the photo [H, W, 3]."""
    height, width = image.shape[:2]
    x, y, w, h = check_box(box)
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise ImageError(f"the box ({x:g}, {y:g}, {w:g}, {h:g}) lies outside the {width}x{height} px photo.")


def cut_square(image: np.ndarray, x0: int, y0: int, side: int) -> np.ndarray:
    """uint8 [side, side, 3] of the photo from (x0, y0) on, black beyond its edges; a view where there are none."""
    height, width = image.shape[:2]
    left, top = max(x0, 0), max(y0, 0)
    # A factor below 1 can put the whole square beside the photo: right < left would count from the far edge.
    right, bottom = max(min(x0 + side, width), left), max(min(y0 + side, height), top)
    square = image[top:bottom, left:right]
    if square.shape[:2] != (side, side):
        padded = np.zeros((side, side, 3), np.uint8)
        padded[top - y0 : bottom - y0, left - x0 : right - x0] = square
        return padded
    return square


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    """Pillow image of any mode that photos come in -> uint8 [H, W, 3]."""
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips 16-bit grey at 255: white almost everywhere. Its 16-bit RGB keeps the
        # upper byte already, as TensorFlow does for both.
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F", "LAB"):
        raise ImageError(f"{name} has pixels of mode {image.mode}; 8 or 16 bits a channel are read.")
    # Left in place, a palette's transparency makes convert() warn.
    image.info.pop("transparency", None)
    return np.asarray(image.convert("RGB"))


def _turn_upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; to be called after load(), where Pillow has already turned a TIFF."""
    try:
        with _quiet():
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        # A broken EXIF block is no reason to refuse whole pixels.
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Pillow on odd headers. Filters belong to the whole process: held by one thread, and briefly."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _round_half_up(value: float) -> int:
    return math.floor(value + 0.5)


def _too_long(name: str, size: int) -> str:
    return f"{name} has {size:,} bytes; at most {MAX_BYTES:,} are read."


def _too_many_pixels(name: str, received: str) -> str:
    return f"{name} has {received}; at most {MAX_PIXELS:,} px in all are decoded."
