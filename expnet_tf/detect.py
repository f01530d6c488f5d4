"""Where the faces are: the Detector protocol, BlazeFace (the default) and MTCNN.

Every detector returns the house's box: forehead to chin, ear to ear, as in WIDER FACE and MTCNN. BlazeFace's
own square, brows to chin, is mapped to it by the measured constants below.
"""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from expnet_tf.image import check_pixels

MODEL = Path(__file__).parent / "assets" / "blazeface_full_range.tflite"

# From BlazeFace's square to the house's box, in sides of the square, along the axes of the tilted head.
# Measured by tools/measure_boxes.py against the MTCNN boxes of 102 studio photos (London) and 320 press
# photos (LFW), each set counting alike. In brackets: medians of London and LFW; their standard deviations.
# Sideways, part of the way to the middle of the ears; the offset left is (-0.004, -0.008; 0.014, 0.022).
EAR_SHIFT = 0.5
RISE = 0.073  # of the centre, towards the forehead (0.084, 0.062; 0.017, 0.030)
WIDTH = 0.83  # (0.846, 0.809; 0.042, 0.062)
HEIGHT = 1.13  # (1.151, 1.102; 0.046, 0.075)
# Of a head tilted by t the square is smaller by this times sin(2t)^2 (photos turned by 15, 30, 45 degrees).
TILT_LOSS = 0.19

_SIDE = 192  # px, the network's input
_CELLS = 48  # one anchor in the middle of every 4x4 px
# Longer sides, px, at which a photo is searched. At 192 the network sees the whole photo and finds faces of
# 1/10 to 2/3 of it; at 96, with an empty border around, faces that fill the photo; at 480 and 960, in
# overlapping windows, faces down to 1/25 and 1/50.
_WHOLE, _TIGHT, _FINE = 192, 96, (480, 960)
_OVERLAP = 38  # px of two windows, >= the largest face that the coarser search may miss
# No finer search that would show a known face this large, px (half a window): who stands nearer is what the
# photo is of, and so a portrait costs one run of the network.
_LARGE = 96


class Detection(NamedTuple):
    """One face: box (x, y, w, h) in px of the photo, may reach beyond it; score in 0..1."""

    box: tuple[float, float, float, float]
    score: float


