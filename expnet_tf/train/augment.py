"""Packed crops -> the network's crops with their targets, by geometry (OpenCV and numpy only).

A crop may be drawn anew each time: box jitter, roll, mirror. All targets follow the pixels: a turn in the image plane
is a rotation about the camera's axis, a mirror image flips codes by the face model's mirror signs, and the pose is
brought to the nominal camera of the crop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from expnet_tf.camera import rotation_matrix, rotation_vector, to_nominal
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

    @property
    def reach(self) -> float:
        """How much wider than the crop itself a photo must be for nine in ten random crops to lie inside of it."""
        return float(np.exp(1.3 * self.scale) * (1 + 1.3 * self.roll) + 2 * 1.3 * self.centre)


STILL = Jitter(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Draw:
    """What chance decided for b crops: offset [b, 2] (share of the box side), growth [b], roll [b] (rad), flip [b]."""

    offset: np.ndarray
    growth: np.ndarray
    roll: np.ndarray
    flip: np.ndarray

    def take(self, rows: slice) -> Draw:
        return Draw(self.offset[rows], self.growth[rows], self.roll[rows], self.flip[rows])


def draw(jitter: Jitter, count: int, rng: np.random.Generator) -> Draw:
    return Draw(
        rng.normal(0, jitter.centre, (count, 2)),
        np.exp(rng.normal(0, jitter.scale, count)),
        rng.normal(0, jitter.roll, count),
        rng.random(count) < jitter.mirror,
    )


def still(count: int) -> Draw:
    return Draw(np.zeros((count, 2)), np.ones(count), np.zeros(count), np.zeros(count, bool))


def crops(
    images: Sequence[np.ndarray],
    labels: Mapping[str, np.ndarray],
    drawn: Draw,
    size: int,
    factor: float | None,
    names: Sequence[str] = ("expression", "identity", "pose", "points", "seen"),
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The network's crops of b labelled photos.

    Args:
        images: b photos, uint8 RGB, all of one square size.
        labels: columns of the label files for them; box, points and camera in px of these photos.
        drawn: what chance decided; `still(b)` for none of it.
        size: side S of a crop, px.
        factor: side of the crop over the longer side of the box. None: the whole photo.
        names: the targets wanted.

    Returns:
        (uint8 [b, S, S, 3], targets float32): expression [b, 29] and identity [b, 99] in sigma units; pose [b, 6],
        rad and mm at the nominal camera (pinhole labels only); points and seen [b, 136], for the two landmark
        heads: x then y in turn, in [-1, 1] over the crop.
    """
    count, photo = len(images), images[0].shape[0]
    if factor is None:
        box_side, centre = np.full(count, float(photo)), np.full((count, 2), photo / 2)
        side = box_side
    else:
        box = labels["box"].astype(np.float64)
        box_side = box[:, 2:].max(1)
        centre = box[:, :2] + box[:, 2:] / 2
        side = box_side * factor
    centre = centre + box_side[:, None] * drawn.offset
    scale = size / (side * drawn.growth)
    cos, sin = np.cos(drawn.roll) * scale, np.sin(drawn.roll) * scale
    # Photo px -> crop px: a turn by `roll` (clockwise on screen, v down) and a scale about the centre.
    turn = np.stack([cos, -sin, sin, cos], -1).reshape(-1, 2, 2)
    shift = size / 2 - np.einsum("nij,nj->ni", turn, centre)
    out = np.empty((count, size, size, 3), np.uint8)
    for i, image in enumerate(images):
        _warp(image, turn[i], shift[i], out[i])
    out[drawn.flip] = out[drawn.flip, :, ::-1]

    flip, targets = drawn.flip, {}
    if "pose" in names:
        pose = _turned(labels["pose"].astype(np.float64), drawn.roll)
        middle = np.einsum("nij,nj->ni", turn, labels["camera"][:, 1:].astype(np.float64)) + shift
        pose = to_nominal(pose, labels["camera"][:, 0] * scale, middle, size)
        pose[flip] *= [1, -1, -1, -1, 1, 1]
        targets["pose"] = pose
    points = np.einsum("nij,nkj->nki", turn, labels["points"].astype(np.float64)) + shift[:, None]
    points[flip, :, 0] = size - points[flip, :, 0]
    points[flip] = points[flip][:, MIRROR_POINTS]
    targets["points"] = targets["seen"] = (points / size * 2 - 1).reshape(count, -1)
    face = open_face()
    for name, signs in (("expression", face.expression_mirror), ("identity", face.identity_mirror)):
        targets[name] = labels[name] * np.where(flip[:, None], signs, 1)
    return out, {name: targets[name].astype(np.float32) for name in names}


def _turned(pose: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Poses after a turn of the image by `roll`, clockwise on screen."""
    about_z = rotation_matrix(np.stack([0 * roll, 0 * roll, -roll], -1))  # v points down, y up
    rotation = rotation_vector(about_z @ rotation_matrix(pose[:, :3]))
    return np.concatenate([rotation, np.einsum("nij,nj->ni", about_z, pose[:, 3:])], 1)


def _warp(image: np.ndarray, turn: np.ndarray, shift: np.ndarray, out: np.ndarray) -> None:
    """Draws `image` into `out`; px coordinates x -> turn x + shift, pixel centres at .5."""
    size = out.shape[0]
    # Bilinear interpolation looks at four pixels: what shrinks by more than two is averaged first.
    while np.hypot(*turn[0]) <= 0.5 and min(image.shape[:2]) >= 2:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        image = cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
        turn = turn * 2
    if image.shape[:2] == (size, size) and not shift.any() and (turn == np.eye(2)).all():
        out[:] = image
        return
    # warpAffine counts pixel centres from 0, our coordinates from 0.5.
    matrix = np.c_[turn, shift + turn.sum(1) * 0.5 - 0.5]
    cv2.warpAffine(image, matrix, (size, size), dst=out, flags=cv2.INTER_LINEAR)
