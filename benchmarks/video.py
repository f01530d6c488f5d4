"""`expnet predict VIDEO`: frames a second on one core and their parts; jitter and lag of --smooth.

    python benchmarks/video.py [--artifact EXPORTED/model.tflite] [--frames 300]

Prints Markdown; benchmarks/video.md has the figures of one machine. The film is the sample photo of the project,
640x480, moved, turned and zoomed; it is written by OpenCV (mp4v) and read back. The process is held on one core and
every library on one thread. "CPU" is process time; on a machine that others use the clock says little.

Jitter: the same still with fresh noise, a shift below one pixel and JPEG compression in every frame; the root mean
square of the change from frame to frame. Lag: a rendered face that smiles and shakes its head 1.5 times a second; the
shift at which the smoothed signal correlates best with the raw one, and how much of its motion is left.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Before anything imports TensorFlow or numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np

import expnet_tf
from expnet_tf.camera import rotation_matrix
from expnet_tf.data.scenes import surroundings
from expnet_tf.data.scenes.shot import exposed, lighting
from expnet_tf.data.synth import scenery
from expnet_tf.models import ASSETS
from expnet_tf.predictor import Predictor
from expnet_tf.render import over, render
from expnet_tf.video import smooth, table
from expnet_tf.video.reader import VideoFile
from expnet_tf.video.run import process
from expnet_tf.video.tracker import Tracker

RATE = 30.0
SIZE = (640, 480)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, help="an exported .tflite or .onnx, to be measured beside Keras")
    parser.add_argument("--frames", type=int, default=300)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    predictors = {"Keras": expnet_tf.load()}
    if options.artifact:
        from expnet_tf.video.artifact import load_artifact

        predictors[options.artifact.name] = load_artifact(options.artifact)
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        write(film, moved(options.frames))
        for name, predictor in predictors.items():
            predictor.warm_up()
            process(VideoFile(film), Path(folder) / f"warm-{name}", predictor)  # kernels compiled, caches warm
            speed(name, predictor, film, Path(folder), options.frames)
    steadiness(predictors["Keras"])


def speed(name: str, predictor: Predictor, film: Path, folder: Path, frames: int) -> None:
    parts: dict[str, float] = {}
    start = time.process_time()
    for _ in VideoFile(film).frames():
        pass
    parts["read, decoded, RGB"] = time.process_time() - start

    clock = Clock(predictor)
    stages: dict[str, float] = {}
    last = ["", time.process_time()]

    def progress(stage: str, done: int, total: int | None) -> None:
        now = time.process_time()
        if last[0]:
            stages[last[0]] = stages.get(last[0], 0.0) + now - last[1]
        last[:] = [stage, now]

    wall, cpu = time.perf_counter(), time.process_time()
    process(VideoFile(film), folder / f"run-{name}", predictor, progress=progress)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    clock.stop()
    parts |= clock.spent
    parts["boxes, tracks, rows kept"] = stages["faces"] - sum(parts.values())
    parts["overlay: read again, draw, encode"] = stages["overlay"]
    parts["CSV, GLB, rest"] = cpu - stages["faces"] - stages["overlay"]
    looks = clock.calls["detector"]
    print(f"\n| {name}: {SIZE[0]}x{SIZE[1]}, {frames} frames, the detector ran {looks} times | CPU-ms a frame |")
    print("| --- | --- |")
    for part, seconds in parts.items():
        print(f"| {part} | {1000 * seconds / frames:.2f} |")
    print(f"| sum | {1000 * cpu / frames:.2f} |")
    print(f"\n{frames / cpu:.0f} frames/s of CPU time, {frames / wall:.0f} frames/s by the clock.")


class Clock:
    """CPU seconds within the predictor's steps."""

    def __init__(self, predictor: Predictor) -> None:
        self.spent: dict[str, float] = {"crop": 0.0, "network": 0.0, "detector": 0.0}
        self.calls = dict.fromkeys(self.spent, 0)
        self._predictor, self._detector = predictor, predictor.detector
        for owner, method, part in ((predictor, "crops", "crop"), (predictor, "run", "network"),
                                    (self._detector, "detect", "detector")):  # fmt: skip
            setattr(owner, method, self._timed(getattr(owner, method), part))

    def stop(self) -> None:
        for owner, method in ((self._predictor, "crops"), (self._predictor, "run"), (self._detector, "detect")):
            delattr(owner, method)  # the class's own shows again

    def _timed(self, function: Callable, part: str) -> Callable:
        def timed(*arguments):
            start = time.process_time()
            try:
                return function(*arguments)
            finally:
                self.spent[part] += time.process_time() - start
                self.calls[part] += 1

        return timed


