"""Skin: its tone, its folds as the face moves, pores and shine, stubble and beards, all drawn on the atlas.

The mesh is far too coarse for folds. They are grooves of a Relief, as deep as the blendshapes that make them are
strong, on each side by itself: real photographs show an expression as much by its folds as by its outline.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from expnet_tf.data.atlas import CELL, CELLS, HEIGHT, HIGH, LOW, PATCH, WIDTH, on_atlas, on_patch
from expnet_tf.data.expressions import INDEX
from expnet_tf.render import Relief

VARIANTS = 4  # ways in which each fold runs; a person has one of them
# Fold -> the blendshapes that make it, and its depth in mm when they are at full weight. Side: Left or Right.
FOLDS: dict[str, tuple[tuple[str, ...], float]] = {
    "forehead": (("browInnerUp", "browOuterUp*"), 0.55),
    "glabella": (("browDown*",), 0.9),
    "nose": (("noseSneer*",), 0.5),
    "nasolabial": (("mouthSmile*", "mouthUpperUp*", "noseSneer*", "mouthStretch*"), 0.9),
    "corner": (("mouthSmile*", "mouthDimple*", "mouthStretch*"), 0.5),
    "marionette": (("mouthFrown*", "mouthLowerDown*", "mouthPress*"), 0.5),
    "crow": (("cheekSquint*", "eyeSquint*", "mouthSmile*"), 0.4),
    "pouch": (("cheekSquint*", "eyeSquint*", "mouthSmile*"), 0.45),
    "chin": (("mouthShrugLower", "mouthPress*", "mouthFrown*"), 0.35),
}
# Folds that age leaves in a face at rest, as shares of their full depth at full age.
AT_REST = {"nasolabial": 0.5, "pouch": 0.55, "forehead": 0.3, "glabella": 0.25, "crow": 0.25, "marionette": 0.5}


@dataclass(frozen=True, eq=False)
class Fold:
    """One groove, 1 mm deep, on a window of the patch."""

    rows: slice
    columns: slice
    slopes: np.ndarray  # float32 [h, w, 2]
    groove: np.ndarray  # float32 [h, w] in 0..1: 1 at the bottom


@dataclass(frozen=True, eq=False)
class Complexion:
    """What is a person's own: relief of the skin at rest, which variant of each fold, how deep all of them go."""

    cells: np.ndarray  # float32 [CELLS, CELLS, 4], as Relief has it
    variant: dict[str, int]
    depth: float
    age: float  # 0..1


