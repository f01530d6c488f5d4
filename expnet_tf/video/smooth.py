"""The One Euro filter over rows: less jitter where a face is still, little lag where it moves.

Casiez, Roussel, Vogel, "1 Euro Filter: a simple speed-based low-pass filter for noisy input in interactive systems",
CHI 2012. A first-order low pass whose cut-off frequency grows with speed: f = f_min + beta |dx/dt|. It looks back only,
so it serves live as well.

Filtered are the expression, the rotation, the box, and where and how large the head stands in the picture; not the
translation itself, which hangs on the crop and jitters with it against the crop's own jitter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from expnet_tf.camera import NOMINAL_FOCAL

GAP = 0.5  # s: after more the filter starts anew
_SPEED_CUTOFF = 1.0  # Hz, of the low pass over the speed


class Tuning(NamedTuple):
    """Of one kind of signal. Chosen with benchmarks/video.py; docs/video.md has jitter and lag."""

    cutoff: float  # Hz at rest
    beta: float  # Hz per unit/s


EXPRESSION = Tuning(1.0, 0.6)  # sigma
ROTATION = Tuning(1.0, 8.0)  # rad
PLACE = Tuning(1.0, 8.0)  # sides of the face: centre of the head in the picture, and the logarithm of its size


class OneEuro:
    """The filter of one vector, its components on their own."""

    def __init__(self, tuning: Tuning) -> None:
        self.tuning = tuning
        self._value: np.ndarray | None = None
        self._time = 0.0

    def __call__(self, value: np.ndarray, time: float) -> np.ndarray:
        """float [n] at `time`, s, growing -> float64 [n]."""
        value = np.asarray(value, np.float64)
        if self._value is None or not 0 < time - self._time <= GAP:
            self._value, self._speed, self._time = value, np.zeros_like(value), time
            return value
        passed, self._time = time - self._time, time
        self._speed = self._speed + _share(_SPEED_CUTOFF, passed) * ((value - self._value) / passed - self._speed)
        cutoff = self.tuning.cutoff + self.tuning.beta * np.abs(self._speed)
        self._value = self._value + _share(cutoff, passed) * (value - self._value)
        return self._value


def _share(cutoff: Any, passed: float) -> Any:
    """How much of a step a low pass takes in `passed` s."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * passed))


class Smoother:
    """The filters of one person."""

    def __init__(self) -> None:
        self._expression, self._rotation = OneEuro(EXPRESSION), OneEuro(ROTATION)
        self._place, self._box = OneEuro(PLACE), OneEuro(PLACE)
        self._unit = 0.0  # px: the face's side when it was first seen, in which places are counted

    def __call__(self, row: np.void) -> np.void:
        """A row of table.py -> the same row, smoothed; its square, the camera of its pose, stays."""
        time = float(row["time"])
        self._unit = self._unit or float(max(row["box"][2:]))
        smooth = row.copy()
        smooth["expression"] = self._expression(row["expression"], time)
        x0, y0, side = (float(value) for value in row["square"])
        focal, centre = NOMINAL_FOCAL * side, np.array([x0 + side / 2, y0 + side / 2])
        pose = row["pose"].astype(np.float64)
        scale = focal / -pose[5]  # px per mm at the head
        seen = np.array([*(centre + pose[3:5] * [1, -1] * scale), 0.0])
        seen[2] = self._unit * np.log(scale)
        u, v, size = self._place(seen / self._unit, time) * [self._unit, self._unit, 1.0]
        depth = focal / np.exp(size)
        smooth["pose"][:3] = self._rotation(pose[:3], time)
        smooth["pose"][3:] = [(u - centre[0]) * depth / focal, -(v - centre[1]) * depth / focal, -depth]
        x, y, w, h = row["box"]
        middle = np.array([x + w / 2, y + h / 2, 0.0, 0.0]) / self._unit + [0, 0, np.log(w), np.log(h)]
        x, y, w, h = self._box(middle, time)
        w, h = np.exp(w), np.exp(h)
        smooth["box"] = [x * self._unit - w / 2, y * self._unit - h / 2, w, h]
        return smooth


def smoothed(tables: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Chunks of rows -> the same, each person smoothed over time."""
    people: dict[int, Smoother] = {}
    for table in tables:
        out = table.copy()
        for index, row in enumerate(table):
            out[index] = people.setdefault(int(row["id"]), Smoother())(row)
        yield out
