"""What `expnet pack` will do, before it does it: the folders' labels and images, the split by person, the shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.data import labels, packed
from expnet_tf.data.framing import CROPS, JPEG_QUALITY, Framing
from expnet_tf.data.pack_shard import Job
from expnet_tf.data.sources import Source, open_source

RECORDS_PER_SHARD = 2000
FACTOR = 1.6  # of "boxes" and "detect": room for a model's own crop at 1.25 to move, turn and grow in training
SIZES = 32, 1024
CAMERAS = ("pinhole", "orthographic")


class PackError(ValueError):
    """Labels, arguments or a folder that cannot be packed: one sentence."""


@dataclass(frozen=True)
class Options:
    """What to pack, and how; all of it is part of the plan's fingerprint."""

    crop: str = "none"  # of CROPS
    factor: float | None = None  # None: FACTOR; "none" takes none
    size: int = 128  # px
    validation_share: float = 0.05  # of the people
    max_residual: float | None = None  # px of the source image; labels above are left out
    max_active: int | None = None  # coefficients at a bound; labels above are left out
    seed: int = 0  # of the split and the order
    per_shard: int = RECORDS_PER_SHARD

    def check(self) -> None:
        """Raises PackError."""
        if self.crop not in CROPS:
            raise PackError(f"crop {self.crop!r}; {', '.join(CROPS)} are known.")
        if self.crop == "none" and self.factor is not None:
            raise PackError(f"factor {self.factor:g} has no meaning for crop none, which takes the whole image.")
        if self.factor is not None and not 0.5 <= self.factor <= 10:
            raise PackError(f"factor {self.factor:g}; 0.5 to 10 times the box can be cut out.")
        if not SIZES[0] <= self.size <= SIZES[1]:
            raise PackError(f"size {self.size}; {SIZES[0]} to {SIZES[1]} px can be packed.")
        if not 0 < self.validation_share < 1:
            raise PackError(f"validation share {self.validation_share:g}; a number between 0 and 1 is expected.")
        for name, limit in (("max-residual", self.max_residual), ("max-active", self.max_active)):
            if limit is not None and not limit >= 0:
                raise PackError(f"{name} {limit:g}; a limit of 0 or more is expected.")
        if self.seed < 0 or self.per_shard < 1:
            raise PackError(f"seed {self.seed}, {self.per_shard} records a shard: at least 0 and 1 are expected.")

    def framing(self) -> Framing:
        return Framing(self.crop, self.factor or FACTOR, self.size)


@dataclass(frozen=True)
class Folder:
    """One labels folder, opened."""

    path: Path
    columns: dict[str, np.ndarray]
    facts: dict[str, Any]  # labels.json
    source: Source
    prefix: str  # before keys and subjects, where there are several folders
    rows: np.ndarray  # rows of the columns that are packed
    numbers: np.ndarray  # their images' numbers in the source
    missing: list[str]  # keys of labels whose image the source has not
    left_out: dict[str, int]  # labels above each limit


def open_folders(folders: Sequence[str | Path], options: Options, source: str | Path | None) -> list[Folder]:
    """Opens the labels and their images. Raises PackError, LabelError, SourceError."""
    if not folders:
        raise PackError("no labels folder is named.")
    paths = [Path(folder) for folder in folders]
    names = [path.resolve().name.encode(errors="backslashreplace").decode() for path in paths]
    if len(paths) == 1:
        prefixes = [""]
    elif len(set(names)) == len(names):
        prefixes = [f"{name}/" for name in names]
    else:
        prefixes = [f"{number}-{name}/" for number, name in enumerate(names, 1)]
    opened = [_open(path, prefix, options, source) for path, prefix in zip(paths, prefixes, strict=True)]
    if common(opened, "camera") not in CAMERAS:
        raise PackError(f"{paths[0]} has the camera {common(opened, 'camera')!r}; {' and '.join(CAMERAS)} are known.")
    common(opened, "face_model")
    return opened


def common(opened: list[Folder], name: str) -> str:
    """What labels.json of all folders says of `name`; raises PackError where they differ."""
    for one in opened[1:]:
        if one.facts.get(name) != opened[0].facts.get(name):
            raise PackError(f"{name} is {opened[0].facts.get(name)!r} in {opened[0].path} and {one.facts.get(name)!r} "
                            f"in {one.path}; such labels cannot be packed together.")  # fmt: skip
    return str(opened[0].facts.get(name))