class Skins:
    """Draws people's skins, for the landmarks' texture coordinates float [68, 2]."""

    def __init__(self, landmark_uvs: np.ndarray) -> None:
        rng = np.random.default_rng(68)
        self.atlas, self.patch = on_atlas(landmark_uvs), on_patch(landmark_uvs)
        self.folds = {(name, side): [_fold(self.patch, name, side, rng) for _ in range(VARIANTS)]
                      for name in FOLDS for side in ("Left", "Right")}
        fine = rng.normal(size=(2, 2 * CELLS, 2 * CELLS)).astype(np.float32)
        self.pores = np.stack([f - cv2.blur(f, (5, 5)) for f in fine], 2)
        soft = [cv2.resize(rng.normal(size=(40, 40)).astype(np.float32), (2 * CELLS,) * 2,
                           interpolation=cv2.INTER_CUBIC) for _ in range(2)]
        self.bumps = np.stack([np.gradient(soft[0], axis=1), -np.gradient(soft[0], axis=0)], 2).astype(np.float32)
        self.mottle = soft[1]
        self.shiny = _shiny(self.patch)
        self.beards = _beards(self.atlas)
        self.hairs = _hairs(rng)
        self.scalp = _scalp()
        self.blush = _blobs(self.atlas, [(2, 31, 40), (14, 35, 47), (30, 30, 33)], 26, (HEIGHT, WIDTH))

    def complexion(self, rng: np.random.Generator) -> Complexion:
        """Pores, bumps, shine and age of one person."""
        y, x = rng.integers(0, CELLS, 2)
        window = slice(y, y + CELLS), slice(x, x + CELLS)
        cells = np.empty((CELLS, CELLS, 4), np.float32)
        age = rng.random() ** 1.5
        rough = np.float32(rng.uniform(0.03, 0.16))
        cells[..., :2] = self.pores[window] * rough + self.bumps[window] * np.float32(rng.uniform(0, 0.25 + 0.4 * age))
        mottle = self.mottle[window]
        oily = np.float32(rng.uniform(0.0, 1.6))
        cells[..., 2] = np.clip(0.35 + oily * self.shiny + 0.15 * mottle, 0.05, 3)
        cells[..., 3] = 1 + mottle * np.float32(rng.uniform(0, 0.08))
        depth = float(rng.uniform(0.25, 0.8) + 0.55 * age)
        return Complexion(cells, {name: int(rng.integers(VARIANTS)) for name in FOLDS}, depth, float(age))

    def relief(self, own: Complexion, weights: np.ndarray, right: np.ndarray, px_per_mm: float) -> Relief:
        """The person's skin folded by weights [52]; coarser where a px sees more than a cell."""
        cells = own.cells.copy()
        for (name, side), variants in self.folds.items():
            units, full = FOLDS[name]
            pull = min(1.0, sum(weights[INDEX[unit.replace("*", side)]] for unit in units))
            depth = np.float32(full * own.depth * max(pull, AT_REST.get(name, 0.0) * own.age))
            if depth > 0.04:
                fold = variants[own.variant[name]]
                window = cells[fold.rows, fold.columns]
                window[..., :2] += depth * fold.slopes
                window[..., 3] *= 1 - np.minimum(np.float32(0.5) * depth, np.float32(0.55)) * fold.groove
        side = CELLS
        while px_per_mm * CELL * CELLS / side < 0.7 and side > 32:
            side //= 2
        if side < CELLS:
            cells = cv2.resize(cells, (side, side), interpolation=cv2.INTER_AREA)
        return Relief(cells, PATCH, right)

    def painted(self, skin: np.ndarray, hair_color: np.ndarray, brow: tuple[float, float],
                shaves: bool, rng: np.random.Generator) -> np.ndarray:
        """A skin uint8 RGBA [HEIGHT, WIDTH, 4] with blush, brows' roots, and now and then a beard.

        brow: rise and slant of the brows in mm, as their cards have it; shaves, or not: nobody else has a beard.
        """
        out = skin.copy()
        tall, wide = slice(*self.blush[0]), slice(*self.blush[1])
        mask = self.blush[2] * np.float32(rng.uniform(0, 0.1))
        out[tall, wide, 1:3] = out[tall, wide, 1:3] * (1 - mask)[..., None]
        hair = np.sqrt(np.clip(hair_color * rng.uniform(0.6, 1.3) + 0.004, 0, 1)) * 255
        self._brow_roots(out, np.minimum(hair, rng.uniform(50, 110)), brow, rng)
        kind = rng.random()
        if shaves and kind < 0.7:
            full = kind < 0.35
            density = rng.uniform(0.5, 1.0) if full else rng.uniform(0.12, 0.5)
            zones = STYLES[rng.integers(len(STYLES))] if full or rng.random() < 0.4 else STUBBLE
            grey = rng.random() < 0.15
            color = np.full(3, rng.uniform(90, 165)) if grey else hair
            self._cover(out, self.beards, zones, density, color, rng)
        return out

    def crop_hair(self, skin: np.ndarray, hair_color: np.ndarray, rng: np.random.Generator) -> None:
        """Short hair, painted on the scalp where there is none to wear."""
        hair = np.sqrt(np.clip(hair_color * rng.uniform(0.7, 1.3) + 0.004, 0, 1)) * 255
        y = int(rng.integers(0, 200))
        grain = self.hairs[y : y + HEIGHT]
        grain = np.concatenate([grain, grain[:, : WIDTH - grain.shape[1]]], 1)
        thin = np.clip(self.scalp * rng.uniform(0.7, 1.6) + 0.35 * (grain - 0.6) * self.scalp, 0, 0.97)[..., None]
        skin[..., :3] = skin[..., :3] * (1 - thin) + (hair * (0.7 + 0.3 * grain[..., None])) * thin

    def _brow_roots(self, out: np.ndarray, hair: np.ndarray, brow: tuple[float, float],
                    rng: np.random.Generator) -> None:
        """Hair between and under the fitted brow cards, which are fine lines, gone at the size a network sees."""
        strength = rng.uniform(0, 0.95) if rng.random() < 0.85 else 0.0
        thick, lift = rng.uniform(3, 11), 2 + rng.normal(0, 1)
        for points in (self.atlas[17:22], self.atlas[22:27]):
            low = np.floor(points.min(0) - 16).astype(int)
            size = np.ceil(points.max(0) + 16).astype(int) - low
            mask = np.zeros(size[::-1], np.float32)
            along = np.linspace(-1, 1, 5) if points[0, 0] > WIDTH / 2 else np.linspace(1, -1, 5)
            line = points - low
            line[:, 1] -= lift + (brow[0] + brow[1] * along) * HEIGHT / (HIGH - LOW)
            order = line[::-1] if points[0, 0] > WIDTH / 2 else line
            for k in range(4):  # from the outer end to the inner one, growing thicker
                ends = np.rint(order[k : k + 2] * 16).astype(np.int32)
                cv2.line(mask, ends[0], ends[1], 1.0, max(1, round(thick * (0.45 + 0.18 * k))), cv2.LINE_AA, 4)
            mask = cv2.GaussianBlur(mask, (0, 0), 2.0)
            y, x = rng.integers(0, 200, 2)
            grain = self.hairs[y : y + mask.shape[0], x : x + mask.shape[1]]
            share = np.clip(mask * np.float32(strength) * (0.55 + 0.9 * grain), 0, 0.97)[..., None]
            window = out[low[1] : low[1] + size[1], low[0] : low[0] + size[0], :3]
            window[:] = window * (1 - share) + hair.astype(np.float32) * share

    def _cover(self, out: np.ndarray, masks: dict, zones: tuple, density: float, color: np.ndarray,
               rng: np.random.Generator) -> None:
        rows, columns, stack = masks["rows"], masks["columns"], masks["masks"]
        mask = np.max([stack[zone] for zone in zones], axis=0)
        y, x = rng.integers(0, 200, 2)
        grain = self.hairs[y : y + mask.shape[0], x : x + mask.shape[1]]
        share = np.clip(mask * np.float32(2 * density) * (0.5 + 0.6 * grain) - np.float32(0.1), 0, 0.88)[..., None]
        window = out[rows, columns, :3]
        window[:] = window * (1 - share) + color.astype(np.float32) * share


