"""`expnet predict`: many photos in, one set of files a photo out, whatever the photos are like.

Outputs keep the photo's path and its suffix: for a/1.jpg the files are a/1.jpg.json, a/1.jpg.obj, ...; with all
faces a/1.jpg.json and, face by face, a/1.jpg.0.obj, a/1.jpg.1.obj, ... So 1.jpg and 1.png do not collide. Every
file appears whole, and the JSON last: where it is, the others are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from expnet_tf import facejson
from expnet_tf.draw import picture
from expnet_tf.files import write_whole
from expnet_tf.image import ImageError, read_image
from expnet_tf.inputs import Photo, Problem
from expnet_tf.mesh import write_mesh
from expnet_tf.paint import vertex_colors
from expnet_tf.predictor import BATCH_SIZES, Face, Found, Predictor

FORMATS = ("json", "obj", "ply", "glb", "png")
MAX_HELD = 50_000_000  # px of photos in memory, besides the one being read: 150 MB


@dataclass(frozen=True)
class Job:
    """What to make of each photo."""

    out: Path
    formats: Sequence[str] = ("json", "obj", "png")  # of FORMATS
    box: tuple[float, float, float, float] | None = None  # px, for every photo; None: detect
    all_faces: bool = False  # or the largest only
    protected: frozenset[str] = frozenset()  # absolute paths that must not be written over: the photos


@dataclass
class Summary:
    """What became of the photos."""

    photos: int = 0  # whose files are written
    faces: int = 0  # in them
    failed: int = 0  # photos, or arguments that name none


@dataclass(frozen=True)
class Failure:
    """A photo without faces, or an argument without photos (photo None): one sentence."""

    photo: Photo | None
    text: str


@dataclass(frozen=True)
class Pending:
    """A photo between its detection and the network."""

    photo: Photo
    size: tuple[int, int]  # width, height
    image: np.ndarray | None  # kept for the picture only
    found: list[Found]
    crops: np.ndarray
    timing: dict[str, float | None]


def predict_files(
    predictor: Predictor,
    items: Iterable[Photo | Problem],
    job: Job,
    report: Callable[[str], None],
    progress: Callable[[], object] = lambda: None,
    summary: Summary | None = None,
) -> Summary:
    """Predict every photo and write its files; a photo that fails is reported, and the others go on.

    `report` gets one sentence a failure, `progress` a call for each item that is done; `summary` is counted up on
    the way, for a caller that is interrupted, and returned. Memory does not grow with the number of photos.
    Raises ModelError where the network's answer is not finite.
    """
    summary = Summary() if summary is None else summary

    def fail(text: str) -> None:
        summary.failed += 1
        report(text)
        progress()

    for one in predicted(predictor, items, job):
        if isinstance(one, Failure):
            fail(one.text)
            continue
        pending, faces, share = one
        try:
            _write(pending, faces, share, predictor, job)
        except OSError as error:
            fail(f"{pending.photo.path}: its results cannot be written ({error.strerror or error}).")
            continue
        summary.photos += 1
        summary.faces += len(faces)
        progress()
    return summary


def predicted(
    predictor: Predictor, items: Iterable[Photo | Problem], job: Job
) -> Iterator[tuple[Pending, list[Face], float] | Failure]:
    """Each photo with its faces and its share of the network's time, ms; or why there are none.

    The next photo is read only when those that are held have been taken: memory does not grow with their number.
    Failures may come before photos that were ahead of them. Raises ModelError, see `predict_files`.
    """
    pending: list[Pending] = []
    for item in items:
        if isinstance(item, Problem):
            yield Failure(None, item.text)
            continue
        try:
            pending.append(_read(predictor, item, job))
        except ImageError as error:
            yield Failure(item, _naming(item.path, str(error)))
            continue
        held = sum(one.image.size // 3 for one in pending if one.image is not None)
        if sum(len(one.found) for one in pending) >= BATCH_SIZES[-1] or held > MAX_HELD:
            yield from _run(predictor, pending)
            pending.clear()
    yield from _run(predictor, pending)


def _read(predictor: Predictor, photo: Photo, job: Job) -> Pending:
    """Read, detect, crop; raises ImageError in one sentence."""
    start = time.perf_counter()
    image = read_image(photo.path)
    timing: dict[str, float | None] = {"read": 1000 * (time.perf_counter() - start), "detect": None}
    found: list[Found]
    if job.box is None:
        start = time.perf_counter()
        found = [(face.box, face.score) for face in predictor.detector.detect(image)]
        timing["detect"] = 1000 * (time.perf_counter() - start)
        if not found:
            raise ImageError("no face was found; where there is one, give its place with --box X,Y,W,H.")
        found = found if job.all_faces else found[:1]
    else:
        found = [(job.box, None)]
    crops = predictor.crops(image, [box for box, _ in found])
    size = image.shape[1], image.shape[0]
    return Pending(photo, size, image if "png" in job.formats else None, found, crops, timing)


def _naming(path: str, sentence: str) -> str:
    """The sentence with the file's name in front, where it is not there already."""
    return sentence if sentence.startswith(str(Path(path))) else f"{path}: {sentence}"


def _run(predictor: Predictor, pending: Sequence[Pending]) -> list[tuple[Pending, list[Face], float]]:
    """The network for all pending photos: each with its faces and its share of the time, ms."""
    start = time.perf_counter()
    faces = predictor.predict_crops([one.crops for one in pending], [one.found for one in pending])
    spent = 1000 * (time.perf_counter() - start)
    total = max(1, sum(map(len, faces)))
    return [(one, some, spent * len(some) / total) for one, some in zip(pending, faces, strict=True)]


def _write(one: Pending, faces: list[Face], share: float, predictor: Predictor, job: Job) -> None:
    stem = job.out / one.photo.name
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = []
    for index, face in enumerate(faces):
        number = f".{index}" if job.all_faces else ""
        targets = {form: _target(stem, f"{number}.{form}", job) for form in job.formats if form != "json"}
        for form, target in targets.items():
            if form == "png":
                assert one.image is not None
                coded = cv2.imencode(".png", picture(one.image, face)[..., ::-1])[1]
                write_whole(target, coded.tobytes())
            else:
                write_mesh(target, face.vertices(), face.triangles, colors=vertex_colors(face.face_model))
        files.append({form: target.name for form, target in targets.items()})
    if "json" in job.formats:
        detector = None if job.box else getattr(predictor.detector, "name", type(predictor.detector).__name__)
        timing = {**one.timing, "network": share}
        record = facejson.photo_record(one.photo.name, one.size, faces, predictor, detector, timing, files)
        write_whole(_target(stem, ".json", job), facejson.dumps(record).encode("ascii"))


def _target(stem: Path, suffix: str, job: Job) -> Path:
    path = stem.with_name(stem.name + suffix)
    if os.path.abspath(path) in job.protected:
        raise OSError(f"{path} is one of the photos")
    return path
