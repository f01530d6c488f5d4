"""Skin on the atlas: its tone, pores and shine, blush and painted hair, and its folds as the face moves."""

from dataclasses import dataclass

import cv2
import numpy as np

from expnet_tf.data.scenes.atlas import CELL, CELLS, HEIGHT, PATCH, WIDTH, on_atlas, on_patch
from expnet_tf.data.scenes.folds import FOLDS, VARIANTS, draw_fold, fold_depth
from expnet_tf.data.scenes.painted_hair import PaintedHair
from expnet_tf.render import Relief


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
        self.folds = {(name, side): [draw_fold(self.patch, name, side, rng) for _ in range(VARIANTS)]
                      for name in FOLDS for side in ("Left", "Right")}
        fine = rng.normal(size=(2, 2 * CELLS, 2 * CELLS)).astype(np.float32)
        self.pores = np.stack([f - cv2.blur(f, (5, 5)) for f in fine], 2)
        soft = [cv2.resize(rng.normal(size=(40, 40)).astype(np.float32), (2 * CELLS,) * 2,
                           interpolation=cv2.INTER_CUBIC) for _ in range(2)]
        self.bumps = np.stack([np.gradient(soft[0], axis=1), -np.gradient(soft[0], axis=0)], 2).astype(np.float32)
        self.mottle = soft[1]
        self.shiny = _shiny(self.patch)
        self.hair = PaintedHair(self.atlas, rng)
        self.blush = _blobs(self.atlas, [(2, 31, 40), (14, 35, 47), (30, 30, 33)], 26, (HEIGHT, WIDTH))
        self.orbits = _blobs(self.atlas, [(21, 22, 27), (20, 38), (23, 43), (18, 36), (25, 45)], 22, (HEIGHT, WIDTH))
        # A little above the landmarks, which lie where nose and lip meet.
        self.nostrils = _blobs(self.atlas - [0, 4], [(31, 32), (32,), (34,), (34, 35)], 3, (HEIGHT, WIDTH))

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
            depth = np.float32(own.depth * fold_depth(name, side, weights, own.age))
            if depth > 0.04:
                fold = variants[own.variant[name]]
                window = cells[fold.rows, fold.columns]
                window[..., :2] += depth * fold.slopes
                window[..., 3] *= 1 - np.minimum(np.float32(0.5) * depth, np.float32(0.55)) * fold.groove
        count = CELLS
        while px_per_mm * CELL * CELLS / count < 0.7 and count > 32:
            count //= 2
        if count < CELLS:
            cells = cv2.resize(cells, (count, count), interpolation=cv2.INTER_AREA)
        return Relief(cells, PATCH, right)

    def painted(self, skin: np.ndarray, hair_color: np.ndarray, brow: tuple[float, float],
                bearded: bool, rng: np.random.Generator) -> np.ndarray:
        """A skin uint8 RGBA [HEIGHT, WIDTH, 4] with blush, brows, and now and then a beard.

        brow: rise and slant of the brows in mm, as their cards have it; bearded: may have a beard, and thicker brows.
        """
        out = skin.copy()
        tall, wide, blush = self.blush
        mask = blush * np.float32(rng.uniform(0, 0.1))
        out[tall, wide, 1:3] = out[tall, wide, 1:3] * (1 - mask)[..., None]
        # Skin is thin and dark about the eyes and at the root of the nose.
        tall, wide, about = self.orbits
        out[tall, wide, :3] = out[tall, wide, :3] * (1 - about * np.float32(rng.uniform(0, 0.25)))[..., None]
        # The mesh has shallow nostrils; in photographs they are the darkest part of the skin.
        tall, wide, under = self.nostrils
        out[tall, wide, :3] = out[tall, wide, :3] * (1 - under * np.float32(rng.uniform(0.1, 0.8)))[..., None]
        hair = np.sqrt(np.clip(hair_color * rng.uniform(0.6, 1.3) + 0.004, 0, 1)) * 255
        self.hair.brows(out, np.minimum(hair, rng.uniform(25, 75)), brow, bearded, rng)
        kind = rng.random()
        if bearded and kind < 0.7:
            self.hair.beard(out, hair, kind < 0.35, rng)
        return out


def tone(rng: np.random.Generator, brightness: float) -> np.ndarray:
    """A skin tone as a linear multiplier [3]; darker skin is redder, since melanin takes blue first."""
    light = np.exp(rng.normal(0.05, 0.2))
    if brightness > 110 and rng.random() < 0.45:
        light *= np.exp(rng.uniform(np.log(0.16), np.log(0.8)))
    warm, green = rng.normal(0.02, 0.05), rng.normal(0, 0.02)
    tint = np.exp(np.array([warm, green, -warm]))
    if brightness < 110:  # the dark CC0 skins are more orange than people
        tint = tint * [0.88, 1.0, 1.2]
    return light * tint * np.minimum(light, 1.0) ** np.array([-0.06, 0.0, 0.08])


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
    busy = np.flatnonzero(mask.max(1) > 0.01), np.flatnonzero(mask.max(0) > 0.01)
    rows, columns = (slice(ids[0], ids[-1] + 1) for ids in busy)
    return rows, columns, mask[rows, columns]
