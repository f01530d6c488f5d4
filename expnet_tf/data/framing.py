"""From a labelled photo to the square that is packed: which square, its JPEG, and the labels in its px.

Crop modes:
  none    the whole image. CASIA's are square; another is padded with black to the square of its longer side, the
          image in the middle: nothing is cut off, nothing is stretched
  boxes   image.crop about the label's box: side = factor * max(w, h), black beyond the image
  detect  the same about the box of the default detector, which then is the record's box. Of several faces the one
          that overlaps the label's box most (intersection over union)
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from expnet_tf.detect import BlazeFace
from expnet_tf.image import ImageError, crop, crop_square, decode_image

CROPS = ("none", "boxes", "detect")
DETECTOR = "blazeface full range"
JPEG_QUALITY = 95
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class Framing:
    """What square is cut out: crop is one of CROPS, factor (not used by "none") the side over max(w, h)."""

    crop: str
    factor: float
    size: int  # side of the stored square, px


class Framed(NamedTuple):
    """One packed face."""

    jpeg: bytes  # RGB, size x size
    pixels: np.ndarray  # uint8 [size, size, 3], RGB: what the JPEG decodes to
    labels: dict[str, np.ndarray]  # float32, in px of the square
    factor: float  # side of the square over max(w, h) of the box
    padding: float  # share of the square that lies beyond the image
    unchanged: bool  # the JPEG is the source's own


def frame_face(data: bytes, key: str, labels: dict[str, np.ndarray], camera: str, framing: Framing) -> Framed:
    """Cut out one face.

    Args:
        data: the image file.
        key: how messages call it.
        labels: the float columns of one row of a label shard, in px of the image.
        camera: "pinhole" or "orthographic", what the labels' pose is of.
        framing: see Framing.

    Raises:
        ImageError: the image cannot be decoded, the box lies outside it, or ("detect") no face was found.
    """
    image = decode_image(data, key)
    height, width = image.shape[:2]
    box = labels["box"].tolist()
    if framing.crop == "none":
        about, factor = [0.0, 0.0, float(width), float(height)], 1.0
    else:
        box = about = _detected(image, box, key) if framing.crop == "detect" else box
        factor = framing.factor
    x0, y0, side = crop_square(about, factor)
    square = crop(image, about, framing.size, factor)
    unchanged = (x0, y0, side, side) == (0, 0, width, height) and side == framing.size and _plain_jpeg(data)
    if unchanged:
        jpeg, pixels = data, square
    else:
        jpeg = cv2.imencode(".jpg", square[..., ::-1], _JPEG)[1].tobytes()
        pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    moved = move_labels({**labels, "box": np.array(box, np.float64)}, (x0, y0), framing.size / side, camera)
    inside = max(0, min(x0 + side, width) - max(x0, 0)) * max(0, min(y0 + side, height) - max(y0, 0))
    return Framed(jpeg, pixels, moved, side / max(max(box[2:]), 1e-6), 1 - inside / side**2, unchanged)


def move_labels(
    labels: dict[str, np.ndarray], corner: tuple[float, float], scale: float, camera: str
) -> dict[str, np.ndarray]:
    """One row of labels in px of an image -> float32, in px of the square at `corner` (px) that is scaled by `scale`.

    Pixel centres lie at .5 on both sides, so a resize is the pure scale. Under scaled orthography the pose's
    scale, tx and ty move, under the pinhole the camera's f, cx and cy do.
    """
    origin = np.asarray(corner, np.float64)
    out = {name: np.array(value, np.float64) for name, value in labels.items()}
    out["box"][:2] -= origin
    out["box"] *= scale
    out["points"] = (out["points"] - origin) * scale
    out["quality"] = np.reshape(out["quality"] * scale, 1)
    if camera == "orthographic":
        out["pose"][4:] -= origin
        out["pose"][3:] *= scale
    else:
        out["camera"][1:] -= origin
        out["camera"] *= scale
    return {name: value.astype(np.float32) for name, value in out.items()}


@cache
def _detector() -> BlazeFace:
    """One a process: it cannot be pickled."""
    return BlazeFace()


def _detected(image: np.ndarray, box: list[float], key: str) -> list[float]:
    """The detected box that overlaps `box` most; raises ImageError where none does."""
    found = [list(face.box) for face in _detector().detect(image)]
    best = max(found, key=lambda one: _overlap(one, box), default=None)
    if best is None or _overlap(best, box) <= 0:
        what = f"{len(found)} faces were found, none where the labels have one" if found else "no face was found"
        raise ImageError(f"{key}: {what}.")
    return best


def _overlap(one: list[float], other: list[float]) -> float:
    """Intersection over union of two boxes (x, y, w, h)."""
    w = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    h = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(w, 0.0) * max(h, 0.0)
    return common / max(one[2] * one[3] + other[2] * other[3] - common, 1e-9)


def _plain_jpeg(data: bytes) -> bool:
    """Whether every JPEG decoder gives the same pixels: three channels, not turned by EXIF."""
    with Image.open(io.BytesIO(data)) as image:
        if image.format != "JPEG" or image.mode != "RGB" or image.info.get("adobe_transform") == 0:
            return False
        try:
            return image.getexif().get(_ORIENTATION_TAG, 1) == 1
        except Exception:
            # A broken EXIF block: some decoders might read an orientation in it.
            return False
