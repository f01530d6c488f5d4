"""A video or a camera to a folder: rows, a film with the meshes over it, an animated GLB, and what was missing.

The folder of a run holds
  run.json          what was asked for, of which video: a run goes on only where that is the same
  chunks/           the finished chunks of rows (table.py); safe to delete when the run is done
  faces.csv         a row a face a frame, or faces.parquet
  overlay.mp4       the film with the meshes over it, or overlay.webm
  faces.glb         everybody, animated
  video.json        what all this is: people, frames that were missing, files; written last
The network sees each frame once. What people look at is made from the rows afterwards, with the median shape of each
person's head, so that another --smooth or --video-format costs no network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from expnet_tf import __version__
from expnet_tf.files import write_whole
from expnet_tf.predictor import Predictor
from expnet_tf.video import table
from expnet_tf.video.animation import write_animation
from expnet_tf.video.claim import RUN, claim, facts_of, read_object
from expnet_tf.video.overlay import Overlay, open_writer, write_overlay
from expnet_tf.video.people import Person, people
from expnet_tf.video.reader import Camera, Dropped, Frame, Source, VideoError, VideoFile
from expnet_tf.video.rows import write_csv, write_parquet
from expnet_tf.video.smooth import smoothed
from expnet_tf.video.table import Chunks, Record
from expnet_tf.video.tracker import Tracker
from expnet_tf.video.whole import sweep, whole_file

FORMATS = {
    "csv": "faces.csv", "parquet": "faces.parquet", "mp4": "overlay.mp4", "webm": "overlay.webm", "glb": "faces.glb",
}  # fmt: skip
DEFAULT_FORMATS = ("csv", "mp4", "glb")
SUMMARY, RECORDING = "video.json", "camera.mp4"

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done ("faces", "overlay"), the frames done, and their total where it is known."""


@dataclass
class Summary:
    """What became of a video."""

    frames: int = 0  # that were read
    faces: int = 0  # rows
    people: list[Person] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    resumed: int = 0  # frames that an earlier run had done


def process(
    source: VideoFile | Camera,
    out: Path,
    predictor: Predictor,
    formats: tuple[str, ...] = DEFAULT_FORMATS,
    smooth: bool = False,
    report: Callable[[str], None] = lambda text: None,
    progress: Progress = lambda stage, done, total: None,
) -> Summary:
    """Everything about a video into the folder `out`; goes on with what an earlier run left there.

    Args:
        formats: of FORMATS.
        smooth: One Euro filter (smooth.py) over all that is written; the chunks stay raw.
        report: gets a sentence for frames that are missing, and for people left out of the GLB.

    A camera is recorded, where a film is wanted, and stops at its `seconds`, or when the run is interrupted: what was
    seen until then is written. Raises VideoError, also where `out` belongs to another run, ModelError, OSError.
    """
    if "parquet" in formats:
        _need_pyarrow()
    out.mkdir(parents=True, exist_ok=True)
    claim(out, facts_of(source, predictor), live=isinstance(source, Camera))
    sweep(out)
    chunks = Chunks(out)
    summary = Summary()
    film = next((name for name in ("mp4", "webm") if name in formats), None)
    with ExitStack() as stack:
        recording = None
        if isinstance(source, Camera) and film:
            size = source.facts.width // 2 * 2, source.facts.height // 2 * 2
            recording = open_writer(stack.enter_context(whole_file(out / RECORDING)), source.facts.rate, size)
            stack.callback(recording.release)
        try:
            follow(source, chunks, predictor, report, progress, summary, recording)
        except KeyboardInterrupt:
            if not isinstance(source, Camera):
                raise
        if isinstance(source, Camera):
            source.close()
    shown = VideoFile(out / RECORDING) if isinstance(source, Camera) and film and summary.frames else source
    _write(shown, out, chunks, predictor, formats, smooth, report, progress, summary)
    return summary


