"""How well expressions are read where the truth is known: the faces of an `expnet synth` folder.

The record is plain JSON. Errors are mean distances of vertices in mm, the truth and the prediction decoded with the
same identity; `share` is the error over that of always answering the set's mean expression, 1 for a method that sees
nothing. Zones of the face are those of the training loss (train/losses.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf import __version__
from expnet_tf.data.labels import read_labels
from expnet_tf.evaluate.cases import yaw_degrees
from expnet_tf.evaluate.leak import identity_leak
from expnet_tf.evaluate.methods import EXPRESSION, Box, Method
from expnet_tf.image import ImageError, read_image
from expnet_tf.morphable import open_face
from expnet_tf.train.losses import zones
from expnet_tf.train.metrics import errors, r_squared

SCHEMA = "expnet.evaluate.synthetic/1"
YAWS = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0)  # degrees to either side, ends of the bins
FRONTAL, TURNED = (0.0, 15.0), (50.0, 70.0)  # degrees
FACE = "face"  # all vertices alike; "whole" of the loss weighs lips, lids and brows
NEUTRAL = 0.5  # mm that the true expression moves the face at most, of a face that counts as neutral
SEEN = 0.02  # spread of a true weight from which its calibration is told
BATCH = 64


class SyntheticError(ValueError):
    """A folder that cannot be evaluated on: one sentence."""


def evaluate(
    folder: Path, methods: Sequence[Method], progress: Callable[[int], object] = lambda images: None
) -> dict[str, Any]:
    """The record of a synthetic folder: every figure for every method.

    methods must give expressions of the open face model. `progress` gets the number of images just coded.
    Raises LabelError for a folder without whole labels, SyntheticError where its labels are not the truth, fewer than
    two images can be read, or a method has another space.
    """
    for method in methods:
        if method.space != EXPRESSION:
            raise SyntheticError(f"{method.name} gives {method.space}; only {EXPRESSION} has a truth here.")
    labels = read_labels(folder)
    if labels["quality"].any():
        raise SyntheticError(
            f"{folder}: its labels were fitted to landmarks; true labels, as of expnet synth, are needed."
        )
    codes: list[list[np.ndarray]] = [[] for _ in methods]
    rows: list[int] = []
    unreadable: list[str] = []
    for some, images, boxes in _batches(folder, labels, unreadable):
        rows += some
        for parts, method in zip(codes, methods, strict=True):
            parts.append(method.codes(images, boxes))
        progress(len(some))
    if len(rows) < 2:
        raise SyntheticError(f"{folder}: {(unreadable or ['it has one image alone.'])[0]}")
    truth = {name: values[rows] for name, values in labels.items()}
    return {
        "schema": SCHEMA,
        "software": f"expnet_tf {__version__}",
        "data": {
            "path": str(folder),
            "images": len(rows),
            "people": len(set(truth["subject"].tolist())),
            "unreadable": unreadable,
        },
        "methods": [
            {"name": method.name, "id": method.id, **measure(np.concatenate(parts), truth)}
            for method, parts in zip(methods, codes, strict=True)
        ],
    }


def count(folder: Path) -> int:
    """Images that `evaluate` will try to read. Raises LabelError."""
    return len(read_labels(folder)["key"])


def _batches(
    folder: Path, labels: dict[str, np.ndarray], unreadable: list[str]
) -> Iterator[tuple[list[int], list[np.ndarray], list[Box]]]:
    keys = labels["key"].tolist()
    for start in range(0, len(keys), BATCH):
        rows, images = [], []
        for row in range(start, min(start + BATCH, len(keys))):
            try:
                images.append(read_image(folder / keys[row]))
                rows.append(row)
            except ImageError as error:
                unreadable.append(str(error))
        if rows:
            yield rows, images, labels["box"][rows].astype(np.float64).tolist()


def measure(codes: np.ndarray, truth: dict[str, np.ndarray]) -> dict[str, Any]:
    """All figures of one method: codes float [n, 29], NaN rows are abstentions; truth: label columns of n images.

    Of the mean expression that errors are compared with, the mean is over all n images.
    """
    present = ~np.isnan(codes).any(axis=1)
    if present.sum() < 2:
        return {"abstained": int((~present).sum())}
    mean = truth["expression"].mean(0, keepdims=True).astype(np.float64)
    read = codes[present]
    kept = {name: values[present] for name, values in truth.items()}
    true = kept["expression"].astype(np.float64)
    by_zone, by_zone_unread = zone_errors(read, true), zone_errors(np.broadcast_to(mean, true.shape), true)
    yaw = yaw_degrees(kept["pose"])
    return {
        "abstained": int((~present).sum()),
        **_error(by_zone, by_zone_unread, np.full(len(true), True)),
        "frontal": {"yaw": list(FRONTAL), **_within(by_zone, by_zone_unread, yaw, FRONTAL)},
        "turned": {"yaw": list(TURNED), **_within(by_zone, by_zone_unread, yaw, TURNED)},
        "zones": {name: _error(by_zone, by_zone_unread, np.full(len(true), True), name) for name in by_zone},
        "by yaw": [{"yaw": list(ends), **_within(by_zone, by_zone_unread, yaw, ends)} for ends in pairwise(YAWS)],
        "components": {
            "r2": _list(r_squared(read, true)),
            "rms error": _list(np.sqrt(((read - true) ** 2).mean(0))),
            "true spread": _list(true.std(0)),
        },
        "neutral": neutral_faces(read, true),
        "identity leak": identity_leak(read, kept, neutral(true)),
        "calibration": calibration(read, true),
    }


def zone_errors(read: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    """Mean vertex distance of each image, mm, in each zone: {name: float64 [n]}; FACE first."""
    model = open_face()
    weights = zones(model)
    used = np.flatnonzero(np.any(list(weights.values()), axis=0))
    basis = model.expression_basis[:, used].reshape(len(model.expression_basis), -1)
    table = np.stack([values[used] for values in weights.values()], axis=1)
    difference = np.asarray(read, np.float64) - true
    parts = [
        np.linalg.norm((some @ basis).reshape(len(some), -1, 3), axis=-1) @ table
        for some in np.array_split(difference, max(1, len(difference) // 250))
    ]
    return {FACE: errors(read, true)} | dict(zip(weights, np.concatenate(parts).T, strict=True))


def _error(
    read: dict[str, np.ndarray], unread: dict[str, np.ndarray], rows: np.ndarray, zone: str = FACE
) -> dict[str, Any]:
    if not rows.any():
        return {"images": 0, "error mm": None, "mean face error mm": None, "share": None}
    ours, theirs = float(read[zone][rows].mean()), float(unread[zone][rows].mean())
    return {
        "images": int(rows.sum()),
        "error mm": round(ours, 4),
        "mean face error mm": round(theirs, 4),
        "share": round(ours / theirs, 4) if theirs else None,
    }


def _within(
    read: dict[str, np.ndarray], unread: dict[str, np.ndarray], yaw: np.ndarray, ends: tuple[float, float]
) -> dict[str, Any]:
    return _error(read, unread, (yaw >= ends[0]) & (yaw < ends[1]))


def neutral(true: np.ndarray) -> np.ndarray:
    """bool [n]: faces that count as neutral."""
    return errors(true, np.zeros_like(true)) < NEUTRAL


def neutral_faces(read: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """What is read of faces that are (nearly) neutral: how far the predicted expression moves them, mm."""
    rows = neutral(true)
    if not rows.any():
        return {"images": 0, "true mm": None, "read mm": None}
    still = np.zeros_like(true[rows])
    return {
        "images": int(rows.sum()),
        "true mm": round(float(errors(true[rows], still).mean()), 4),
        "read mm": round(float(errors(read[rows], still).mean()), 4),
    }


def calibration(read: np.ndarray, true: np.ndarray) -> list[dict[str, Any]]:
    """A row a blendshape whose true weight varies: lines through predicted against true weights, both in 0..1.

    `slope`, `intercept`: of the predicted weight on the true one (a slope below 1 is read too weak); `reliability`:
    slope of the true weight on the predicted one (1: a predicted weight is right on average; None where the prediction
    never varies).
    """
    model = open_face()
    predicted, actual = model.blendshapes(read), model.blendshapes(true)
    rows = []
    for number, name in enumerate(model.blendshape_names):
        x, y = actual[:, number], predicted[:, number]
        if x.std() < SEEN:
            continue
        together = float(np.mean((x - x.mean()) * (y - y.mean())))
        slope = together / float(x.var())
        rows.append(
            {
                "blendshape": str(name),
                "mean true": round(float(x.mean()), 4),
                "mean read": round(float(y.mean()), 4),
                "slope": round(slope, 4),
                "intercept": round(float(y.mean() - slope * x.mean()), 4),
                "reliability": round(together / float(y.var()), 4) if y.std() > 1e-6 else None,
                "correlation": round(together / float(x.std() * y.std()), 4) if y.std() > 1e-6 else None,
            }
        )
    return rows


def _list(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 4) for value in values]
