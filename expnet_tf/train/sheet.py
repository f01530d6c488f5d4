"""Pictures of predictions: a row a face, photo | true mesh | predicted mesh, and the predicted mesh over the photo."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from expnet_tf import draw
from expnet_tf.files import write_whole
from expnet_tf.predictor import Face

PANEL, GAP = 112, 4  # px
YAW = 0.35  # rad: lips and lids show their depth better than from the front


def sheet(photos: np.ndarray, predicted: dict[str, np.ndarray], true: dict[str, np.ndarray]) -> np.ndarray:
    """uint8 RGB picture, faces in two columns of rows.

    photos uint8 [n, S, S, 3]; predicted and true {head: float32 [n, w]}, true with expression and identity. A head
    that was not predicted shows the truth, so that what differs is what was read.
    """
    rows = []
    for number, photo in enumerate(photos):
        truth = {name: value[number] for name, value in true.items()}
        read = truth | {name: value[number] for name, value in predicted.items()}
        panels = [_panel(photo), draw.portrait(_face(truth), PANEL, YAW), draw.portrait(_face(read), PANEL, YAW)]
        if "pose" in predicted:
            panels.append(draw.overlay(_panel(photo), _face(read)))
        rows.append(cv2.hconcat([cv2.copyMakeBorder(panel, GAP, 0, GAP, 0, cv2.BORDER_CONSTANT) for panel in panels]))
    if len(rows) % 2:
        rows.append(np.zeros_like(rows[0]))
    half = len(rows) // 2
    return cv2.hconcat([cv2.vconcat(rows[:half]), cv2.vconcat(rows[half:])])


def write_png(path: Path, picture: np.ndarray) -> None:
    """uint8 RGB -> PNG. Raises OSError."""
    write_whole(path, cv2.imencode(".png", picture[..., ::-1])[1].tobytes())


def evenly(count: int, chosen: int = 12) -> list[int]:
    """`chosen` places, evenly over `count`, always the same."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(chosen, count))})


def _panel(photo: np.ndarray) -> np.ndarray:
    return cv2.resize(photo, (PANEL, PANEL), interpolation=cv2.INTER_LINEAR)


def _face(codes: dict[str, np.ndarray]) -> Face:
    box = (0.0, 0.0, float(PANEL), float(PANEL))
    return Face(codes["expression"], codes["identity"], codes.get("pose"), box, None, (0, 0, PANEL))
