"""What a run says beyond the neighbours' votes: named blendshapes, calibration on the classes, steadiness."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.evaluate import cases
from expnet_tf.evaluate.codes import GIVEN
from expnet_tf.evaluate.contrasts import areas, class_means
from expnet_tf.evaluate.methods import FileCodes, Method
from expnet_tf.evaluate.robustness import AROUND, drift, stability
from expnet_tf.evaluate.run import Run, units
from expnet_tf.files import write_whole
from expnet_tf.image import ImageError, crop_square

STABILITY_IMAGES = 64  # faces that are mirrored, blurred, ...: some fifteen codes each
VERSION = 1  # of the changes; another one leaves kept figures unread


def measure(run: Run, out: Path, progress: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """Parts of the record: "contrasts", "calibration" and "robustness", a row each as of their modules, box given.

    `progress` is called for each method that is done.
    """
    contrasts: list[dict[str, Any]] = []
    calibration: list[dict[str, Any]] = []
    robustness: list[dict[str, Any]] = []
    labels = [clip.label for clip in run.dataset.clips]
    for method in run.methods:
        codes = {scale: run.pooled(method, GIVEN, scale) for scale in run.scales}
        there = {scale: values for scale, values in codes.items() if values is not None}
        if method.blendshapes is not None:
            for scale, values in there.items():
                rows = areas(values, labels, units(run), method.blendshapes)
                contrasts += [{"method": method.name, "scale": scale, **row} for row in rows]
            if 1.0 in there:
                means = class_means(there[1.0], labels, method.blendshapes)
                calibration.append({"method": method.name, "classes": means})
        if 1.0 in there:
            rows = [*drift(there, method.space), *_stability(run, method, out)]
            robustness += [{"method": method.name, **row} for row in rows]
        progress()
    return {"contrasts": contrasts, "calibration": calibration, "robustness": robustness}


def faces(run: Run, count: int) -> tuple[list[np.ndarray], list[np.ndarray], list[str]]:
    """Up to `count` faces, one a clip, drawn by hash: the photo around it uint8 RGB [H, W, 3], box [4] px, digest."""
    boxes, clip = run.coded.boxes[GIVEN, 1.0], np.array(run.coded.clip, int)
    images: list[np.ndarray] = []
    places: list[np.ndarray] = []
    digests: list[str] = []
    for row in cases.drawn(run.dataset.clips, range(len(run.dataset.clips)), len(run.dataset.clips)):
        found = [n for n in np.flatnonzero(clip == row) if not np.isnan(boxes[n]).any()]
        if not found or len(images) == count:
            continue
        number = found[len(found) // 2]
        try:
            image = cases.image_of(run.dataset.clips[row], run.coded.keys[number])[1]
            left, top, side = crop_square(boxes[number].tolist(), AROUND)
        except ImageError:
            continue
        # What is looked at, and no more: the photos may be large.
        left, top, right, bottom = max(left, 0), max(top, 0), left + side, top + side
        images.append(image[top:bottom, left:right].copy())
        places.append(boxes[number] - [left, top, 0, 0])
        digests.append(run.coded.digests[number])
    return images, places, digests


def _stability(run: Run, method: Method | FileCodes, out: Path) -> Sequence[dict[str, Any]]:
    """`robustness.stability` on some faces; kept under out/codes."""
    if isinstance(method, FileCodes):
        return []
    images, boxes, digests = faces(run, STABILITY_IMAGES)
    about = [VERSION, method.id, [[digest, *box.round(3).tolist()] for digest, box in zip(digests, boxes, strict=True)]]
    name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    path = out / "codes" / f"stability-{name}.json"
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        rows = stability(method, images, [box.tolist() for box in boxes])
        write_whole(path, json.dumps(rows).encode())
    return rows