class Detector(Protocol):
    """What the predictor takes as a detector."""

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Faces in a uint8 RGB photo [H, W, 3], largest box first; an empty list when there is none."""
        ...


class Square(NamedTuple):
    """A face as BlazeFace itself sees it, in px of the photo."""

    score: float
    side: float
    points: np.ndarray  # [7, 2]: centre of the square, two eyes, nose tip, mouth, two ears


class BlazeFace:
    """BlazeFace, full range (Google MediaPipe, Apache-2.0), on LiteRT.

    One run of the network, 5 ms on one CPU thread, for a photo whose largest face is a fifth of its longer
    side or more. Others are searched again for faces down to 1/50 of it, as far as the photo has the pixels:
    up to 0.3 s for a scene of small faces or none. Heads may be tilted by 45 degrees; a photo lying on its
    side is not turned upright.

    One object may be used by several threads (calls wait for each other). It cannot be pickled: a worker
    process makes its own.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        score_threshold: float = 0.5,
        num_threads: int = 1,
    ) -> None:
        """
        Args:
            model_path: another full-range BlazeFace .tflite (the sparse one, say); None: the shipped one.
            score_threshold: faces below are not reported, 0 < threshold < 1.
            num_threads: CPU threads of the network.

        Raises:
            FileNotFoundError: no such model file.
            ValueError: a bad number, or a file that is not a full-range BlazeFace.
        """
        if not 0 < score_threshold < 1:
            raise ValueError(f"score_threshold is {score_threshold!r}; a number between 0 and 1 is expected.")
        if num_threads < 1:
            raise ValueError(f"num_threads is {num_threads!r}; at least 1 is expected.")
        path = Path(MODEL if model_path is None else model_path)
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist; a BlazeFace .tflite file is expected.")
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._network = Interpreter(str(path), num_threads=num_threads)
            self._network.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is not a TFLite model ({error}).") from error
        tensors = self._network.get_input_details() + self._network.get_output_details()
        index = {tuple(map(int, tensor["shape"])): tensor["index"] for tensor in tensors}
        expected = [(1, _SIDE, _SIDE, 3), (1, _CELLS**2, 16), (1, _CELLS**2, 1)]
        if set(index) != set(expected):
            raise ValueError(f"{path} has tensors {list(index)}; a full-range BlazeFace has {expected}.")
        self._input, self._geometry, self._logit = (index[shape] for shape in expected)
        self._min_logit = math.log(score_threshold / (1 - score_threshold))
        self._lock = threading.Lock()

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Faces in a uint8 RGB photo [H, W, 3], largest box first.

        Raises:
            ImageError: the photo is not uint8 [H, W, 3].
        """
        return _largest_first([Detection(house_box(square), square.score) for square in self.squares(image)])

    def squares(self, image: np.ndarray) -> list[Square]:
        """The same faces as BlazeFace itself sees them, best score first."""
        check_pixels(image)
        longer = max(image.shape[:2])
        found = self._search(image, _WHOLE)
        if not len(found):
            found = self._search(image, _TIGHT)
        faces = _suppress(found)
        for level in _FINE:
            # level > longer: the photo itself is coarser.
            if level > longer or any(face.side * level > _LARGE * longer for face in faces):
                break
            found = np.concatenate([found, self._search(image, level)])
            faces = _suppress(found)
        return faces

    def _search(self, image: np.ndarray, longer: int) -> np.ndarray:
        """Scale the photo to this longer side and search it -> [n, 16] as of `_run`, in px of the photo."""
        height, width = image.shape[:2]
        scale = longer / max(height, width)
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        picture = cv2.resize(np.ascontiguousarray(image), (columns, rows), interpolation=interpolation)
        # A picture smaller than the window is put into its middle, as in the network's training.
        y, x = max(0, _SIDE - rows), max(0, _SIDE - columns)
        picture = cv2.copyMakeBorder(picture, y // 2, y - y // 2, x // 2, x - x // 2, cv2.BORDER_CONSTANT)
        tops, lefts = _window_starts(picture.shape[0]), _window_starts(picture.shape[1])
        found = np.concatenate([self._search_window(picture, top, left) for top in tops for left in lefts])
        found[:, 1] /= scale
        found[:, 2::2] = (found[:, 2::2] - x // 2) * (width / columns)
        found[:, 3::2] = (found[:, 3::2] - y // 2) * (height / rows)
        return found

    def _search_window(self, picture: np.ndarray, top: int, left: int) -> np.ndarray:
        """One window of a scaled photo -> [n, 16] as of `_run`, in px of the scaled photo."""
        height, width = picture.shape[:2]
        found = self._run(picture[top : top + _SIDE, left : left + _SIDE])
        found[:, 2::2] += left
        found[:, 3::2] += top
        half, x, y = found[:, 1] / 2, found[:, 2], found[:, 3]
        # A face cut by an edge of the window that is no edge of the photo: another window has it whole.
        whole = ((x - half >= left) | (left == 0)) & ((x + half <= left + _SIDE) | (left + _SIDE == width))
        whole &= ((y - half >= top) | (top == 0)) & ((y + half <= top + _SIDE) | (top + _SIDE == height))
        return found[whole]

    def _run(self, window: np.ndarray) -> np.ndarray:
        """uint8 [192, 192, 3] -> float64 [n, 16], px: score, side, 7 points x y of every anchor."""
        pixels = window[None].astype(np.float32) / np.float32(127.5) - np.float32(1)
        with self._lock:
            self._network.set_tensor(self._input, pixels)
            self._network.invoke()
            geometry = self._network.get_tensor(self._geometry)[0]
            logit = self._network.get_tensor(self._logit)[0, :, 0]
        keep = np.flatnonzero(logit >= self._min_logit)
        # Centre x y, width, height, 6 points x y, in px; points count from the middle of the anchor's cell.
        values = geometry[keep].astype(np.float64)
        cell = _SIDE / _CELLS
        values[:, [0, *range(4, 16, 2)]] += ((keep % _CELLS + 0.5) * cell)[:, None]
        values[:, [1, *range(5, 16, 2)]] += ((keep // _CELLS + 0.5) * cell)[:, None]
        score = 1 / (1 + np.exp(-np.clip(logit[keep].astype(np.float64), -80, 80)))
        return np.column_stack([score, values[:, 2:4].mean(axis=1), values[:, :2], values[:, 4:]])


def house_box(face: Square) -> tuple[float, float, float, float]:
    """BlazeFace's square and points -> the house's box (x, y, w, h) in px."""
    right, up = head_axes(face)
    center, ears = face.points[0], face.points[5:7].mean(axis=0)
    middle = center + EAR_SHIFT * float((ears - center) @ right) * right + RISE * face.side * up
    sine, cosine = float(up[0]), float(up[1])
    side = face.side / (1 - TILT_LOSS * (2 * sine * cosine) ** 2)
    # Around the tilted head, taken as an ellipse: so do MTCNN's boxes of turned photos.
    w = side * math.hypot(WIDTH * cosine, HEIGHT * sine)
    h = side * math.hypot(HEIGHT * cosine, WIDTH * sine)
    return float(middle[0] - w / 2), float(middle[1] - h / 2), w, h


def head_axes(face: Square) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors [2] in the image: right and up of the tilted head; up is from the mouth to the eyes."""
    up = face.points[1:3].mean(axis=0) - face.points[4]
    length = float(np.hypot(*up))
    up = up / length if length > 0 else np.array([0.0, -1.0])
    return np.array([-up[1], up[0]]), up


