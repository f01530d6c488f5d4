"""A large folder of photos to shards of rows, one a face, made by many workers: `expnet predict --shards`.

The folder of a run holds
  run.json                        what was asked for, of which photos: a run goes on only where that is the same
  faces-NNNNN-of-MMMMM.jsonl      the faces (facerows.py; or .parquet), and records/NNNNN-of-MMMMM.json beside each
  failures.jsonl                  file and sentence of each photo that has no row
  faces.json                      what the faces are, and how many
The last two are written when all shards are there, and are the same however the run came about.

A shard is the unit of work, and idempotent: its record is written first, its rows last, both whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expnet_tf import __version__
from expnet_tf.data.labelling.shard import ToolsDiffer
from expnet_tf.files import write_whole
from expnet_tf.inputs import Photo, Problem

if TYPE_CHECKING:
    from expnet_tf.detect import Detector
    from expnet_tf.predictor import Predictor

SCHEMA = "expnet.faces/1"
FORMATS = ("jsonl", "parquet")
PHOTOS_PER_SHARD = 500
RUN, SUMMARY, FAILURES = "run.json", "faces.json", "failures.jsonl"


class ShardError(ValueError):
    """The run cannot be, or its folder belongs to another: one sentence."""


@dataclass(frozen=True)
class Ask:
    """The arguments that the rows depend on, besides the photos."""

    form: str = "jsonl"  # of FORMATS
    model: str = "compact"  # a shipped name or an absolute path
    detector: str = "blazeface"  # or mtcnn
    box: tuple[float, float, float, float] | None = None  # px, for every photo; None: detect
    all_faces: bool = False  # or the largest only


@dataclass(frozen=True)
class Share:
    """A shard to be made."""

    index: int
    count: int  # of shards in the run
    photos: tuple[Photo, ...]  # paths are absolute
    ask: Ask
    tools: dict  # what `tools` must be on the machine that makes the shard
    out: str  # absolute path of the run's folder

    @property
    def stem(self) -> str:
        return f"{self.index:05d}-of-{self.count:05d}"

    @property
    def rows(self) -> Path:
        return Path(self.out) / f"faces-{self.stem}.{self.ask.form}"

    @property
    def record(self) -> Path:
        return Path(self.out) / "records" / f"{self.stem}.json"

    @property
    def done(self) -> bool:
        return self.rows.exists() and self.record.exists()


@dataclass(frozen=True)
class Record:
    """What is known of a finished shard besides its rows."""

    index: int
    photos: int  # asked for
    faces: int  # rows
    failures: list[tuple[str, str]]  # name of the photo, sentence; in the order of the photos


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
    write_whole(root / SUMMARY, _json({**facts, "numbers": numbers, "files": files}))
    for left in (*root.glob(".*.tmp"), *root.glob("records/.*.tmp")):  # of killed processes
        left.unlink(missing_ok=True)
    return Summary(len(photos) - failed, faces, len(failures), len(todo))


_one_at_a_time = threading.Lock()  # the network and the detector of a process serve one shard at a time


def make_shard(share: Share) -> Record:
    """Makes the shard, or does nothing where it is made.

    Raises ToolsDiffer where this machine has another model or program than the run was started with, ModelError
    where the network's answer is not finite, ShardError, OSError.
    """
    from expnet_tf import facerows
    from expnet_tf.batch import Failure, Job, predicted

    with _one_at_a_time:
        if share.done:
            return read_record(share.record)
        if (here := tools(share.ask)) != share.tools:
            name = next(name for name in here if here[name] != share.tools.get(name))
            raise ToolsDiffer(f"a worker's {name} is {here[name]}; the run was started with {share.tools.get(name)}")
        predictor = _predictor(share.ask.model, share.ask.detector, here["model"]["sha256"])
        job = Job(Path(share.out), (), share.ask.box, share.ask.all_faces)
        found: dict[str, list[dict[str, Any]]] = {}
        failed: dict[str, str] = {}
        for one in predicted(predictor, share.photos, job):
            if isinstance(one, Failure):
                assert one.photo is not None
                # The name, not the path: the same bytes wherever the photos lie.
                failed[one.photo.name] = one.photo.name + one.text.removeprefix(str(Path(one.photo.path)))
            else:
                pending, faces, _ = one
                name = pending.photo.name
                found[name] = [facerows.row(name, pending.size, index, face) for index, face in enumerate(faces)]
        rows = [row for photo in share.photos for row in found.get(photo.name, [])]
        failures = [(photo.name, failed[photo.name]) for photo in share.photos if photo.name in failed]
        record = Record(share.index, len(share.photos), len(rows), failures)
        share.record.parent.mkdir(parents=True, exist_ok=True)
        write_whole(share.record, _json(asdict(record)))
        parquet = share.ask.form == "parquet"
        write_whole(share.rows, facerows.parquet(rows, predictor.face_model) if parquet else facerows.jsonl(rows))
        return record


def read_record(path: Path) -> Record:
    """The record that make_shard() wrote."""
    facts = json.loads(path.read_text())
    return Record(**{**facts, "failures": [(name, text) for name, text in facts["failures"]]})


def tools(ask: Ask) -> dict[str, Any]:
    """Model, detector and programs that the rows come from. Raises ModelError, ShardError."""
    # One thread a process: the processes fill the cores. Before anything imports TensorFlow.
    for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(variable, "1")
    from expnet_tf.models import resolve, sha256
    from expnet_tf.morphable import open_face
    from expnet_tf.network import read_info

    path = resolve(ask.model)
    info, face_model = read_info(path), open_face().provenance
    return {
        "software": f"expnet_tf {__version__}",
        "model": {"id": info.id, "sha256": sha256(path), "size": info.size, "crop_factor": info.crop_factor},
        "face_model": f"{face_model['name']}-{face_model['version']}",
        "detector": None if ask.box else _describe(ask.detector),
        "format": _format(ask.form),
    }


def _describe(detector: str) -> dict[str, str]:
    if detector == "mtcnn":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return {"name": "MTCNN", "version": version("mtcnn")}
        except PackageNotFoundError as error:
            raise ShardError("--detector mtcnn needs mtcnn (pip install 'expnet_tf[mtcnn]').") from error
    from expnet_tf.detect import MODEL
    from expnet_tf.models import sha256

    return {"name": "BlazeFace", "sha256": sha256(MODEL)}


def _format(form: str) -> dict[str, str]:
    if form != "parquet":
        return {"name": form}
    try:
        import pyarrow
    except ImportError as error:
        raise ShardError(
            "--shards parquet needs pyarrow (pip install 'expnet_tf[parquet]'); jsonl needs nothing."
        ) from error
    # It signs its files: another version writes other bytes.
    return {"name": form, "pyarrow": pyarrow.__version__}


@lru_cache(maxsize=1)
def _predictor(model: str, detector: str, sha256: str) -> Predictor:
    """Loaded once a process; sha256: a file that was replaced meanwhile is another model."""
    from expnet_tf.detect import MTCNN
    from expnet_tf.predictor import load

    made: Detector | None = MTCNN() if detector == "mtcnn" else None
    return load(model, made)


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _fingerprint(photos: Sequence[Photo], sizes: Sequence[int | None]) -> dict[str, Any]:
    """Names and sizes, not each byte: that would read every photo twice."""
    text = "".join(f"{photo.name}\0{size}\n" for photo, size in zip(photos, sizes, strict=True))
    return {"photos": len(photos), "names_and_sizes": hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()}


def _json(facts: object) -> bytes:
    return f"{json.dumps(facts, indent=1)}\n".encode()


def _claim(root: Path, facts: dict[str, Any]) -> None:
    """Writes run.json, or checks that the one in the folder says the same. Raises ShardError."""
    path = root / RUN
    if not path.exists():
        if any(root.glob("faces-*-of-*")):
            raise ShardError(f"{root} holds shards without their {RUN}; choose an empty folder.")
        root.mkdir(parents=True, exist_ok=True)
        write_whole(path, _json(facts))
        return
    try:
        before = json.loads(path.read_text())
    except ValueError as error:
        raise ShardError(f"{path} is damaged ({error}); choose an empty folder.") from error
    now = json.loads(_json(facts))
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