STUBBLE = ("moustache", "chin", "jaw", "neck")
STYLES = (("moustache",), ("moustache", "chin"), ("chin",), ("moustache", "chin", "jaw"),
          ("moustache", "chin", "jaw", "neck"), ("chin", "jaw"), ("soul", "moustache"))


def tone(rng: np.random.Generator, brightness: float) -> np.ndarray:
    """A skin tone as a linear multiplier [3]; darker skin is redder, since melanin takes blue first."""
    light = np.exp(rng.normal(0.05, 0.2))
    if brightness > 110 and rng.random() < 0.45:
        light *= np.exp(rng.uniform(np.log(0.16), np.log(0.8)))
    warm, green = rng.normal(0.02, 0.05), rng.normal(0, 0.02)
    tint = np.exp(np.array([warm, green, -warm]))
    if brightness < 110:  # the dark CC0 skins are more orange than people
        tint = tint * [0.93, 1.0, 1.12]
    return light * tint * np.minimum(light, 1.0) ** np.array([-0.06, 0.0, 0.08])


def _fold(p: np.ndarray, name: str, side: str, rng: np.random.Generator) -> Fold:
    """p: landmarks in cells of the patch. The person's left is to the right of the patch."""
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


def _shiny(p: np.ndarray) -> np.ndarray:
    """float32 [CELLS, CELLS]: where skin is oily: forehead, ridge and tip of the nose, cheekbones, chin, lower lip."""
    span = np.linalg.norm(p[45] - p[36])
    spots = [(p[27] - [0, 0.5 * span], 0.32, 0.9), (p[28], 0.07, 1.0), (p[30], 0.1, 1.4), (p[29], 0.07, 1.0),
             (p[40] + [-0.08 * span, 0.3 * span], 0.14, 0.8), (p[47] + [0.08 * span, 0.3 * span], 0.14, 0.8),
             (0.5 * (p[57] + p[8]), 0.12, 0.6), (p[57] - [0, 0.03 * span], 0.08, 1.2)]
    y, x = np.mgrid[:CELLS, :CELLS] + 0.5
    return sum(strength * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * (width * span) ** 2))
               for (cx, cy), width, strength in spots).astype(np.float32)


