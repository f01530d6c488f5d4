"""The paper's Table I: seconds an image, by stage, for every method on this machine in one run.

Each number of threads has a process of its own, since libraries read it once. One photo at a time, as the paper's
table; the median over photos of the fastest of three runs.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from expnet_tf.evaluate.tables import table

PHOTOS = 12
LONGEST = 1280  # px; larger photos are scaled down to it first
STAGES = ("detection", "landmarks", "pose", "expression")

# The paper's own times, seconds an image, on its authors' machine. Its text was not at hand when this was written:
# this one figure, of the fit of eq. (2) to landmarks, is as it was handed on; the other cells are left out.
PAPER = {"method": "eq. (2), the paper's own step", "expression": 0.30}


class RuntimeFailure(RuntimeError):
    """The process that takes the times failed: one sentence."""


def measure(
    images: Sequence[np.ndarray],
    boxes: Sequence[Sequence[float]],
    models: Sequence[str],
    baselines: Sequence[str],
    threads: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Times of every method on up to PHOTOS photos.

    images: uint8 RGB [H, W, 3]; boxes (x, y, w, h) px; models: shipped names or .keras files; baselines: keys of
    BASELINES; threads: None: 1, and all cores. Returns {"machine", "photos", "rows": a row a method, runtime and
    number of threads with STAGES (seconds; None: has none) and "total", "paper"}. Raises RuntimeFailure.
    """
    counts = list(dict.fromkeys(threads or (1, os.cpu_count() or 1)))
    taken = [_smaller(image, box) for image, box in list(zip(images, boxes, strict=True))[:PHOTOS]]
    if not taken:
        raise RuntimeFailure("There is no photo with a face to take times on.")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays: dict[str, Any] = {f"image{number}": image for number, (image, _) in enumerate(taken)}
        np.savez(folder / "photos.npz", boxes=np.array([box for _, box in taken]), **arrays)
        (folder / "job.json").write_text(json.dumps({"models": list(models), "baselines": list(baselines)}))
        for count in counts:
            rows += _rows(_run(folder, count), count)
    return {"machine": machine(), "photos": len(taken), "rows": rows, "paper": PAPER}


def _smaller(image: np.ndarray, box: Sequence[float]) -> tuple[np.ndarray, list[float]]:
    scale = min(1.0, LONGEST / max(image.shape[:2]))
    if scale < 1:
        image = cv2.resize(np.ascontiguousarray(image), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return image, [scale * float(value) for value in box]


def environment(threads: int) -> dict[str, str]:
    """This process's environment with the number of threads in it, for a process to come: libraries read it once."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    return {**os.environ, "TF_NUM_INTEROP_THREADS": "1", **{name: str(threads) for name in names}}


def _run(folder: Path, threads: int) -> list[dict[str, Any]]:
    result = folder / f"result-{threads}.json"
    files = [str(folder / "job.json"), str(folder / "photos.npz"), str(threads), str(result)]
    command = [sys.executable, "-m", "expnet_tf.evaluate.stopwatch", *files]
    done = subprocess.run(command, env=environment(threads), capture_output=True, text=True, check=False)
    if done.returncode or not result.is_file():
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RuntimeFailure(f"Times on {threads} thread(s) could not be taken: {last}")
    found: list[dict[str, Any]] = json.loads(result.read_bytes())
    return found


def _rows(timed: list[dict[str, Any]], threads: int) -> list[dict[str, Any]]:
    """Every method needs the face found first: detection's time goes into each row."""
    detection = next(row for row in timed if row["method"] == "detection")["seconds"]
    rows = []
    for row in timed:
        if row["method"] == "detection":
            continue
        seconds = {**detection, **row["seconds"]}
        stages = {stage: _rounded(seconds.get(stage)) for stage in STAGES}
        total = _rounded(sum(seconds.values()))
        rows.append({"method": row["method"], "runtime": row["runtime"], "threads": threads, **stages, "total": total})
    return rows


def machine() -> dict[str, Any]:
    """What the times were taken on."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.system(), "load": load}


def markdown(times: dict[str, Any]) -> str:
    """The table, in milliseconds an image."""
    about = times["machine"]
    columns = ["method", "runtime", "threads", *STAGES, "total", "the paper's"]
    rows: list[Sequence[object]] = [
        [row["method"], row["runtime"], row["threads"], *map(_milliseconds, [row[s] for s in STAGES]),
         _milliseconds(row["total"]), "-"]
        for row in times["rows"]
    ]  # fmt: skip
    paper = times["paper"]
    rows.append([paper["method"], "-", "-", *["-"] * (len(STAGES) + 1), _milliseconds(paper["expression"])])
    text = (
        f"Milliseconds an image, one photo at a time, {times['photos']} photos, on {about['cpu']}, {about['cores']} "
        f"cores (load {about['load']} when it ended). A network gives identity and pose in the same run; its crop is "
        "part of it. Of the paper's Table I, taken on its authors' machine, the one figure at hand is given."
    )
    return f"{text}\n\n{table(columns, rows)}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{1e3 * value:.2f}"
