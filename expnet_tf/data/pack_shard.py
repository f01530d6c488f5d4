"""One shard of `expnet pack`: a unit of work that can be done anywhere, again, and in any order.

A shard is written under a temporary name and renamed; then its note, an npz with what the manifest needs of it, is
written in the same way. A shard whose note is there and agrees with it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from expnet_tf.data import labels
from expnet_tf.data.framing import Framing, frame_face
from expnet_tf.data.sources import Source, SourceError
from expnet_tf.data.tfrecord import encode_example, frame
from expnet_tf.image import ImageError

NOTES = "parts"
STATISTICS = ("expression", "identity", "pose", "camera", "box", "quality")


@dataclass(frozen=True)
class Job:
    """One shard: everything that a worker needs."""

    path: Path
    parts: list[tuple[Source, str, dict[str, np.ndarray]]]  # images, what comes before their keys, label columns
    order: np.ndarray  # of the records, over the rows of all parts one after the other
    camera: str  # pinhole, orthographic
    framing: Framing


def pack_shard(job: Job) -> tuple[int, int]:
    """Writes the shard and its note; returns (images asked for, records written). Raises OSError."""
    cv2.setNumThreads(1)  # the processes fill the cores
    rows = [(source, prefix, columns, i) for source, prefix, columns in job.parts for i in range(len(source))]
    places, failures, factors, padding, unchanged = [], [], [], [], 0
    total = np.zeros((job.framing.size, job.framing.size, 3), np.int64)
    sums = {name: np.zeros((2, *(labels.WIDTHS[name] or (1,)))) for name in STATISTICS}
    digest, offset, subjects = hashlib.sha256(), 0, set()
    temporary = job.path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            for number in job.order.tolist():
                source, prefix, columns, i = rows[number]
                key, subject = f"{prefix}{columns['key'][i]}", f"{prefix}{columns['subject'][i]}"
                row = {name: columns[name][i] for name in labels.WIDTHS}
                try:
                    framed = frame_face(source.read(i).image_bytes, key, row, job.camera, job.framing)
                except (SourceError, ImageError) as error:
                    failures.append((key, str(error)))
                    continue
                texts = {"image": framed.jpeg, "key": key.encode(), "subject": subject.encode()}
                record = frame(encode_example({**texts, **framed.labels}))
                file.write(record)
                digest.update(record)
                places.append((offset, len(record)))
                offset += len(record)
                subjects.add(subject)
                factors.append(framed.factor)
                padding.append(framed.padding)
                unchanged += framed.unchanged
                total += framed.pixels
                for name, pair in sums.items():
                    value = framed.labels[name].astype(np.float64)
                    pair += value, value**2
        temporary.replace(job.path)
    finally:
        temporary.unlink(missing_ok=True)
    note = {"sha256": digest.hexdigest(), "bytes": offset, "failures": json.dumps(failures), "pixels": total,
            "places": np.array(places, np.int64).reshape(-1, 2), "subjects": np.array(sorted(subjects), str),
            "factor": np.array(factors), "padding": np.array(padding), "unchanged": unchanged,
            **{f"sums_{name}": pair for name, pair in sums.items()}}  # fmt: skip
    _write_note(note_path(job.path), note)
    return len(rows), len(places)


def note_path(shard: Path) -> Path:
    return shard.parent / NOTES / f"{shard.name}.npz"


def read_note(shard: Path) -> dict[str, Any]:
    """The note of a shard; raises OSError, ValueError or BadZipFile where it is not there or not whole."""
    with note_path(shard).open("rb") as file, np.load(file, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def is_whole(shard: Path) -> bool:
    """Whether the shard is there, its note is, and its bytes are those that the note was written for."""
    try:
        note = read_note(shard)
        if shard.stat().st_size != int(note["bytes"]):
            return False
        with shard.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == str(note["sha256"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False


def _write_note(path: Path, note: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **note)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
