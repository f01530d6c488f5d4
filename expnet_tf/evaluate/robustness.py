"""How much a code changes when the face does not: mirrored, moved in its box, rolled, compressed, blurred, half hidden.

All changes are made to one picture a face: the photo around the box, three boxes wide, its face at most 256 px. Each
change is given in mean |dz| (sigma), in mm on the mesh, and as a share of how far the codes of two different photos
lie apart: a code that never moves would be steady, and useless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from expnet_tf.evaluate.methods import EXPRESSION, Box, Method
from expnet_tf.image import ImageError, crop, crop_square, decode_image
from expnet_tf.morphable import open_face
from expnet_tf.train.metrics import errors

AROUND = 3.0  # side of the picture over the larger side of the box
LARGEST = 256  # px, of the box in the picture
SHIFT = 0.05  # of the box's side
ROLL = 10.0  # degrees
JPEG = 30  # quality
BLUR = 0.03  # standard deviation over the box's side
GREY = 128
BATCH = 64

Picture = tuple[np.ndarray, tuple[float, ...]]


def prepare(image: np.ndarray, box: Box) -> Picture:
    """The photo around a box and the box in it: (uint8 RGB [s, s, 3], (x, y, w, h) px). Raises ImageError."""
    x0, y0, side = crop_square(box, AROUND)
    size = min(side, round(AROUND * LARGEST))
    scale = size / side
    x, y, w, h = box
    return crop(image, box, size, AROUND), ((x - x0) * scale, (y - y0) * scale, w * scale, h * scale)


def shifted(picture: Picture) -> list[Picture]:
    """The box moved by SHIFT to all four sides, larger and smaller by it."""
    image, (x, y, w, h) = picture
    dx, dy = SHIFT * w, SHIFT * h
    moved: list[tuple[float, ...]] = [(x - dx, y, w, h), (x + dx, y, w, h), (x, y - dy, w, h), (x, y + dy, w, h)]
    moved += [(x - s * dx / 2, y - s * dy / 2, w + s * dx, h + s * dy) for s in (1, -1)]
    return [(image, box) for box in moved]


def rolled(picture: Picture) -> list[Picture]:
    """Turned in the image plane about the middle of the box, both ways."""
    image, box = picture
    x, y, w, h = box
    turns = [cv2.getRotationMatrix2D((x + w / 2 - 0.5, y + h / 2 - 0.5), angle, 1.0) for angle in (ROLL, -ROLL)]
    size = image.shape[1::-1]
    return [(cv2.warpAffine(image, turn, size, borderMode=cv2.BORDER_REPLICATE), box) for turn in turns]


def compressed(picture: Picture) -> list[Picture]:
    image, box = picture
    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG])[1]
    return [(decode_image(coded.tobytes()), box)]


def blurred(picture: Picture) -> list[Picture]:
    image, box = picture
    return [(cv2.GaussianBlur(image, (0, 0), BLUR * max(box[2:])), box)]


def hidden(picture: Picture) -> list[Picture]:
    """One half of the face behind grey, left and right in turn."""
    image, box = picture
    x, y, w, h = box
    top, bottom, middle = max(0, round(y)), round(y + h), round(x + w / 2)
    halves = []
    for columns in (slice(max(0, round(x)), middle), slice(middle, round(x + w))):
        half = image.copy()
        half[top:bottom, columns] = GREY
        halves.append((half, box))
    return halves


def mirrored(picture: Picture) -> list[Picture]:
    image, (x, y, w, h) = picture
    return [(np.ascontiguousarray(image[:, ::-1]), (image.shape[1] - x - w, y, w, h))]


CHANGES: dict[str, Callable[[Picture], list[Picture]]] = {
    "mirrored, and the code mirrored back": mirrored,
    f"box +-{SHIFT:.0%}, place and size": shifted,
    f"roll +-{ROLL:g} degrees": rolled,
    f"JPEG quality {JPEG}": compressed,
    f"blur, sigma {BLUR:.0%} of the box": blurred,
    "left or right half of the face hidden": hidden,
}


def stability(
    method: Method,
    images: Sequence[np.ndarray],
    boxes: Sequence[Box],
    progress: Callable[[int], object] = lambda images: None,
) -> list[dict[str, Any]]:
    """A row a change, for one face a photo.

    images: uint8 RGB [H, W, 3]; boxes: (x, y, w, h) px; photos whose box cannot be cut out are left out. The mirror
    needs codes of the open face model. `progress` gets the number of pictures that were coded.
    """
    pictures = []
    for image, box in zip(images, boxes, strict=True):
        try:
            pictures.append(prepare(image, box))
        except ImageError:
            continue
    before = _codes(method, pictures, progress)
    rows = []
    for name, change in CHANGES.items():
        if change is mirrored and method.space != EXPRESSION:
            continue
        after = [change(picture) for picture in pictures]
        codes = _codes(method, [one for some in after for one in some], progress)
        if change is mirrored:
            codes = codes * open_face().expression_mirror
        repeated = np.repeat(before, [len(some) for some in after], axis=0)
        rows.append({"change": name, **difference(repeated, codes, method.space, before)})
    return rows


def drift(codes: dict[float, np.ndarray], space: str) -> list[dict[str, Any]]:
    """Codes {scale: float [n, d]} of the same images, scale 1 among them -> a row a smaller scale, against scale 1."""
    full = codes[1.0]
    smaller = sorted((scale for scale in codes if scale != 1.0), reverse=True)
    return [{"change": f"scale {scale:g}", **difference(full, codes[scale], space, full)} for scale in smaller]


def difference(before: np.ndarray, after: np.ndarray, space: str, photos: np.ndarray) -> dict[str, Any]:
    """Mean |dz| of rows that have both codes, in mm on the mesh, and over that between different photos.

    before, after float [n, d]; photos float [m, d]: codes of different photos in any order, next ones compared.
    Values are None where there is nothing to compare.
    """
    both = ~(np.isnan(before) | np.isnan(after)).any(axis=1)
    photos = photos[~np.isnan(photos).any(axis=1)]
    sigma = float(np.abs(after - before)[both].mean()) if both.any() else None
    apart = float(np.abs(photos - np.roll(photos, 1, axis=0)).mean()) if len(photos) > 1 else 0.0
    millimetres = None
    if both.any() and space == EXPRESSION:
        millimetres = float(errors(after[both], before[both]).mean())
    return {
        "pictures": int(both.sum()),
        "abstained": int((~both).sum()),
        "mean |dz|": _rounded(sigma),
        "mm": _rounded(millimetres),
        "of the distance between photos": _rounded(sigma / apart) if sigma is not None and apart else None,
    }


def _codes(method: Method, pictures: Sequence[Picture], progress: Callable[[int], object]) -> np.ndarray:
    parts = []
    for start in range(0, len(pictures), BATCH):
        images, boxes = zip(*pictures[start : start + BATCH], strict=True)
        parts.append(method.codes(images, boxes))
        progress(len(images))
    return np.concatenate(parts) if parts else np.zeros((0, 0))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
