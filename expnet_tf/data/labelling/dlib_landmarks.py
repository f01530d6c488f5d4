"""dlib's 68 points of a face in a given box. NOT FOR COMMERCIAL USE: the model was trained on 300-W.

The model file comes with the package `face_recognition_models` (extra `baselines`); it is found without importing
that package, which asks for one that it does not declare.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from expnet_tf.image import check_box, check_pixels

# dlib's predictor expects boxes as its own HOG detector draws them: squares from the brows to below the chin.
# From the house's box to those, measured on 102 studio photos (London) and 317 of 320 press photos (LFW) with the
# MTCNN boxes of both; in brackets their medians; standard deviations. Steps of 6/5 in HOG's pyramid are part of it.
SIDE = 0.957  # of the square, over the mean of width and height (0.929, 0.986; 0.058, 0.076)
DROP = 0.060  # of the centre, over the height (0.076, 0.044; 0.028, 0.039); sideways it is -0.018 and ignored

# The predictor looks at single pixels and answers in whole ones: the face is brought to this size, px, before.
FACE = 200
MARGIN = 0.5  # of the square, on each side: the first guesses of a face that lies askew reach beyond it


class DlibError(ImportError):
    """dlib or its model is not installed; the message says what to install."""


class DlibLandmarks:
    """dlib's shape predictor (Kazemi and Sullivan 2014), 68 points in iBUG order. One object, one thread."""

    def __init__(self) -> None:
        """Raises DlibError where dlib or the model file is not installed."""
        try:
            import dlib
        except ImportError as error:
            raise DlibError(MISSING) from error
        self._dlib: Any = dlib
        file = model_file()
        self._predictor: Any = dlib.shape_predictor(str(file))
        # 100 MB: its size tells it well enough, and at once.
        self.version = f"dlib {dlib.__version__}, {file.name}, {file.stat().st_size} bytes"

    def points(self, image: np.ndarray, box: Sequence[float]) -> np.ndarray:
        """68 points float64 [68, 2], px of the image (pixel centres at .5), of the face in a box.

        image uint8 RGB [H, W, 3]; box (x, y, w, h) px, forehead to chin, ear to ear. There is always an answer,
        also where there is no face. Raises ImageError for a malformed image or box.
        """
        check_pixels(image)
        x, y, side = hog_square(box)
        # Image px -> px of a picture in which the square lies at MARGIN and is FACE wide.
        scale = FACE / side
        shift = np.array([x, y]) - MARGIN * side
        length = round(FACE * (1 + 2 * MARGIN))
        picture = _cut(image, shift, scale, length)
        low, high = round(MARGIN * FACE), round((1 + MARGIN) * FACE)
        found = self._predictor(picture, self._dlib.rectangle(low, low, high - 1, high - 1))
        parts = np.array([(part.x, part.y) for part in found.parts()], np.float64) + 0.5
        return parts / scale + shift


MISSING = (
    "dlib's landmarks need dlib and its model (pip install 'expnet_tf[baselines]'); the model was trained on 300-W "
    "and must not be used commercially."
)


def model_file() -> Path:
    """shape_predictor_68_face_landmarks.dat of the installed package. Raises DlibError where there is none."""
    spec = importlib.util.find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "models" / "shape_predictor_68_face_landmarks.dat"
        if path.is_file():
            return path
    raise DlibError(MISSING)


def hog_square(box: Sequence[float]) -> tuple[float, float, float]:
    """(x, y, side) px of the square that dlib's HOG detector would draw for a house box (x, y, w, h)."""
    x, y, w, h = check_box(box)
    side = SIDE * (w + h) / 2
    return x + w / 2 - side / 2, y + h / 2 + DROP * h - side / 2, side


def _cut(image: np.ndarray, shift: np.ndarray, scale: float, length: int) -> np.ndarray:
    """The square at `shift`, length / scale px wide, resized to length x length px; edges are repeated."""
    if scale < 1:
        # warpAffine takes single pixels: shrink the whole photo first, as image.crop does, by areas.
        height, width = image.shape[:2]
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        factor = np.array(size) / (width, height)
        image, shift = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA), shift * factor
        zoom = scale / factor
    else:
        zoom = np.array([scale, scale])
    # warpAffine counts pixel centres from 0, our coordinates from 0.5.
    offset = zoom * (0.5 - shift) - 0.5
    matrix = np.array([[zoom[0], 0, offset[0]], [0, zoom[1], offset[1]]])
    picture: np.ndarray = cv2.warpAffine(
        np.ascontiguousarray(image), matrix, (length, length), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return picture