def follow(
    source: Source,
    chunks: Chunks,
    predictor: Predictor,
    report: Callable[[str], None],
    progress: Progress,
    summary: Summary,
    recording: cv2.VideoWriter | None = None,
) -> None:
    """Makes the chunks that are missing, one after the other; an interrupted one is kept where it cannot come again."""
    done = chunks.count()
    records = list(chunks.records())
    summary.frames = summary.resumed = sum(one.frames for one in records)
    summary.dropped = [gap for one in records for gap in one.dropped]
    if records and records[-1].last:
        return
    tracker = Tracker(predictor, records[-1].tracker if records else None)
    kind = table.row_type(len(predictor.face_model.expression_basis), _identity(predictor))
    start = next_index = records[-1].next if records else 0
    time = records[-1].time if records else 0.0
    rows: list[np.ndarray] = []
    dropped: list[Dropped] = []
    frames = 0
    progress("faces", start, source.facts.frames)

    def finish(last: bool) -> None:
        nonlocal done, rows, dropped, frames
        made = np.concatenate(rows) if rows else np.zeros(0, kind)
        chunks.write(done, made, Record(next_index, frames, time, dropped, tracker.state(), last))
        done, rows, dropped, frames = done + 1, [], [], 0

    try:
        for item in source.frames(start):
            if isinstance(item, Dropped):
                report(f"{source.facts.name}: {sentence(item)}.")
                dropped.append(item)
                summary.dropped.append(item)
                continue
            found = tracker.step(item.image, item.time)
            rows.append(table.rows(kind, item.index, item.time, found))
            if recording is not None:
                bgr = cv2.cvtColor(item.image, cv2.COLOR_RGB2BGR)
                recording.write(bgr[: bgr.shape[0] // 2 * 2, : bgr.shape[1] // 2 * 2])
            next_index, time = item.index + 1, item.time
            frames, summary.frames = frames + 1, summary.frames + 1
            progress("faces", next_index, source.facts.frames)
            if frames == table.CHUNK:
                finish(last=False)
    except KeyboardInterrupt:
        if isinstance(source, Camera):
            finish(last=True)
        raise
    finish(last=True)


def sentence(gap: Dropped) -> str:
    """The frames that are missing, and why."""
    if gap.count == 1:
        return f"frame {gap.index} is missing: {gap.reason}"
    return f"frames {gap.index} to {gap.index + gap.count - 1} are missing: {gap.reason}"


def _write(
    source: Source,
    out: Path,
    chunks: Chunks,
    predictor: Predictor,
    formats: tuple[str, ...],
    smooth: bool,
    report: Callable[[str], None],
    progress: Progress,
    summary: Summary,
) -> None:
    """What people look at, from the rows; files that are there already, of the same settings, stay."""
    model = predictor.face_model
    settings = {"smooth": smooth, "software": f"expnet_tf {__version__}"}
    same = read_object(out / SUMMARY).get("settings") == settings
    (out / SUMMARY).unlink(missing_ok=True)

    def tables() -> Iterator[np.ndarray]:
        return smoothed(chunks.tables()) if smooth else chunks.tables()

    def shown(done: int) -> None:
        progress("overlay", done, source.facts.frames)

    summary.people = people(chunks.tables())
    summary.faces = sum(one.frames for one in summary.people)
    absent: list[int] = []
    for name in formats:
        path = out / FORMATS[name]
        if same and path.is_file():
            pass
        elif name == "csv":
            write_csv(path, tables(), model)
        elif name == "parquet":
            write_parquet(path, tables(), model)
        elif name in ("mp4", "webm"):
            overlay = Overlay(model)
            for person in summary.people:
                overlay.shape(person.id, person.identity)
            rate, several = _rate(source, chunks, summary), len(summary.people) > 1
            write_overlay(path, source, tables(), overlay, rate, several, shown)
        elif summary.people:
            there = write_animation(path, model, summary.people, tables)
            absent = [one.id for one in summary.people if one.id not in there]
        else:
            path.unlink(missing_ok=True)
            report(f"{source.facts.name}: no face was found, so there is no {path.name}.")
        if path.is_file():
            summary.files.append(path.name)
    if absent:
        report(f"{FORMATS['glb']} has those who are seen longest; without {len(absent)} others.")
    record = {**read_object(out / RUN), "settings": settings, **_numbers(source, summary)}
    write_whole(out / SUMMARY, f"{json.dumps(record, indent=1)}\n".encode())


def _numbers(source: Source, summary: Summary) -> dict[str, Any]:
    facts = source.facts
    return {
        "video": {"width": facts.width, "height": facts.height, "rate": facts.rate, "rotation": facts.rotation},
        "frames": summary.frames,
        "faces": summary.faces,
        "missing": [vars(one) for one in summary.dropped],
        "people": [
            {
                "id": one.id, "frames": one.frames, "first_s": one.first, "last_s": one.last, "gaps": one.gaps,
                "identity": None if one.identity is None else [float(f"{value:.6g}") for value in one.identity],
            }
            for one in summary.people
        ],
        "files": summary.files,
    }  # fmt: skip


def _rate(source: Source, chunks: Chunks, summary: Summary) -> float:
    """Frames/s at which the film lasts as long as the video."""
    last = chunks.record(chunks.count() - 1).time
    return round((summary.frames - 1) / last, 3) if summary.frames > 1 and last > 0 else source.facts.rate


def _identity(predictor: Predictor) -> int:
    return len(predictor.face_model.identity_basis) if "identity" in predictor.info.heads else 0


def _need_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise VideoError("parquet needs pyarrow (pip install 'expnet_tf[parquet]'); csv needs nothing.") from error


__all__ = ["DEFAULT_FORMATS", "FORMATS", "Frame", "Progress", "Summary", "follow", "process", "sentence"]