def steadiness(predictor: Predictor) -> None:
    still = np.concatenate(list(followed(predictor, noisy(150))))
    names = list(predictor.face_model.blendshape_names)
    smile = names.index("mouthSmileLeft")
    fast = np.concatenate(list(followed(predictor, rendered(120))))
    print("\n| jitter of a still, rms from frame to frame | raw | --smooth |\n| --- | --- | --- |")
    (calm,) = smooth.smoothed([still])
    settled = 15
    for what, signal in signals(predictor).items():
        values = [float(np.sqrt((np.diff(signal(t)[settled:], axis=0) ** 2).mean())) for t in (still, calm)]
        print(f"| {what} | {values[0]:.3f} | {values[1]:.3f} |")
    (eased,) = smooth.smoothed([fast])
    model = predictor.face_model
    motions = {
        "smile (blendshape)": lambda t: model.blendshapes(t["expression"])[:, smile],
        "head shaken (yaw)": lambda t: t["pose"][:, 1],
        "box, sideways": lambda t: t["box"][:, 0] + t["box"][:, 2] / 2,
    }
    print("\n| a fast clip: 1.5 times a second | lag, ms | motion left |\n| --- | --- | --- |")
    for what, signal in motions.items():
        raw, slow = signal(fast).astype(float), signal(eased).astype(float)
        print(f"| {what} | {1000 * lag(raw, slow):.0f} | {100 * slow[30:].std() / raw[30:].std():.0f}% |")


def signals(predictor: Predictor) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    model = predictor.face_model
    return {
        "expression, sigma": lambda t: t["expression"],
        "blendshapes, 0 to 1": lambda t: model.blendshapes(t["expression"]),
        "rotation, degrees": lambda t: np.degrees(t["pose"][:, :3]),
        "box, px (face of 95x120 px)": lambda t: t["box"],
    }


def lag(raw: np.ndarray, slow: np.ndarray) -> float:
    """s by which `slow` comes after `raw`."""
    at = np.arange(30, len(raw) - 10)
    shifts = np.arange(0, 8, 0.05)
    fits = [np.corrcoef(np.interp(at - shift, np.arange(len(raw)), raw), slow[at])[0, 1] for shift in shifts]
    return float(shifts[int(np.argmax(fits))]) / RATE


def followed(predictor: Predictor, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    tracker = Tracker(predictor)
    kind = table.row_type(29, 99)
    for index, frame in enumerate(frames):
        yield table.rows(kind, index, index / RATE, tracker.step(frame, index / RATE))


def photo(dx: float, dy: float, zoom: float = 1.0, turn: float = 0.0) -> np.ndarray:
    """The sample photo with its face in the middle, then moved: uint8 RGB [480, 640, 3]."""
    image = expnet_tf.read_image(ASSETS / "astronaut.jpg")
    warp = cv2.getRotationMatrix2D((226, 114), turn, zoom)
    warp[:, 2] += [SIZE[0] / 2 - 226 + dx, SIZE[1] / 2 - 114 + dy]
    return cv2.warpAffine(image, warp, SIZE, flags=cv2.INTER_LINEAR, borderValue=(90, 90, 90))


def moved(count: int) -> Iterator[np.ndarray]:
    for i in range(count):
        yield photo(100 * np.sin(i / 15), 50 * np.sin(i / 10), 1 + 0.3 * np.sin(i / 20), 10 * np.sin(i / 9))


def noisy(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(1)
    for _ in range(count):
        image = photo(*rng.uniform(-0.5, 0.5, 2))
        image = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
        yield cv2.imdecode(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 70))[1], cv2.IMREAD_COLOR)


def rendered(count: int) -> Iterator[np.ndarray]:
    """A synthetic person who smiles and shakes the head at 1.5 Hz while moving sideways: uint8 RGB [240, 320, 3]."""
    stage, rng = scenery(None), np.random.default_rng(1)
    model, size = stage.model, (240, 320)
    person, light = stage.person(rng), lighting(rng)
    light = exposed(light, person.albedo, rng)
    behind = surroundings.background(rng, 320)[:240]
    names = list(model.blendshape_names)
    focal = 400.0
    for i in range(count):
        phase = 2 * np.pi * 1.5 * i / RATE
        weights = np.zeros(len(names))
        weights[[names.index("mouthSmileLeft"), names.index("mouthSmileRight")]] = 0.5 - 0.5 * np.cos(phase)
        expression = weights @ model.blendshapes_to_expression
        vertices = stage.vertices(person, expression, np.zeros(8))
        turn, place = rotation_matrix([0, 0.3 * np.sin(phase), 0]), np.array([60 * np.sin(phase), 0, -670.0])
        surfaces = stage.surfaces(person, vertices, weights, turn, place, light, focal / 670)
        yield over(render(surfaces, focal, (160, 120), size, light), behind)


def write(path: Path, frames: Iterator[np.ndarray]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, SIZE)
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


if __name__ == "__main__":
    sys.exit(main())
