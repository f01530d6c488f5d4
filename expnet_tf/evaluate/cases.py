"""Which clips are worth a look, and what is known of each: pose, age, how strong an expression was read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from expnet_tf.camera import rotation_matrix
from expnet_tf.evaluate.clips import Clip, Dataset, Ref, shots
from expnet_tf.evaluate.knn import NEIGHBOURS, Votes
from expnet_tf.evaluate.methods import Blendshapes
from expnet_tf.image import ImageError
from expnet_tf.morphable import MorphableModel, open_face
from expnet_tf.paint import FACE
from expnet_tf.predictor import Predictor

YAWS = (0.0, 15.0, 30.0, 45.0, 90.0)  # degrees to either side, ends of the groups
AGES = (0.0, 18.0, 30.0, 45.0, 60.0, 150.0)  # years, ends of the groups


class ShapeAndPose:
    """The network's other heads as a method, so that they are computed and kept like codes.

    Codes [n, 99 + 6]: identity (sigma), pose (rad, mm). The mean shape, and a NaN pose, where a head is missing.
    """

    space = "identity and pose"
    blendshapes: Blendshapes | None = None

    def __init__(self, predictor: Predictor, id: str) -> None:
        """id: of the network, as `Network.id`."""
        self.name, self.id, self._predictor = f"{predictor.info.id} shape and pose", f"shape-and-pose:{id}", predictor

    def codes(self, images: Sequence[np.ndarray], boxes: Sequence[Sequence[float]]) -> np.ndarray:
        """As `Method.codes`."""
        identities = len(self._predictor.face_model.identity_basis)
        rows = np.full((len(images), identities + 6), np.nan)
        crops, seen = [], []
        for row, (image, box) in enumerate(zip(images, boxes, strict=True)):
            try:
                crops.append(self._predictor.crops(image, [box]))
                seen.append(row)
            except ImageError:
                continue
        if crops:
            heads = self._predictor.run(np.concatenate(crops))
            rows[seen, :identities] = heads.get("identity", np.zeros(identities))
            rows[seen, identities:] = heads.get("pose", np.full(6, np.nan))
        return rows


def yaw_degrees(pose: np.ndarray) -> np.ndarray:
    """How far faces are turned to either side: pose float [n, 6] -> degrees float [n], 0 to 180."""
    forward = rotation_matrix(pose[:, :3])[..., 2]
    return np.degrees(np.abs(np.arctan2(forward[:, 0], forward[:, 2])))


def between(values: np.ndarray, ends: Sequence[float]) -> list[tuple[str, np.ndarray]]:
    """Groups [low, high) that are not empty: ("15 to 30", bool [n]) each; NaN is in none."""
    groups = [(f"{low:g} to {high:g}", (values >= low) & (values < high)) for low, high in pairwise(ends)]
    return [(name, inside) for name, inside in groups if inside.any()]


def amplitude(codes: np.ndarray, model: MorphableModel | None = None) -> np.ndarray:
    """How far an expression moves the face: z float [n, 29] -> rms over the face's vertices, mm, float [n].

    Face: all regions but scalp, ears and neck (paint.FACE).
    """
    model = model or open_face()
    inside = model.region(*[name for name in FACE if name in list(model.region_names)])
    basis = model.expression_basis[:, inside].reshape(len(model.expression_basis), -1)
    return np.sqrt(np.einsum("ni,ij,nj->n", codes, basis @ basis.T, codes) / max(int(inside.sum()), 1))


def failures(dataset: Dataset, codes: np.ndarray, votes: Votes, count: int) -> list[dict[str, Any]]:
    """The worst wrong clips of a method, worst first.

    Worst: fewest neighbours of the true class, then the amplitude furthest, by its ratio, from what is expected:
    the median amplitude of the other clips of the class by the same method.

    Args:
        codes: z float [clips, 29] of the open face model.
    """
    labels, size = dataset.labels, amplitude(codes)
    found = []
    for row in np.flatnonzero((votes.predicted != labels) & (votes.predicted >= 0)):
        others = (labels == labels[row]) & ~np.isnan(size)
        others[row] = False
        expected = float(np.median(size[others])) if others.any() else float("nan")
        found.append(
            {
                "clip": dataset.clips[row].key,
                "label": dataset.classes[labels[row]],
                "predicted": dataset.classes[votes.predicted[row]],
                "own neighbours": int(votes.own[row]),
                "neighbours": NEIGHBOURS,
                "amplitude mm": round(float(size[row]), 3),
                "expected mm": round(expected, 3),
                "ratio": round(float(size[row]) / expected, 3) if expected > 0 else None,
            }
        )
    found.sort(key=lambda one: (one["own neighbours"], -abs(np.log(max(one["ratio"] or 1, 1e-3))), one["clip"]))
    return found[:count]


def drawn(clips: Sequence[Clip], rows: Sequence[int], count: int = 1) -> list[int]:
    """`count` of these rows, by the hash of their keys: always the same, and not by how they turned out."""
    return sorted(rows, key=lambda row: hashlib.sha256(clips[row].key.encode()).hexdigest())[:count]


def image_of(clip: Clip, key: str) -> tuple[Ref, np.ndarray]:
    """The image of a clip with this key, uint8 RGB [H, W, 3]. Raises ImageError where it cannot be read."""
    for frame in clip.frames:
        if key.startswith(frame.key):
            for ref, read in shots(frame):
                if ref.key == key:
                    return ref, read()
    raise ImageError(f"{clip.key} has no image {key}.")