def _open(path: Path, prefix: str, options: Options, source: str | Path | None) -> Folder:
    columns = labels.read_labels(path)
    try:
        "".join(columns["subject"].tolist()).encode()  # a key that is not UTF-8 is missing in every source
    except UnicodeEncodeError as error:
        raise PackError(f"{path}: a subject's name holds {error.object[error.start]!r}, which is not UTF-8.") from None
    facts = _facts(path)
    images = open_source(_source_path(path, facts) if source is None else source)
    keep, left_out = np.ones(len(columns["key"]), bool), {}
    for name, limit, column in (
        ("residual", options.max_residual, columns["quality"]),
        ("active", options.max_active, columns.get("active")),  # true labels have no such column: none is active
    ):
        over = np.zeros(len(keep), bool) if limit is None or column is None else column > limit
        left_out[name] = int((keep & over).sum())
        keep &= ~over
    places = {key: number for number, key in enumerate(images.keys)}
    found = np.array([places.get(key, -1) for key in columns["key"].tolist()], np.int64)
    rows = np.flatnonzero(keep & (found >= 0))
    missing = columns["key"][keep & (found < 0)].tolist()
    return Folder(path, columns, facts, images, prefix, rows, found[rows], missing, left_out)


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "labels.json"
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise PackError(f"{path} does not exist; finish the run that writes the labels.") from None
    except (OSError, ValueError) as error:
        raise PackError(f"{path} cannot be read ({error}).") from error
    if not isinstance(facts, dict):
        raise PackError(f"{path} holds a {type(facts).__name__}; facts by name are expected.")
    return facts


def _source_path(folder: Path, facts: dict[str, Any]) -> Path:
    """Where labels.json says that the images are; a relative path counts from here, or else from the labels."""
    if not facts.get("source_path"):
        return folder
    path = Path(facts["source_path"])
    return folder / path if not path.exists() and (folder / path).exists() else path


def fingerprint(opened: list[Folder], options: Options) -> str:
    """sha256 over everything that decides what the shards hold, but for the images' bytes."""
    digest = hashlib.sha256(json.dumps([packed.SCHEMA, JPEG_QUALITY, vars(options)]).encode())
    for one in opened:
        known = [one.prefix, one.facts.get("camera"), one.source.describe()["fingerprint"]]
        digest.update(json.dumps(known).encode())
        for name in sorted(one.columns):
            digest.update(np.ascontiguousarray(one.columns[name]).tobytes())
    return digest.hexdigest()


def plan_jobs(root: Path, opened: list[Folder], options: Options) -> dict[str, list[Job]]:
    """The shards of each split. Raises PackError for labels of fewer than two people."""
    places = _split(opened, options)
    return {split: _shards(root, split, places[split], opened, options) for split in packed.SPLITS}


def _split(opened: list[Folder], options: Options) -> dict[str, np.ndarray]:
    """int64 [n, 2] for each split: the folder and the row of each record, in the order in which they are packed."""
    subjects = [f"{one.prefix}{name}" for one in opened for name in one.columns["subject"][one.rows].tolist()]
    # By a hash: a person's place does not hang on the other people, on their order or on that of the folders.
    people = sorted(set(subjects), key=lambda name: hashlib.sha256(f"{options.seed}:{name}".encode()).digest())
    if len(people) < 2:
        raise PackError(f"the labels have images of {len(people)} people; 2 are needed, one in each split.")
    count = min(max(1, round(options.validation_share * len(people))), len(people) - 1)
    chosen = set(people[:count])
    held_out = np.array([name in chosen for name in subjects])
    places = np.concatenate([np.stack([np.full(len(one.rows), number), one.rows], 1)
                             for number, one in enumerate(opened)])  # fmt: skip
    rng = np.random.default_rng(options.seed)
    return {"train": rng.permutation(places[~held_out]), "validation": rng.permutation(places[held_out])}


def _shards(root: Path, split: str, places: np.ndarray, opened: list[Folder], options: Options) -> list[Job]:
    count = -(-len(places) // options.per_shard)
    jobs = []
    for index, some in enumerate(np.array_split(places, count)):
        parts = []
        for number in np.unique(some[:, 0]):
            one, rows = opened[number], some[some[:, 0] == number, 1]
            columns = {name: one.columns[name][rows] for name in ("key", "subject", *labels.WIDTHS)}
            numbers = one.numbers[np.searchsorted(one.rows, rows)]
            parts.append((one.source.part(numbers.tolist()), one.prefix, columns))
        # The parts are sorted by folder: where each record of the plan is among them.
        order = np.argsort(np.argsort(some[:, 0], kind="stable"), kind="stable")
        path = root / packed.shard_name(split, index, count)
        jobs.append(Job(path, parts, order, common(opened, "camera"), options.framing()))
    return jobs
