"""A finished run over a data set, and what is asked of it again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from expnet_tf.evaluate import cases, knn
from expnet_tf.evaluate.clips import Dataset
from expnet_tf.evaluate.codes import Coded, Job
from expnet_tf.evaluate.methods import EXPRESSION, FileCodes, Method

CLIP, SUBJECT = "leave one clip out", "leave one subject out"
AS_GIVEN, STANDARDISED = "as given", "standardised"

AnyMethod = Method | FileCodes


@dataclass(frozen=True)
class Run:
    """A finished run: the record and what the pictures are made from."""

    dataset: Dataset
    methods: tuple[AnyMethod, ...]
    scales: tuple[float, ...]  # falling
    protocols: tuple[str, ...]  # the strictest last
    coded: Coded
    jobs: tuple[Job, ...]
    shapes: Job | None  # of cases.ShapeAndPose; None: no network among the methods
    record: dict[str, Any]

    def pooled(self, method: AnyMethod, setting: str, scale: float) -> np.ndarray | None:
        """Codes of the clips float64 [clips, d]; None where the method has none there."""
        job = Job(method, setting, scale)
        return self.coded.pooled(job, len(self.dataset.clips)) if job in self.jobs else None


def several(run: Run) -> bool:
    """Whether there are subjects to be left out, and to draw intervals over."""
    return SUBJECT in run.protocols


def units(run: Run) -> np.ndarray:
    """What intervals are drawn over, int [clips]: subjects, or clips where those are not known."""
    return run.dataset.people if several(run) else np.arange(len(run.dataset.clips))


def votes(run: Run, job: Job, protocol: str, standardise: bool = False) -> knn.Votes:
    """The neighbours' votes on the clips by a job's codes."""
    clips = len(run.dataset.clips)
    groups = run.dataset.people if protocol == SUBJECT else np.arange(clips)
    return knn.vote(run.coded.pooled(job, clips), run.dataset.labels, groups, standardise=standardise)


def yaws(run: Run) -> np.ndarray:
    """How far each clip's face is turned to either side, degrees float [clips]; NaN: not known."""
    if run.shapes is None:
        return np.full(len(run.dataset.clips), np.nan)
    return cases.yaw_degrees(run.coded.pooled(run.shapes, len(run.dataset.clips))[:, -6:])


def drawable(method: AnyMethod) -> bool:
    """Whether a method's codes are expressions of the open face model."""
    return method.space == EXPRESSION