def _blobs(p: np.ndarray, triples: list[tuple[int, ...]], radius: float, shape: tuple[int, int]):
    """(rows, columns, mask): soft discs at the means of landmarks, cut to where they are."""
    mask = np.zeros(shape, np.float32)
    for triple in triples:
        centre = tuple(int(v) for v in p[list(triple)].mean(0))
        cv2.circle(mask, centre, int(radius), 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), radius / 2)
    rows, columns = np.flatnonzero(mask.max(1) > 0.01), np.flatnonzero(mask.max(0) > 0.01)
    rows, columns = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    return rows, columns, mask[slice(*rows), slice(*columns)]


def _beards(p: np.ndarray) -> dict:
    """Soft masks of where beards grow, on a window of the atlas: float32 [h, w] by zone."""
    half = abs(p[54, 0] - p[48, 0]) / 2
    x0, chin = p[8]
    mouth = p[48, 1]

    def polygon(*points) -> np.ndarray:
        mask = np.zeros((HEIGHT, WIDTH), np.float32)
        right = np.array(points, float)
        both = np.concatenate([right, (right * [-1, 1] + [2 * x0, 0])[::-1]])
        cv2.fillPoly(mask, [np.rint(both * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
        return mask

    lips = polygon((x0, p[51, 1] - 1), (p[53, 0], p[53, 1] - 1), (p[54, 0], p[54, 1]), (p[56, 0], p[56, 1] + 1),
                   (x0, p[57, 1] + 1))
    low = p[57, 1]
    masks = {
        "moustache": polygon((x0, p[33, 1] + 4), (x0 + 0.7 * half, p[33, 1] + 7), (x0 + 1.35 * half, mouth),
                             (x0 + 1.2 * half, mouth + 6), (p[53, 0], p[53, 1]), (x0, p[51, 1])),
        "chin": polygon((x0, low + 12), (x0 + 0.5 * half, low + 8), (x0 + 1.25 * half, mouth + 4),
                        (x0 + 1.35 * half, low + 14), (x0 + 1.1 * half, chin + 4), (x0, chin + 10)),
        "soul": polygon((x0, low + 2), (x0 + 0.25 * half, low + 2), (x0 + 0.18 * half, low + 16), (x0, low + 18)),
        "jaw": polygon((x0, chin - 14), (x0 + 1.2 * half, mouth + 12), (p[14, 0] - 8, p[14, 1] - 20),
                       (p[15, 0] + 14, p[15, 1] - 6), (p[15, 0] + 20, p[15, 1] - 30), (p[15, 0] + 34, p[15, 1] - 30),
                       (p[13, 0] + 30, p[12, 1] + 4), (x0 + 2.2 * half, chin + 12), (x0, chin + 16)),
        "neck": polygon((x0, chin), (x0 + 2.4 * half, chin - 6), (x0 + 2.6 * half, chin + 26), (x0, chin + 34)),
    }
    soft = {zone: cv2.GaussianBlur(mask, (0, 0), 10.0 if zone in ("jaw", "neck") else 4.5) * (1 - cv2.GaussianBlur(lips, (0, 0), 1.5))
            for zone, mask in masks.items()}
    rows, columns = slice(int(p[33, 1]), HEIGHT), slice(int(p[1, 0]) - 60, int(p[15, 0]) + 60)
    return {"rows": rows, "columns": columns,
            "masks": {zone: np.ascontiguousarray(mask[rows, columns]) for zone, mask in soft.items()}}


def _scalp() -> np.ndarray:
    """float32 [HEIGHT, WIDTH] in 0..1: where hair grows on the head."""
    turn = np.abs(np.linspace(-180, 180, WIDTH))  # degrees from the front
    line = np.interp(turn, [0, 25, 45, 62, 80, 90, 100, 180], [92, 90, 78, 50, 10, -15, -45, -70])  # mm
    height = np.linspace(HIGH, LOW, HEIGHT)[:, None]
    return cv2.GaussianBlur(np.clip((height - line) / 6, 0, 1).astype(np.float32), (0, 0), 3.0)


def _hairs(rng: np.random.Generator) -> np.ndarray:
    """float32 in about 0..1: short strokes, mostly upright, to be cut from."""
    noise = rng.random((720, 720)).astype(np.float32)
    strokes = cv2.blur(noise, (2, 7))
    low, high = np.percentile(strokes, [5, 95])
    return np.clip((strokes - low) / (high - low), 0, 1.2)
