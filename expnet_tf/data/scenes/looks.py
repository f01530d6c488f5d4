"""Colours of people: hair, eyes, lips; and textures prepared to take them."""

import cv2
import numpy as np

from expnet_tf.morphable import MorphableModel
from expnet_tf.texture import Texture

# Linear light: black ... blond, grey, red.
HAIR_COLORS = np.array([[0.010, 0.008, 0.006], [0.03, 0.015, 0.008], [0.09, 0.045, 0.02], [0.25, 0.13, 0.05],
                        [0.50, 0.35, 0.15], [0.40, 0.40, 0.40], [0.20, 0.05, 0.02]])
HAIR_CHANCE = [0.30, 0.25, 0.15, 0.08, 0.08, 0.10, 0.04]
IRIS_TONES = np.array([[0.05, 0.025, 0.012], [0.10, 0.05, 0.02], [0.15, 0.22, 0.35], [0.15, 0.22, 0.12],
                       [0.2, 0.2, 0.22]])
IRIS_CHANCE = [0.45, 0.2, 0.15, 0.1, 0.1]
IRIS_SIZE = 128  # px of the texture of both eyeballs


class Irises:
    """Most eyes of the world are brown, the CC0 textures mostly not: recolours the iris, keeps the white."""

    def __init__(self, textures: list[np.ndarray]) -> None:
        self.textures = []
        for texture in textures:
            small = cv2.resize(texture, (IRIS_SIZE, IRIS_SIZE), interpolation=cv2.INTER_AREA)
            rgb = small[..., :3].astype(np.float32) / 255
            colored = np.clip((rgb.max(2) - rgb.min(2)) * 5 - 0.3, 0, 1)[..., None]
            self.textures.append((rgb, colored, np.sqrt((rgb**2).mean(2, keepdims=True) / 0.12), small[..., 3]))

    def pick(self, rng: np.random.Generator, albedo: float) -> Texture:
        """Both eyeballs of a person whose skin reflects `albedo`: dark skins go with brown eyes, and the camera
        opens up for them, so that the white must not outshine them."""
        rgb, colored, luma, alpha = self.textures[rng.integers(len(self.textures))]
        tone = rng.choice(len(IRIS_TONES), p=IRIS_CHANCE) if albedo > 0.15 else rng.integers(2)
        color = np.sqrt(IRIS_TONES[tone] * rng.uniform(0.3, 0.9))
        iris = np.minimum(luma * color.astype(np.float32), 1)
        white = np.minimum(rgb, 0.95) * np.float32(rng.uniform(0.55, 1.0) * (0.75 + 0.25 * min(1.0, albedo / 0.3)))
        out = (white + (iris - white) * colored) * 255 + 0.5
        return Texture.of(np.dstack([out.astype(np.uint8), alpha]))


def mouth_colors(model: MorphableModel, rng: np.random.Generator, female: bool) -> np.ndarray:
    """Linear multiplier float32 [n, 3] of the skin: lips and the inside of the mouth."""
    colors = np.ones((model.n_vertices, 3), np.float32)
    colors[model.region("mouth interior")] = np.array([0.3, 0.14, 0.13]) * rng.uniform(0.2, 0.5)
    made_up = female and rng.random() < 0.25
    red = [rng.uniform(0.6, 1.0), rng.uniform(0.15, 0.5), rng.uniform(0.2, 0.55)]
    pale = rng.uniform(0.52, 0.88)
    plain = [rng.uniform(0.7, 0.95), pale, pale * rng.uniform(0.9, 1.08)]
    colors[model.region("lips")] *= red if made_up else plain
    return colors


def thickened(texture: np.ndarray) -> np.ndarray:
    """Bushy brows: the CC0 ones are fine lines, which vanish at the size a network sees."""
    return np.ascontiguousarray(cv2.dilate(texture, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 21))))
