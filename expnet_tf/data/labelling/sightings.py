"""What is found on each image of a shard before eq. (2) is solved: box, 68 landmarks, the networks' heads.

Images are read one at a time and forgotten; only their crops wait for a network's batch. So memory does not grow
with the number of images of a person.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from expnet_tf.data.labelling.landmark_files import NoLandmarks
from expnet_tf.data.labelling.recipe import Tools
from expnet_tf.data.labelling.shapes import Heads
from expnet_tf.data.sources import Source, SourceError
from expnet_tf.detect import Detection
from expnet_tf.image import ImageError, decode_image

BATCH = 32  # crops that wait for a network, its own largest batch
INNER = slice(17, 68)  # the points that are not the jaw


@dataclass(frozen=True)
class Failure:
    """An image that gets no label. stage and reason are fixed words that can be counted; detail is the sentence."""

    key: str
    stage: str  # read, detect, landmarks, shape, pose, fit
    reason: str
    detail: str = ""


class Unusable(Exception):
    """An image that cannot be labelled: stage, reason, detail."""

    def __init__(self, stage: str, reason: str, detail: str = "") -> None:
        super().__init__(stage, reason, detail)
        self.stage, self.reason, self.detail = stage, reason, detail


@dataclass
class Sighting:
    """A face on one image. Without points it counts only where shapes are pooled."""

    key: str
    subject: str
    box: tuple[float, float, float, float]  # px of the image
    points: np.ndarray | None  # float64 [68, 2] px
    confidence: float | None  # of the points
    heads: dict[str, Heads] = field(default_factory=dict)  # of each network


class Clock:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


def observe(source: Source, tools: Tools, clock: Clock) -> tuple[list[Sighting], list[Failure]]:
    """Looks at every image of the source, in order; an image may give a sighting, a failure, or both."""
    sightings: list[Sighting] = []
    failures: list[Failure] = []
    for start in range(0, len(source), BATCH):
        seen: list[Sighting] = []
        crops: dict[str, list[np.ndarray]] = {name: [] for name in tools.networks}
        for index in range(start, min(start + BATCH, len(source))):
            key = source.keys[index]
            try:
                image = _read(source, index, clock)
                one, trouble = _look(key, source.identities[index], image, tools, clock)
                cut = {name: _crop(tools, name, image, one, clock) for name in tools.networks}
            except Unusable as error:
                failures.append(Failure(key, error.stage, error.reason, error.detail))
                continue
            if trouble:
                failures.append(trouble)
            seen.append(one)
            for name, pixels in cut.items():
                crops[name].append(pixels)
        for name, pixels_of_all in crops.items():
            if pixels_of_all:
                with clock.stage("network"):
                    outputs = tools.networks[name].predictor.run(np.concatenate(pixels_of_all))
                for row, one in enumerate(seen):
                    one.heads[name] = {head: values[row] for head, values in outputs.items()}
        sightings += seen
    return sightings, failures


def _read(source: Source, index: int, clock: Clock) -> np.ndarray:
    with clock.stage("read"):
        try:
            sample = source.read(index)
            return decode_image(sample.image_bytes, sample.key)
        except (SourceError, ImageError) as error:
            raise Unusable("read", "the image cannot be read", str(error)) from error


def _look(
    key: str, subject: str, image: np.ndarray, tools: Tools, clock: Clock
) -> tuple[Sighting, Failure | None]:
    """The face, and why it has no landmarks. Raises Unusable where there is no face."""
    points, confidence, trouble = None, None, None
    box = None if not tools.landmarks.needs_box else _box(key, image, None, tools, clock)
    try:
        with clock.stage("landmarks"):
            points, confidence = tools.landmarks.find(key, image, box)
            if not np.isfinite(points).all():
                points = None
                raise NoLandmarks("not finite")
    except NoLandmarks as error:
        trouble = Failure(key, "landmarks", str(error), error.detail)
    if box is None:
        box = _box(key, image, points, tools, clock)
    return Sighting(key, subject, box, points, confidence), trouble


def _box(
    key: str, image: np.ndarray, points: np.ndarray | None, tools: Tools, clock: Clock
) -> tuple[float, float, float, float]:
    if tools.truth_boxes is not None:
        row = tools.truth_boxes.row(key)
        if row is None:
            raise Unusable("detect", "no box in the labels")
        x, y, w, h = row["box"].tolist()
        return x, y, w, h
    with clock.stage("detect"):
        faces = tools.detector.detect(image)
    if not faces:
        raise Unusable("detect", "no face found")
    return choose(faces, image.shape[1::-1], points)


def choose(
    faces: Sequence[Detection], size: Sequence[int], points: np.ndarray | None
) -> tuple[float, float, float, float]:
    """The box of the person an image is of: the largest over the image's middle (width, height), or the largest.

    With points, the one that holds most of them. Raises Unusable where that is less than half.
    """
    if points is None:
        middle = np.array(size, np.float64)[None] / 2
        held = [bool(_inside(face.box, middle).all()) for face in faces]
        return max(zip(faces, held, strict=True), key=lambda one: (one[1], one[0].box[2] * one[0].box[3]))[0].box
    shares = [float(_inside(face.box, points[INNER]).mean()) for face in faces]
    best = int(np.argmax(shares))
    if shares[best] < 0.5:
        raise Unusable("detect", "no face where the landmarks are")
    return faces[best].box


def _inside(box: Sequence[float], points: np.ndarray) -> np.ndarray:
    """bool [n]: which of the points float [n, 2] lie in the box."""
    low = np.array(box[:2])
    return ((points >= low) & (points <= low + np.array(box[2:]))).all(1)


def _crop(tools: Tools, network: str, image: np.ndarray, one: Sighting, clock: Clock) -> np.ndarray:
    with clock.stage("crop"):
        try:
            return tools.networks[network].predictor.crops(image, [one.box])
        except ImageError as error:
            raise Unusable("detect", "the box lies outside the image", str(error)) from error
