"""One shard of faces: some photos, from files to rows.

A shard is the unit of work, and idempotent: the same photos and arguments give the same file, whoever makes it and
however often. Its record is written first, its rows last, both whole or not at all.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expnet_tf import __version__
from expnet_tf.data.labelling.shard import ToolsDiffer
from expnet_tf.files import write_whole
from expnet_tf.inputs import Photo
from expnet_tf.models import DEFAULT

if TYPE_CHECKING:
    from expnet_tf.detect import Detector
    from expnet_tf.predictor import Predictor

FORMATS = ("jsonl", "parquet")


class ShardError(ValueError):
    """The run cannot be, or its folder belongs to another: one sentence."""


@dataclass(frozen=True)
class Ask:
    """The arguments that the rows depend on, besides the photos."""

    form: str = "jsonl"  # of FORMATS
    model: str = DEFAULT  # a shipped name or an absolute path
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
        write_whole(share.record, pretty(asdict(record)))
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


def pretty(facts: object) -> bytes:
    """JSON as records have it: a key a line."""
    return f"{json.dumps(facts, indent=1)}\n".encode()
