"""Folds of the skin: which blendshapes make them, how deep they go, and how they run on the patch of the face.

The mesh is far too coarse for folds. They are grooves of a Relief, as deep as the blendshapes that make them are
strong, on each side by itself: real photographs show an expression as much by its folds as by its outline.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from expnet_tf.data.expressions import INDEX
from expnet_tf.data.scenes.atlas import CELL, CELLS

VARIANTS = 4  # ways in which each fold runs; a person has one of them
# Fold -> the blendshapes that make it, and its depth in mm when they are at full weight. Side: Left or Right.
FOLDS: dict[str, tuple[tuple[str, ...], float]] = {
    "forehead": (("browInnerUp", "browOuterUp*"), 0.7),
    "glabella": (("browDown*",), 1.1),
    "socket": (("browDown*", "eyeSquint*"), 0.9),
    "nose": (("noseSneer*",), 0.5),
    "nasolabial": (("mouthSmile*", "mouthUpperUp*", "noseSneer*", "mouthStretch*"), 0.9),
    "corner": (("mouthSmile*", "mouthDimple*", "mouthStretch*"), 0.5),
    "marionette": (("mouthFrown*", "mouthLowerDown*", "mouthPress*"), 0.5),
    "crow": (("cheekSquint*", "eyeSquint*", "mouthSmile*"), 0.4),
    "pouch": (("cheekSquint*", "eyeSquint*", "mouthSmile*"), 0.45),
    "chin": (("mouthShrugLower", "mouthPress*", "mouthFrown*"), 0.35),
}
# Folds that age leaves in a face at rest, as shares of their full depth at full age.
AT_REST = {"nasolabial": 0.5, "pouch": 0.55, "forehead": 0.3, "glabella": 0.25, "socket": 0.8, "crow": 0.25,
           "marionette": 0.5}


@dataclass(frozen=True, eq=False)
class Fold:
    """One groove, 1 mm deep, on a window of the patch."""

    rows: slice
    columns: slice
    slopes: np.ndarray  # float32 [h, w, 2]
    groove: np.ndarray  # float32 [h, w] in 0..1: 1 at the bottom


def fold_depth(name: str, side: str, weights: np.ndarray, age: float) -> float:
    """mm, for blendshape weights [52] and an age in 0..1, of skin that folds as deep as FOLDS says."""
    units, full = FOLDS[name]
    pull = min(1.0, sum(weights[INDEX[unit.replace("*", side)]] for unit in units))
    return full * max(pull, AT_REST.get(name, 0.0) * age)


def draw_fold(p: np.ndarray, name: str, side: str, rng: np.random.Generator) -> Fold:
    """One way in which a fold may run. p: landmarks [68, 2] in cells of the patch (the person's left at its right)."""
    left = side == "Left"
    away = 1.0 if left else -1.0  # direction out of the face
    span = np.linalg.norm(p[45] - p[36])
    brow = p[22:27] if left else p[21:16:-1]  # from the inner end
    corner, ala = (p[54], p[35]) if left else (p[48], p[31])
    outer, inner = (p[45], p[42]) if left else (p[36], p[39])
    down, out = np.array([0.0, 1.0]), np.array([away, 0.0])

    def near(scale: float) -> np.ndarray:
        return rng.normal(0, scale * span, 2)

    strokes: list[np.ndarray] = []
    width = rng.uniform(1.0, 1.6)
    if name == "forehead":
        for height in np.linspace(0.2, rng.uniform(0.42, 0.6), rng.integers(2, 5)):
            middle = np.array([p[27][0] - away * 0.02 * span, brow[1][1] - height * span])
            wave = [middle + near(0.012), brow[1] - down * span * (height + 0.02) + near(0.012),
                    brow[3] - down * span * (height - 0.04) + near(0.015)]
            strokes.append(np.array(wave))
        width = rng.uniform(1.0, 1.8)
    elif name == "glabella":
        foot = 0.74 * brow[0] + 0.26 * p[27]
        foot[1] = brow[0][1]
        lean = out * span * rng.uniform(0.0, 0.05)
        strokes.append(np.array([foot + down * span * 0.1, foot - down * span * 0.03,
                                 foot - down * span * 0.17 + lean]))
    elif name == "socket":  # the hollow between brow and lid, where light from above does not reach
        lids = (p[42:46] if left else p[[39, 38, 37, 36]]) - down * span * 0.03
        share = rng.uniform(0.35, 0.6)
        strokes.append(np.array([share * brow[k] + (1 - share) * lids[min(k, 3)] for k in range(4)]))
        width = rng.uniform(2.5, 4.0)
    elif name == "nose":
        root = p[27] + down * span * 0.06
        for k in (0.0, 0.09):
            strokes.append(np.array([root + down * span * k + out * span * 0.01,
                                     root + down * span * (k - 0.05) + out * span * 0.13]))
    elif name == "nasolabial":
        beside = corner + out * span * rng.uniform(0.12, 0.2)
        strokes.append(np.array([ala - down * span * 0.06 + out * span * 0.03,
                                 0.5 * (ala + beside) + out * span * rng.uniform(0.04, 0.1) - down * span * 0.02,
                                 beside, beside + down * span * rng.uniform(0.05, 0.14)]))
        width = rng.uniform(1.4, 2.2)
    elif name == "corner":
        beside = corner + out * span * rng.uniform(0.07, 0.1)
        strokes.append(np.array([beside - down * span * 0.1, beside + out * span * 0.02, beside + down * span * 0.09]))
    elif name == "marionette":
        strokes.append(np.array([corner + out * span * 0.03, corner + out * span * 0.06 + down * span * 0.12,
                                 corner + out * span * 0.05 + down * span * 0.22]))
        width = rng.uniform(1.3, 2.0)
    elif name == "crow":
        for tilt in (-0.55, -0.1, 0.4):
            start = outer + out * span * rng.uniform(0.06, 0.09)
            strokes.append(np.array([start, start + (out + tilt * -down) * span * rng.uniform(0.1, 0.17)]))
        width = 0.9
    elif name == "pouch":
        low = rng.uniform(0.13, 0.19)
        strokes.append(np.array([inner + down * span * 0.07 + out * span * 0.02,
                                 0.6 * inner + 0.4 * outer + down * span * low, outer + down * span * 0.09]))
        width = rng.uniform(1.4, 2.2)
    else:  # chin: dimples
        middle = 0.45 * p[57] + 0.55 * p[8] + out * span * 0.06
        for _ in range(7):
            dot = middle + rng.normal(0, 0.05, 2) * span
            strokes.append(np.array([dot, dot + near(0.01)]))
    canvas = np.zeros((CELLS, CELLS), np.float32)
    for stroke in strokes:
        line = np.rint(_smooth(stroke) * 16).astype(np.int32)
        cv2.polylines(canvas, [line], False, 1.0, 1, cv2.LINE_AA, 4)
    groove = cv2.GaussianBlur(canvas, (0, 0), width)
    # A fold fades at its ends, and the skin beside it swells.
    groove /= groove.max()
    height = 0.9 * cv2.GaussianBlur(groove, (0, 0), 3.0) - groove
    slopes = np.stack([np.gradient(height, axis=1), -np.gradient(height, axis=0)], 2) / CELL
    busy = np.abs(height) > 0.01
    rows, columns = np.flatnonzero(busy.any(1)), np.flatnonzero(busy.any(0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Fold(*window, np.ascontiguousarray(slopes[window], np.float32), np.ascontiguousarray(groove[window]))


def _smooth(points: np.ndarray) -> np.ndarray:
    """A polyline with its corners cut twice (Chaikin)."""
    for _ in range(2):
        a, b = points[:-1], points[1:]
        middle = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], 1).reshape(-1, 2)
        points = np.concatenate([points[:1], middle, points[-1:]])
    return points