def _suppress(found: np.ndarray) -> list[Square]:
    """Anchors [n, 16] -> faces, best first; anchors of one face are averaged by score, as MediaPipe does."""
    faces = []
    rest = found[np.argsort(-found[:, 0], kind="stable")]
    while len(rest):
        best, area, areas = rest[0], rest[0, 1] ** 2, rest[:, 1] ** 2
        common = _intersection(best, rest)
        same = common > 0.3 * (area + areas - common)
        same[0] = True
        mean = np.average(rest[same], axis=0, weights=rest[same, 0])
        faces.append(Square(float(best[0]), float(mean[1]), mean[2:].reshape(7, 2)))
        # Of two that lie one in the other the better stays: a face against an eye region of it, or against a
        # whole person who looked like a large face from afar.
        nested = common > 0.7 * np.minimum(area, areas)
        rest = rest[~(same | nested)]
    return faces


def _intersection(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Common area, px^2, of one square with each of the others."""
    low = np.maximum(one[2:4] - one[1] / 2, many[:, 2:4] - many[:, 1:2] / 2)
    high = np.minimum(one[2:4] + one[1] / 2, many[:, 2:4] + many[:, 1:2] / 2)
    return np.prod(np.clip(high - low, 0, None), axis=1)


def _window_starts(length: int) -> list[int]:
    """First rows (or columns) of windows, evenly spread, that cover `length` >= 192 px."""
    count = math.ceil((length - _SIDE) / (_SIDE - _OVERLAP)) + 1
    return [round(float(start)) for start in np.linspace(0, length - _SIDE, count)]


def _largest_first(faces: list[Detection]) -> list[Detection]:
    return sorted(faces, key=lambda face: face.box[2] * face.box[3], reverse=True)


class MTCNN:
    """MTCNN from the package `mtcnn` (extra "mtcnn"), the detector of many papers. NOT FOR COMMERCIAL USE.

    The package's author excludes commercial use of its weights (ipazc/mtcnn, issue 53), and it reads them by
    pickle. Here for comparison with published numbers.
    """

    def __init__(self, score_threshold: float = 0.9) -> None:
        """
        Args:
            score_threshold: faces below are not reported.

        Raises:
            ImportError: the package is not installed.
        """
        try:
            from mtcnn import MTCNN as Network
        except ImportError as error:
            raise ImportError(
                "The MTCNN detector needs the package mtcnn (pip install 'expnet_tf[mtcnn]'), "
                "whose weights must not be used commercially; BlazeFace, the default, may be."
            ) from error
        self._network: Any = Network()
        self._threshold = score_threshold

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Faces in a uint8 RGB photo [H, W, 3], largest box first; raises ImageError for anything else."""
        check_pixels(image)
        faces = []
        for face in self._network.detect_faces(image):
            x, y, w, h = (float(value) for value in face["box"])
            if face["confidence"] >= self._threshold and w > 0 and h > 0:
                faces.append(Detection((x, y, w, h), float(face["confidence"])))
        return _largest_first(faces)
