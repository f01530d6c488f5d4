"""Hair that is painted on the skin: the roots of brows, beards, and short hair where none is worn."""

import cv2
import numpy as np

from expnet_tf.data.scenes.atlas import HEIGHT, HIGH, LOW, WIDTH

MM_UP, MM_ACROSS = (HIGH - LOW) / HEIGHT, 0.86  # mm a px of the atlas at the brows

STUBBLE = ("moustache", "chin", "jaw", "neck")
STYLES = (("moustache",), ("moustache", "chin"), ("chin",), ("moustache", "chin", "jaw"),
          ("moustache", "chin", "jaw", "neck"), ("chin", "jaw"), ("soul", "moustache"))


class PaintedHair:
    """Paints onto skins uint8 RGBA [HEIGHT, WIDTH, 4], in place; for landmarks [68, 2] px of the atlas."""

    def __init__(self, landmarks: np.ndarray, rng: np.random.Generator) -> None:
        self.landmarks = landmarks
        self.rows, self.columns, self.zones = _beards(landmarks)
        self.hairs = _hairs(rng)
        self.scalp = _scalp()

    def brows(self, out: np.ndarray, hair: np.ndarray, brow: tuple[float, float], male: bool,
              rng: np.random.Generator) -> None:
        """Brows as most people have them: a dense band of hair that thins out towards the temple.

        hair: sRGB [3]; brow: rise and slant in mm, as the fitted cards have them; male: thicker on average.
        """
        strength = rng.uniform(0.7, 1.0) if rng.random() < 0.85 else rng.uniform(0, 0.5)
        thick = rng.uniform(5.5, 11) if male else rng.uniform(4, 8)
        arch, lift, reach, tail = rng.normal(0.5, 1.2), rng.normal(-0.3, 0.6), rng.normal(-1.5, 2.0), rng.normal(0, 3)
        soft, rough = rng.uniform(0.8, 2.2), rng.uniform(0.2, 0.9)
        t = np.linspace(0, 1, 25)
        band = thick * np.interp(t, [0, 0.12, 0.35, 0.65, 1], [0.7, 0.95, 1, rng.uniform(0.6, 0.9), 0.12])
        dense = np.interp(t, [0, 0.15, 0.6, 1], [rng.uniform(0.45, 1), 1, 1, 0.75])
        for points, away in ((self.landmarks[21:16:-1], -1), (self.landmarks[22:27], 1)):  # from the inner end
            own = rng.normal(0, 0.3, 2)  # mm: the two are not quite alike
            x = np.interp(t, np.linspace(0, 1, 5), points[:, 0]) + away * (tail * t - reach * (1 - t)) / MM_ACROSS
            rise = brow[0] + brow[1] * (2 * t - 1) + lift + own[0] + (arch + own[1]) * np.sin(np.pi * t**1.3)
            y = np.interp(t, np.linspace(0, 1, 5), points[:, 1]) - rise / MM_UP
            y = cv2.blur(np.pad(y, 4, "edge")[:, None], (1, 5))[4:-4, 0]
            upper, lower = (np.stack([x, y + side * band / 2 / MM_UP], 1) for side in (-1, 1))
            edge = np.concatenate([upper, lower[::-1]])
            low = np.floor(edge.min(0) - 8).astype(int)
            size = np.ceil(edge.max(0) + 8).astype(int) - low
            mask = np.zeros(size[::-1], np.float32)
            cv2.fillPoly(mask, [np.rint((edge - low) * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
            order = np.argsort(x)
            mask = cv2.GaussianBlur(mask, (0, 0), soft) * np.interp(
                np.arange(size[0]) + low[0], x[order], dense[order]).astype(np.float32)
            row, column = rng.integers(0, 200, 2)
            grain = self.hairs[row : row + mask.shape[0], column : column + mask.shape[1]]
            hairs = np.float32(1.1 - rough / 2) + np.float32(rough) * (grain - 0.5)
            share = np.clip(mask * np.float32(strength) * hairs, 0, 0.97)[..., None]
            window = out[low[1] : low[1] + size[1], low[0] : low[0] + size[0], :3]
            window[:] = window * (1 - share) + hair.astype(np.float32) * share

    def beard(self, out: np.ndarray, hair: np.ndarray, full: bool, rng: np.random.Generator) -> None:
        """A full-grown beard of one style or other, or stubble; hair: sRGB [3]."""
        density = rng.uniform(0.5, 1.0) if full else rng.uniform(0.12, 0.5)
        zones = STYLES[rng.integers(len(STYLES))] if full or rng.random() < 0.4 else STUBBLE
        grey = rng.random() < 0.15
        color = np.full(3, rng.uniform(90, 165)) if grey else hair
        mask = np.max([self.zones[zone] for zone in zones], axis=0)
        y, x = rng.integers(0, 200, 2)
        grain = self.hairs[y : y + mask.shape[0], x : x + mask.shape[1]]
        share = np.clip(mask * np.float32(2 * density) * (0.5 + 0.6 * grain) - np.float32(0.1), 0, 0.88)[..., None]
        window = out[self.rows, self.columns, :3]
        window[:] = window * (1 - share) + color.astype(np.float32) * share

    def cropped(self, skin: np.ndarray, hair_color: np.ndarray, rng: np.random.Generator) -> None:
        """Short hair, painted on the scalp where there is none to wear."""
        hair = np.sqrt(np.clip(hair_color * rng.uniform(0.7, 1.3) + 0.004, 0, 1)) * 255
        y = int(rng.integers(0, 200))
        grain = self.hairs[y : y + HEIGHT]
        grain = np.concatenate([grain, grain[:, : WIDTH - grain.shape[1]]], 1)
        thin = np.clip(self.scalp * rng.uniform(0.7, 1.6) + 0.35 * (grain - 0.6) * self.scalp, 0, 0.97)[..., None]
        skin[..., :3] = skin[..., :3] * (1 - thin) + (hair * (0.7 + 0.3 * grain[..., None])) * thin


def _beards(p: np.ndarray) -> tuple[slice, slice, dict[str, np.ndarray]]:
    """Soft masks of where beards grow, on a window (rows, columns) of the atlas: float32 [h, w] by zone."""
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
    free = 1 - cv2.GaussianBlur(lips, (0, 0), 1.5)
    soft = {zone: cv2.GaussianBlur(mask, (0, 0), 10.0 if zone in ("jaw", "neck") else 4.5) * free
            for zone, mask in masks.items()}
    rows, columns = slice(int(p[33, 1]), HEIGHT), slice(int(p[1, 0]) - 60, int(p[15, 0]) + 60)
    return rows, columns, {zone: np.ascontiguousarray(mask[rows, columns]) for zone, mask in soft.items()}


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
