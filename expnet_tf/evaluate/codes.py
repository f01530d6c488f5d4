"""Codes of a data set's images by each method, at each scale and in both settings; computed once, then read.

Each image is scaled down first (INTER_AREA), then the face is looked for and cut out. Of several faces the one that
overlaps the data's own box most (intersection over union) is taken, without such a box the largest.

    box given   the box of the data, or else the detector's at scale 1, carried over to the scaled image
    end to end  the detector's at that scale

Every code is kept under OUT/codes, by the sha256 of the image's bytes and its box, in a file for each method and
scale: an interrupted run goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from expnet_tf import detect
from expnet_tf.evaluate.clips import Dataset, Ref, shots
from expnet_tf.evaluate.methods import FileCodes, Method
from expnet_tf.evaluate.store import Store
from expnet_tf.image import ImageError
from expnet_tf.models import sha256

GIVEN, END_TO_END = "box given", "end to end"
SETTINGS = (GIVEN, END_TO_END)
BATCH = 32
NOWHERE = (np.nan,) * 4  # box of a face that was not found
MAX_HELD = 50_000_000  # px of photos waiting for the methods: 150 MB
SAVE_EVERY = 60  # seconds; what a killed run loses at most

Box = tuple[float, ...]


class Job(NamedTuple):
    """A method in a setting at a scale."""

    method: Method | FileCodes
    setting: str
    scale: float


@dataclass
class Coded:
    """Codes of every image. Images are in the order of clips and frames."""

    keys: list[str]  # [n] as Ref.key
    digests: list[str]  # [n] as Ref.digest
    clip: list[int]  # [n] number of the clip
    problems: list[str]  # files that could not be read, a sentence each
    boxes: dict[tuple[str, float], np.ndarray] = field(default_factory=dict)  # (setting, scale): [n, 4] px; NaN: none
    codes: dict[tuple[str, str, float], np.ndarray] = field(default_factory=dict)  # (method.id, setting, scale): [n, d]
    _pooled: dict[tuple[str, str, float], np.ndarray] = field(default_factory=dict)

    def pooled(self, job: Job, clips: int) -> np.ndarray:
        """Codes of the clips float64 [clips, d]: the mean over their images with a code; NaN where there is none."""
        key = job.method.id, job.setting, job.scale
        if key in self._pooled:
            return self._pooled[key]
        codes, clip = self.codes[key], np.array(self.clip, int)
        present = ~np.isnan(codes).any(axis=1)
        sums, counts = np.zeros((clips, codes.shape[1])), np.bincount(clip[present], minlength=clips)
        np.add.at(sums, clip[present], codes[present])
        sums[counts == 0] = np.nan
        self._pooled[key] = sums / np.maximum(counts, 1)[:, None]
        return self._pooled[key]


def scaled(image: np.ndarray, scale: float) -> np.ndarray:
    """The image times `scale` (0 < scale <= 1) by INTER_AREA, uint8 RGB [h, w, 3]."""
    if scale == 1:
        return image
    height, width = image.shape[:2]
    factors = max(scale, 0.5001 / width), max(scale, 0.5001 / height)  # at least 1 px
    return cv2.resize(np.ascontiguousarray(image), None, fx=factors[0], fy=factors[1], interpolation=cv2.INTER_AREA)


def choose(found: Sequence[Sequence[float]], wanted: Box | None) -> Box | None:
    """Of the boxes found, largest first, the one that overlaps `wanted` most; the largest where none does."""
    if not found:
        return None
    overlaps = [0.0 if wanted is None else _overlap(box, wanted) for box in found]
    return tuple(map(float, found[int(np.argmax(overlaps))]))


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x, y, w, h)."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(w, 0.0) * max(h, 0.0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


class Coder:
    """Runs jobs over a data set with the caches of one output folder."""

    def __init__(self, out: Path, detector: detect.Detector, jobs: Sequence[Job]) -> None:
        self.detector, self.folder = detector, out / "codes"
        self.jobs = [job for job in jobs if not isinstance(job.method, FileCodes)]
        self.scales = sorted({job.scale for job in jobs} | {1.0}, reverse=True)
        # What a custom detector may change is its own; the shipped one is told by its file.
        model = sha256(detect.MODEL) if isinstance(detector, detect.BlazeFace) else ""
        name = f"{type(detector).__module__}.{type(detector).__qualname__}:{model}"
        self._faces = {scale: Store(self.folder, "faces", name, scale) for scale in self.scales}
        self._stores = {
            (job.method.id, job.scale): Store(self.folder, _slug(job.method.name), job.method.id, job.scale)
            for job in self.jobs
        }
        self._last = time.monotonic()

    def save(self) -> None:
        for store in (*self._faces.values(), *self._stores.values()):
            store.save()
        self._last = time.monotonic()

    def complete(self, pending: Sequence[tuple[Ref, np.ndarray]]) -> None:
        """Compute what is missing of these images, uint8 RGB [H, W, 3] each."""
        for scale in self.scales:
            small = [(ref, scaled(image, scale)) for ref, image in pending]
            for ref, image in small:
                if _key(ref, ref.box) not in self._faces[scale]:
                    wanted = None if ref.box is None else tuple(scale * value for value in ref.box)
                    found = choose([face.box for face in self.detector.detect(image)], wanted)
                    self._faces[scale][_key(ref, ref.box)] = np.array(found or NOWHERE)
            for job in self.jobs:
                if job.scale == scale:
                    self._run(job, small)
        if time.monotonic() - self._last > SAVE_EVERY:
            self.save()

    def _run(self, job: Job, small: Sequence[tuple[Ref, np.ndarray]]) -> None:
        """The codes of one job that the store lacks; scaled images."""
        assert not isinstance(job.method, FileCodes)
        store, todo = self._stores[job.method.id, job.scale], {}
        for ref, image in small:
            box = self.box(ref, job.setting, job.scale)
            if box is not None and _key(ref, box) not in store:
                todo[_key(ref, box)] = (image, box)
        if todo:
            images, boxes = zip(*todo.values(), strict=True)
            for key, row in zip(todo, job.method.codes(list(images), list(boxes)), strict=True):
                store[key] = row

    def known(self, ref: Ref) -> bool:
        """Whether everything about this image is in the caches."""
        if any(_key(ref, ref.box) not in self._faces[scale] for scale in self.scales):
            return False
        boxes = [(job, self.box(ref, job.setting, job.scale)) for job in self.jobs]
        return all(box is None or _key(ref, box) in self._stores[job.method.id, job.scale] for job, box in boxes)

    def box(self, ref: Ref, setting: str, scale: float) -> Box | None:
        """Where the face is in the scaled image, px; None: not found. To be asked after detection."""
        if setting == END_TO_END:
            row = self._faces[scale][_key(ref, ref.box)]
            return None if np.isnan(row).any() else tuple(row.tolist())
        full = ref.box or self.box(ref, END_TO_END, 1.0)
        return None if full is None else tuple(scale * value for value in full)

    def code(self, ref: Ref, job: Job) -> np.ndarray | None:
        box = self.box(ref, job.setting, job.scale)
        return None if box is None else self._stores[job.method.id, job.scale][_key(ref, box)]


def code(
    dataset: Dataset,
    jobs: Sequence[Job],
    out: Path,
    detector: detect.Detector,
    progress: Callable[[], object] = lambda: None,
) -> Coded:
    """Run all jobs on all images, or read what an earlier run left under out/codes.

    `progress` gets a call for each clip. Files that cannot be read have no codes and are named in `problems`.
    """
    coder, problems = Coder(out, detector, jobs), []
    rows: list[tuple[int, Ref]] = []  # the clip of each image
    pending: list[tuple[Ref, np.ndarray]] = []
    try:
        for number, clip in enumerate(dataset.clips):
            for frame in clip.frames:
                try:
                    for ref, read in shots(frame):
                        if not coder.known(ref):
                            pending.append((ref, read()))
                            if len(pending) >= BATCH or sum(image.size // 3 for _, image in pending) > MAX_HELD:
                                coder.complete(pending)
                                pending.clear()
                        rows.append((number, ref))
                except ImageError as error:
                    problems.append(str(error))
            progress()
        coder.complete(pending)
    finally:
        coder.save()
    return _collected(coder, jobs, rows, problems)


def _collected(coder: Coder, jobs: Sequence[Job], rows: Sequence[tuple[int, Ref]], problems: list[str]) -> Coded:
    refs = [ref for _, ref in rows]
    coded = Coded([ref.key for ref in refs], [ref.digest for ref in refs], [number for number, _ in rows], problems)
    for setting in SETTINGS:
        for scale in coder.scales:
            boxes = [coder.box(ref, setting, scale) or NOWHERE for ref in refs]
            coded.boxes[setting, scale] = np.array(boxes, np.float64).reshape(-1, 4)
    for job in jobs:
        if isinstance(job.method, FileCodes):
            codes = job.method.lookup(coded.keys, job.scale, job.setting)
        else:
            found = [coder.code(ref, job) for ref in refs]
            width = next((len(row) for row in found if row is not None), 1)
            missing = np.full(width, np.nan)
            codes = np.array([missing if row is None else row for row in found]).reshape(-1, width)
        coded.codes[job.method.id, job.setting, job.scale] = codes
    return coded


def _key(ref: Ref, box: Box | None) -> str:
    """Of an image and a box in it, in a store."""
    return ref.digest if box is None else f"{ref.digest} {' '.join(f'{value:.3f}' for value in box)}"


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:40]
