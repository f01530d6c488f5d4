"""Labelled photos -> batches of crops with targets, on any Keras backend (OpenCV and numpy only).

Every crop is drawn anew: box jitter, roll, mirror. All targets follow the pixels: a turn in the image plane is a
rotation about the camera's axis, a mirror image flips codes by the face model's mirror signs, and the pose is
brought to the nominal camera of the crop.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import keras
import numpy as np

from expnet_tf.camera import rotation_matrix, rotation_vector, to_nominal
from expnet_tf.data.labels import read_labels
from expnet_tf.morphable import open_face

# iBUG's 68 points in a mirror: jaw, brows, nose, eyes, lips.
MIRROR_POINTS = np.array(
    [int(i) for i in (
        "16 15 14 13 12 11 10 9 8 7 6 5 4 3 2 1 0  26 25 24 23 22 21 20 19 18 17  27 28 29 30 35 34 33 32 31 "
        "45 44 43 42 47 46  39 38 37 36 41 40  54 53 52 51 50 49 48 59 58 57 56 55  64 63 62 61 60 67 66 65"
    ).split()]
)  # fmt: skip


@dataclass(frozen=True)
class Jitter:
    """Spread of the random crop: centre (share of the box side), log of the scale, roll (rad), chance of a mirror."""

    centre: float = 0.05
    scale: float = 0.07
    roll: float = 0.1
    mirror: float = 0.5


STILL = Jitter(0.0, 0.0, 0.0, 0.0)


class FaceBatches(keras.utils.PyDataset):
    """Batches (image, {expression, identity, pose, points, seen}) from label folders with their images beside them.

    image uint8 [b, size, size, 3] RGB; expression [b, 29] and identity [b, 99] sigma units; pose [b, 6] rad and mm at
    the nominal camera; points and seen [b, 136], for the two landmark heads: x then y in turn, in [-1, 1] over the
    crop. All images are decoded once and kept in memory (49 kB each at 128 px).
    """

    def __init__(self, folders: list[Path], size: int, factor: float, batch_size: int, jitter: Jitter, seed: int = 0):
        super().__init__(workers=1, max_queue_size=8)
        self.size, self.factor, self.batch_size, self.jitter, self.seed = size, factor, batch_size, jitter, seed
        self.epoch = 0
        parts = [read_labels(folder) for folder in folders]
        self.labels = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        paths = [Path(f) / key for f, p in zip(folders, parts, strict=True) for key in p["key"]]
        self.images = np.stack([_read(path) for path in paths])
        face = open_face()
        self.mirrors = {"expression": face.expression_mirror, "identity": face.identity_mirror}
        self.order = self._shuffled()

    def __len__(self) -> int:
        return (
            len(self.images) // self.batch_size if self.jitter is not STILL else -(-len(self.images) // self.batch_size)
        )

    def __getitem__(self, index: int):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng([self.seed, self.epoch, index])
        return self.crops(rows, rng)

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self.order = self._shuffled()

    def _shuffled(self) -> np.ndarray:
        if self.jitter is STILL:
            return np.arange(len(self.images))
        return np.random.default_rng([self.seed, self.epoch]).permutation(len(self.images))

    def crops(self, rows: np.ndarray, rng: np.random.Generator):
        """The batch of these rows: (image uint8 [b, S, S, 3], dict of targets)."""
        count, size, jitter = len(rows), self.size, self.jitter
        box = self.labels["box"][rows].astype(np.float64)
        side = box[:, 2:].max(1)
        centre = box[:, :2] + box[:, 2:] / 2 + side[:, None] * rng.normal(0, jitter.centre, (count, 2))
        scale = size / (side * self.factor * np.exp(rng.normal(0, jitter.scale, count)))
        roll = rng.normal(0, jitter.roll, count)
        flip = rng.random(count) < jitter.mirror
        cos, sin = np.cos(roll) * scale, np.sin(roll) * scale
        # Image px -> crop px: a turn by `roll` (clockwise on screen, v down) and a scale about the centre.
        turn = np.stack([cos, -sin, sin, cos], -1).reshape(-1, 2, 2)
        shift = size / 2 - np.einsum("nij,nj->ni", turn, centre)
        out = np.empty((count, size, size, 3), np.uint8)
        for i, row in enumerate(rows):
            # warpAffine counts pixel centres from 0, our coordinates from 0.5.
            matrix = np.c_[turn[i], shift[i] + turn[i].sum(1) * 0.5 - 0.5]
            cv2.warpAffine(self.images[row], matrix, (size, size), dst=out[i], flags=cv2.INTER_LINEAR)
        out[flip] = out[flip, :, ::-1]

        focal = self.labels["camera"][rows, 0] * scale
        principal = np.einsum("nij,nj->ni", turn, self.labels["camera"][rows, 1:].astype(np.float64)) + shift
        pose = self.labels["pose"][rows].astype(np.float64)
        about_z = rotation_matrix(np.stack([np.zeros(count), np.zeros(count), -roll], -1))  # v points down, y up
        pose = np.concatenate(
            [rotation_vector(about_z @ rotation_matrix(pose[:, :3])), np.einsum("nij,nj->ni", about_z, pose[:, 3:])], 1
        )
        pose = to_nominal(pose, focal, principal, size)
        points = np.einsum("nij,nkj->nki", turn, self.labels["points"][rows].astype(np.float64)) + shift[:, None]
        codes = {name: self.labels[name][rows].copy() for name in self.mirrors}
        pose[flip] *= [1, -1, -1, -1, 1, 1]
        points[flip, :, 0] = size - points[flip, :, 0]
        points[flip] = points[flip][:, MIRROR_POINTS]
        for name, signs in self.mirrors.items():
            codes[name][flip] *= signs
        relative = (points / size * 2 - 1).reshape(count, -1)
        targets = {**codes, "pose": pose, "points": relative, "seen": relative}
        return out, {name: value.astype(np.float32) for name, value in targets.items()}


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    if image is None:
        raise FileNotFoundError(f"{path}: no readable image, though the labels name it")
    return np.ascontiguousarray(image[..., ::-1])
