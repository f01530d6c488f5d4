"""A large folder of photos to shards of rows, one a face, made by many workers: `expnet predict --shards`.

The folder of a run holds
  run.json                        what was asked for, of which photos: a run goes on only where that is the same
  faces-NNNNN-of-MMMMM.jsonl      the faces (facerows.py; or .parquet), and records/NNNNN-of-MMMMM.json beside each
  failures.jsonl                  file and sentence of each photo that has no row
  faces.json                      what the faces are, and how many
The last two are written when all shards are there, and are the same however the run came about.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expnet_tf.faceshard import Ask, Record, ShardError, Share, make_shard, pretty, read_record, tools
from expnet_tf.files import write_whole
from expnet_tf.inputs import Photo, Problem

SCHEMA = "expnet.faces/1"
PHOTOS_PER_SHARD = 500
RUN, SUMMARY, FAILURES = "run.json", "faces.json", "failures.jsonl"


@dataclass(frozen=True)
class Summary:
    """What became of a run."""

    photos: int  # that have rows
    faces: int
    failed: int  # photos, or arguments that name none
    made: int  # shards made now; the others were there


Runner = Callable[[list[Share]], Iterable[Record]]
"""Makes all shards, in any order, and gives their records as they are done."""


def one_by_one(shares: list[Share]) -> Iterator[Record]:
    """The runner of this process; the others are in data/labelling/workers.py."""
    for share in shares:
        yield make_shard(share)


def predict_shards(
    items: Iterable[Photo | Problem],
    out: str | Path,
    ask: Ask,
    run: Runner = one_by_one,
    progress: Callable[[int, int], None] = lambda photos, total: None,
    photos_per_shard: int = PHOTOS_PER_SHARD,
) -> Summary:
    """The faces of all photos as shards in the folder `out`; goes on with what an earlier run left.

    progress: called with the photos done and their total as shards end.

    Raises ShardError (also where `out` belongs to another run, or the detector or format is not installed), ModelError,
    OSError, and what `run` raises.
    """
    items = list(items)
    photos = sorted((item for item in items if isinstance(item, Photo)), key=lambda photo: photo.name)
    problems = [item.text for item in items if isinstance(item, Problem)]
    sizes = [_size(photo.path) for photo in photos]
    if all(size is None for size in sizes):  # a mistyped folder must not claim `out`
        raise ShardError(problems[0] if problems else f"{photos[0].path} does not exist." if photos else "no photo.")
    root = Path(out).resolve()
    here = tools(ask)
    facts = {
        "schema": SCHEMA, **here, "box": ask.box, "all_faces": ask.all_faces,
        "photos_per_shard": photos_per_shard, "inputs": _fingerprint(photos, sizes),
    }  # fmt: skip
    _claim(root, facts)

    parts = [photos[start : start + photos_per_shard] for start in range(0, len(photos), photos_per_shard)]
    shares = [
        Share(index, len(parts), tuple(Photo(os.path.abspath(path), name) for path, name in part), ask, here, str(root))
        for index, part in enumerate(parts)
    ]
    todo = [share for share in shares if not share.done]
    done = len(photos) - sum(len(share.photos) for share in todo)
    progress(done, len(photos))
    if todo:
        for record in run(todo):
            done += record.photos
            progress(done, len(photos))
    if absent := [share.rows.name for share in shares if not share.done]:
        raise ShardError(f"{root}: {absent[0]} was made but is not here; do the workers see the same folder?")

    records = [read_record(share.record) for share in shares]
    failures: list[tuple[str | None, str]] = [(None, text) for text in problems]
    failures += [failure for record in records for failure in record.failures]
    lines = [f"{json.dumps({'file': name, 'sentence': text})}\n" for name, text in failures]
    write_whole(root / FAILURES, "".join(lines).encode())
    failed = sum(len(record.failures) for record in records)
    faces = sum(record.faces for record in records)
    numbers = {"photos": len(photos), "photos_with_faces": len(photos) - failed, "faces": faces,
               "failures": len(failures)}  # fmt: skip
    files = [{"name": share.rows.name, "faces": one.faces} for share, one in zip(shares, records, strict=True)]
    write_whole(root / SUMMARY, pretty({**facts, "numbers": numbers, "files": files}))
    for left in (*root.glob(".*.tmp"), *root.glob("records/.*.tmp")):  # of killed processes
        left.unlink(missing_ok=True)
    return Summary(len(photos) - failed, faces, len(failures), len(todo))


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _fingerprint(photos: Sequence[Photo], sizes: Sequence[int | None]) -> dict[str, Any]:
    """Names and sizes, not each byte: that would read every photo twice."""
    text = "".join(f"{photo.name}\0{size}\n" for photo, size in zip(photos, sizes, strict=True))
    return {"photos": len(photos), "names_and_sizes": hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()}


def _claim(root: Path, facts: dict[str, Any]) -> None:
    """Writes run.json, or checks that the one in the folder says the same. Raises ShardError."""
    path = root / RUN
    if not path.exists():
        if any(root.glob("faces-*-of-*")):
            raise ShardError(f"{root} holds shards without their {RUN}; choose an empty folder.")
        root.mkdir(parents=True, exist_ok=True)
        write_whole(path, pretty(facts))
        return
    try:
        before = json.loads(path.read_text())
    except ValueError as error:
        raise ShardError(f"{path} is damaged ({error}); choose an empty folder.") from error
    now = json.loads(pretty(facts))
    if difference := _difference(before, now):
        name, was, asked = difference
        raise ShardError(
            f"{root} holds a run with another {name}: it was {was}, now it is {asked}; use the same arguments to go "
            f"on, or choose an empty folder."
        )


def _difference(before: Any, now: dict[str, Any]) -> tuple[str, str, str] | None:
    """The first fact that differs: its name, such as model.id, and both values as JSON."""
    for name, asked in now.items():
        was = before.get(name) if isinstance(before, dict) else None
        if isinstance(asked, dict) and isinstance(was, dict) and (inner := _difference(was, asked)):
            return f"{name}.{inner[0]}", *inner[1:]
        if was != asked:
            return name, json.dumps(was), json.dumps(asked)
    return None
