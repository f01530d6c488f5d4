"""Times the stages of every method in a process with a fixed number of threads; started by runtime.py.

python -m expnet_tf.evaluate.stopwatch JOB.json PHOTOS.npz THREADS RESULT.json
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

REPEATS = 3  # of each photo, of which the fastest counts: others may use the machine

Stages = dict[str, Callable[[int], object]]
"""{stage: call on photo number}; a later stage may use what an earlier one left."""


def main(job: Path, photos: Path, threads: int, result: Path) -> None:
    cv2.setNumThreads(threads)
    wanted = json.loads(job.read_bytes())
    with np.load(photos, allow_pickle=False) as data:
        boxes = data["boxes"]
        images = [data[f"image{number}"] for number in range(len(boxes))]
    rows = [{"method": "detection", "runtime": "LiteRT", "seconds": _time(_detection(images, threads), len(images))}]
    for model in wanted["models"]:
        name, runtimes = _network(model, images, boxes, threads, job.parent)
        for runtime, stages in runtimes.items():
            rows.append({"method": name, "runtime": runtime, "seconds": _time(stages, len(images))})
    for name in wanted["baselines"]:
        rows.append(
            {"method": name, "runtime": "dlib, numba", "seconds": _time(_landmarks(name, images, boxes), len(images))}
        )
    result.write_text(json.dumps(rows))


def _time(stages: Stages, count: int) -> dict[str, float]:
    """Median over photos of the fastest of REPEATS, seconds, of each stage."""
    for call in stages.values():  # compiles, and fills caches
        call(0)
    best = {name: np.full(count, np.inf) for name in stages}
    for number in range(count):
        for _ in range(REPEATS):
            for name, call in stages.items():
                start = time.perf_counter()
                call(number)
                best[name][number] = min(best[name][number], time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in best.items()}


def _detection(images: Sequence[np.ndarray], threads: int) -> Stages:
    from expnet_tf.detect import BlazeFace

    detector = BlazeFace(num_threads=threads)
    return {"detection": lambda number: detector.detect(images[number])}


def _network(
    model: str, images: Sequence[np.ndarray], boxes: np.ndarray, threads: int, folder: Path
) -> tuple[str, dict[str, Stages]]:
    """The network as `predict` runs it, and its float32 TFLite export, kept in `folder`; the crop is part of both."""
    from expnet_tf.export import EXPORTERS
    from expnet_tf.export.runners import LiteRTRunner
    from expnet_tf.models import resolve, sha256
    from expnet_tf.predictor import load

    predictor = load(resolve(model))
    path = folder / f"{sha256(resolve(model))}.tflite"
    if not path.is_file():
        EXPORTERS["tflite"].write(predictor.model, predictor.info, path)
    lite = LiteRTRunner(path, threads)

    def crops(number: int) -> np.ndarray:
        return predictor.crops(images[number], [boxes[number].tolist()])

    return predictor.info.id, {
        "Keras": {"expression": lambda number: predictor.run(crops(number))},
        "LiteRT float32": {"expression": lambda number: lite.run(crops(number))},
    }


def _landmarks(name: str, images: Sequence[np.ndarray], boxes: np.ndarray) -> Stages:
    from expnet_tf.evaluate.baselines import BASELINES, expression_of, normalise, pose_of

    method = BASELINES[name]()
    left: dict[str, Any] = {}

    def landmarks(number: int) -> None:
        left["points"] = method.landmarks.points(images[number], boxes[number].tolist())

    def pose(number: int) -> None:
        left["face"] = normalise(left["points"][None])
        left["pose"] = pose_of(left["face"])

    return {
        "landmarks": landmarks,
        "pose": pose,
        "expression": lambda number: expression_of(left["face"], left["pose"], method.prior),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
