"""The paper's evaluation as one run: data and methods in, every figure of the report out, as one record.

The record is plain JSON. It holds no times and no paths but the data's, so that the same run gives it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf import __version__
from expnet_tf.detect import Detector
from expnet_tf.evaluate import cases, knn
from expnet_tf.evaluate.clips import DataError, Dataset
from expnet_tf.evaluate.codes import GIVEN, SETTINGS, Job, code
from expnet_tf.evaluate.datasets import check
from expnet_tf.evaluate.methods import FileCodes, Network
from expnet_tf.evaluate.run import (
    AS_GIVEN,
    CLIP,
    STANDARDISED,
    SUBJECT,
    AnyMethod,
    Run,
    drawable,
    several,
    units,
    votes,
    yaws,
)

SCHEMA = "expnet.evaluate.emotion/1"
FAILURES = 8  # shown
FEW = 10  # clips; of fewer no interval is given

def evaluate(
    dataset: Dataset,
    methods: Sequence[AnyMethod],
    scales: Sequence[float],
    out: Path,
    detector: Detector,
    progress: Callable[[], object] = lambda: None,
) -> Run:
    """Code all clips by all methods at all scales and in both settings, and measure.

    Args:
        methods: the first is the one that others are compared with; names differ.
        scales: 0 < scale <= 1.
        out: codes are kept below it.
        progress: called for each clip that is coded.

    Raises DataError in one sentence: see `datasets.check`; a file of codes that has nothing of this data.
    """
    scales = tuple(sorted(set(scales), reverse=True))
    remarks = check(dataset, knn.NEIGHBOURS)
    network = next((method for method in methods if isinstance(method, Network)), None)
    shapes = Job(cases.ShapeAndPose(network.predictor, network.id), GIVEN, 1.0) if network else None
    jobs = [Job(method, setting, scale) for method in methods for setting in SETTINGS for scale in scales]
    coded = code(dataset, [*jobs, *([shapes] if shapes else [])], out, detector, progress)
    jobs = [job for job in jobs if not np.isnan(coded.codes[job.method.id, job.setting, job.scale]).all()]
    for method in methods:
        if isinstance(method, FileCodes) and not any(job.method is method for job in jobs):
            raise DataError(
                f"{method.name} has no codes of this data at the scales {', '.join(f'{s:g}' for s in scales)}: it has "
                f"the scales {', '.join(f'{s:g}' for s in method.scales)}, and the images here are called like "
                f"{coded.keys[0] if coded.keys else 'nothing'}."
            )
    if not jobs:
        raise DataError(f"{dataset.path}: no image gave a code; {(coded.problems or ['no face was found.'])[0]}")
    several = dataset.subjects_known and len(set(dataset.people)) > 1
    protocols = (CLIP, SUBJECT) if several else (CLIP,)
    run = Run(dataset, tuple(methods), scales, protocols, coded, tuple(jobs), shapes, {})
    run.record.update(_record(run, remarks, detector))
    return run


def _record(run: Run, remarks: list[str], detector: Detector) -> dict[str, Any]:
    dataset, coded = run.dataset, run.coded
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    results = [row for job in run.jobs for row in _results(run, job)]
    return {
        "schema": SCHEMA,
        "software": f"expnet_tf {__version__}",
        "data": {
            "kind": dataset.kind,
            "path": str(dataset.path),
            "clips": len(dataset.clips),
            "images": len(coded.keys),
            "classes": dict(zip(dataset.classes, counts.tolist(), strict=True)),
            "subjects": len(set(dataset.people)) if dataset.subjects_known else None,
            "sha256": hashlib.sha256("".join(coded.digests).encode()).hexdigest(),
            "notes": [*dataset.notes, *remarks, *_twins(run)],
            "unreadable": coded.problems,
        },
        "protocol": {
            "neighbours": knn.NEIGHBOURS,
            "distance": "Euclidean",
            "protocols": list(run.protocols),
            "scales": list(run.scales),
            "settings": list(SETTINGS),
            "detector": type(detector).__name__,
            "resamples": knn.RESAMPLES,
            "seed": knn.SEED,
            "intervals over": "subjects" if several(run) else "clips",
            "most frequent class": round(counts.max() / counts.sum(), 4),
        },
        "methods": [{"name": method.name, "id": method.id, "space": method.space} for method in run.methods],
        "results": results,
        "paired": _paired(run),
        "groups": _groups(run),
        "failures": _failures(run),
    }


def _results(run: Run, job: Job) -> list[dict[str, Any]]:
    """Accuracies of one job, a row a protocol and scaling."""
    labels = run.dataset.labels
    codes = run.coded.codes[job.method.id, job.setting, job.scale]
    rows = []
    for protocol in run.protocols:
        for scaling in (AS_GIVEN, STANDARDISED):
            said = votes(run, job, protocol, scaling == STANDARDISED)
            right = said.predicted == labels
            rows.append(
                {
                    **_where(job),
                    "protocol": protocol,
                    "scaling": scaling,
                    "accuracy": round(float(right.mean()), 4),
                    "interval": _rounded(knn.interval(right, units(run))),
                    "mean of classes": round(float(np.mean([right[labels == c].mean() for c in np.unique(labels)])), 4),
                    "clips": len(labels),
                    "clips abstained": int((said.predicted == knn.ABSTAINED).sum()),
                    "images abstained": int(np.isnan(codes).any(axis=1).sum()),
                    "confusion": knn.confusion(said.predicted, labels, len(run.dataset.classes)).tolist(),
                }
            )
    return rows


def _paired(run: Run) -> list[dict[str, Any]]:
    """The first method against each other one, on the same clips, setting and scale."""
    rows = []
    first, labels = run.methods[0], run.dataset.labels
    for job in run.jobs:
        ours = Job(first, job.setting, job.scale)
        if job.method is first or ours not in run.jobs:
            continue
        for protocol in run.protocols:
            a, b = (votes(run, one, protocol).predicted == labels for one in (ours, job))
            difference = a.astype(float) - b
            rows.append(
                {
                    "first": first.name,
                    "second": job.method.name,
                    "setting": job.setting,
                    "scale": job.scale,
                    "protocol": protocol,
                    "difference": round(float(difference.mean()), 4),
                    "interval": _rounded(knn.interval(difference, units(run))),
                    "first alone right": int((a & ~b).sum()),
                    "second alone right": int((b & ~a).sum()),
                    "p": round(knn.mcnemar(a, b), 5),
                }
            )
    return rows


def _groups(run: Run) -> list[dict[str, Any]]:
    """Accuracy by how far the head is turned and by age, where known; box given, strictest protocol."""
    labels = run.dataset.labels
    found = [(f"turned by {name} degrees", inside) for name, inside in cases.between(yaws(run), cases.YAWS)]
    ages = np.array([np.nan if clip.age is None else clip.age for clip in run.dataset.clips])
    found += [(f"{name} years old", inside) for name, inside in cases.between(ages, cases.AGES)]
    jobs = [job for job in run.jobs if job.setting == GIVEN]
    right = {job: votes(run, job, run.protocols[-1]).predicted == labels for job in jobs}
    return [
        {
            "group": name,
            "clips": int(inside.sum()),
            **_where(job),
            "accuracy": round(float(right[job][inside].mean()), 4),
            "interval": _rounded(knn.interval(right[job][inside], units(run)[inside])) if inside.sum() >= FEW else None,
        }
        for name, inside in found
        for job in jobs
    ]


def _failures(run: Run) -> list[dict[str, Any]]:
    """The worst failures of the first method whose codes can be drawn, box given, at the largest scale."""
    job = next((job for job in run.jobs if drawable(job.method) and job.setting == GIVEN), None)
    if job is None:
        return []
    codes = run.coded.pooled(job, len(run.dataset.clips))
    worst = cases.failures(run.dataset, codes, votes(run, job, run.protocols[-1]), FAILURES)
    return [{**_where(job), **one} for one in worst]


def _twins(run: Run) -> list[str]:
    """Images that are in several clips: each other's nearest neighbour, at distance 0."""
    clips: dict[str, set[int]] = {}
    for digest, clip in zip(run.coded.digests, run.coded.clip, strict=True):
        clips.setdefault(digest, set()).add(clip)
    shared = set().union(*(some for some in clips.values() if len(some) > 1))
    if not shared:
        return []
    names = ", ".join(sorted(run.dataset.clips[number].key for number in shared)[:4])
    return [f"{len(shared)} clips share an image, byte for byte, with another and find it at distance 0: {names}."]


def _where(job: Job) -> dict[str, Any]:
    return {"method": job.method.name, "setting": job.setting, "scale": job.scale}


def _rounded(numbers: Sequence[float]) -> list[float]:
    return [round(number, 4) for number in numbers]
