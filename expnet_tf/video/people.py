"""Who is in a video: how often each is seen, and the shape of the head that does not change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

SAMPLES = 400  # rows of a person that medians are taken over, evenly spread over the video


@dataclass(frozen=True, eq=False)
class Person:
    """One id."""

    id: int
    frames: int  # with a row
    first: float  # s
    last: float
    gaps: int  # times it was away between
    identity: np.ndarray | None  # float64 [99], sigma units, the median; None: the model has no identity head
    box: np.ndarray  # float64 [4], x, y, w, h in px, the median


class _Seen:
    """Counts, and a sample of the rows: every n-th, n doubling when there are too many."""

    def __init__(self, row: np.void) -> None:
        self.first, self.frames, self.gaps, self.stride = float(row["time"]), 0, 0, 1
        self.frame = int(row["frame"]) - 1
        self.sample: list[np.void] = []

    def add(self, row: np.void) -> None:
        self.gaps += int(row["frame"]) > self.frame + 1
        self.frame, self.last = int(row["frame"]), float(row["time"])
        if self.frames % self.stride == 0:
            self.sample.append(row.copy())
            if len(self.sample) == 2 * SAMPLES:
                self.sample, self.stride = self.sample[::2], 2 * self.stride
        self.frames += 1


def people(tables: Iterable[np.ndarray]) -> list[Person]:
    """Everybody in the rows, by id."""
    seen: dict[int, _Seen] = {}
    for table in tables:
        for row in table:
            number = int(row["id"])
            if number not in seen:
                seen[number] = _Seen(row)
            seen[number].add(row)
    found = []
    for number, one in sorted(seen.items()):
        sample = np.array(one.sample)
        identity = np.median(sample["identity"].astype(np.float64), axis=0) if sample["identity"].shape[1] else None
        box = np.median(sample["box"], axis=0)
        found.append(Person(number, one.frames, one.first, one.last, one.gaps, identity, box))
    return found
