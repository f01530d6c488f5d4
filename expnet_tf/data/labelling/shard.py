"""One shard of labels: the images of some people, from pixels to codes (section III-B of the paper).

A shard is the unit of work, and idempotent: the same images and recipe give the same file, whoever makes it and
however often. Its record (which images failed and why, and how long each stage took) is written first, the labels
last, both whole or not at all: where the labels are, the shard is done. All images of a person are in one shard,
since they share one shape.
"""

from __future__ import annotations

import json
import threading
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from expnet_tf.data import labels
from expnet_tf.data.fitting import fit, solve_pose
from expnet_tf.data.labelling.poses import Placed, to_orthographic, yaw
from expnet_tf.data.labelling.recipe import Recipe, Tools, open_tools
from expnet_tf.data.labelling.shapes import pool
from expnet_tf.data.labelling.sightings import INNER, Clock, Failure, Sighting, observe
from expnet_tf.data.sources import Source
from expnet_tf.files import write_whole

JAW = slice(0, 17)


@dataclass(frozen=True)
class Share:
    """A shard to be made."""

    index: int
    count: int  # of shards in the run
    source: Source  # the shard's images alone
    truth: str | None  # the synthetic folder, where the recipe asks for its labels
    recipe: Recipe
    tools: dict  # what Tools.facts must be on the machine that makes the shard
    out: str  # absolute path of the label folder

    @property
    def labels(self) -> Path:
        return Path(self.out) / labels.shard_name(self.index, self.count)

    @property
    def record(self) -> Path:
        return Path(self.out) / "records" / f"{self.index:05d}-of-{self.count:05d}.json"


@dataclass(frozen=True)
class Record:
    """What is known of a finished shard besides its labels."""

    index: int
    images: int  # of the source
    labelled: int
    failures: list[Failure]  # in the order of the source
    seconds: dict[str, float]  # by stage


class ToolsDiffer(RuntimeError):
    """A worker has other models or programs than the run was started with."""


_one_at_a_time = threading.Lock()  # networks, dlib and BlazeFace of a process serve one shard at a time


def make_shard(share: Share) -> Record:
    """Makes the shard, or does nothing where it is made. Raises ToolsDiffer, and RecipeError (open_tools)."""
    with _one_at_a_time:
        if share.labels.exists() and share.record.exists():
            return read_record(share.record)
        tools = open_tools(share.recipe, Path(share.truth) if share.truth else None)
        if (here := tools.facts) != share.tools:
            name = next(name for name in here if here[name] != share.tools.get(name))
            raise ToolsDiffer(f"a worker's {name} is {here[name]}; the run was started with {share.tools.get(name)}")
        clock = Clock()
        sightings, failures = observe(share.source, tools, clock)
        columns, more = solve(sightings, share.source, tools, clock)
        order = {key: row for row, key in enumerate(share.source.keys)}
        failures = sorted(failures + more, key=lambda failure: order[failure.key])
        share.record.parent.mkdir(parents=True, exist_ok=True)
        seconds = {name: round(value, 3) for name, value in clock.seconds.items()}
        record = Record(share.index, len(share.source), len(columns["key"]), failures, seconds)
        _write_record(share.record, record)
        labels.write_shard(share.labels, columns)
        return record


def solve(
    sightings: list[Sighting], source: Source, tools: Tools, clock: Clock
) -> tuple[dict[str, np.ndarray], list[Failure]]:
    """Pooled shapes, poses and eq. (2): the label columns, and why some of the sightings with points have none."""
    shapes = _shapes(sightings, source, tools)
    faces: list[tuple[Sighting, Placed]] = []
    failures: list[Failure] = []
    for one in sightings:
        if one.points is None:
            continue
        network = tools.poses.network
        heads, factor = (one.heads[network], tools.networks[network].info.crop_factor) if network else (None, 0.0)
        placed = tools.poses.find(one.key, one.box, heads, factor)
        if one.subject not in shapes:
            failures.append(Failure(one.key, "shape", "no estimate of the person's shape"))
        elif placed is None:
            failures.append(Failure(one.key, "pose", "none in the file"))
        else:
            faces.append((one, placed))
    if not faces:
        return _columns(faces, shapes, tools, None), failures

    points = np.stack([one.points for one, _ in faces if one.points is not None])
    camera = np.stack([placed.camera for _, placed in faces])
    codes = np.stack([shapes[one.subject] for one, _ in faces])
    shape = tools.model.landmarks(codes)
    flat = tools.recipe.camera == "orthographic"
    with clock.stage("pose"):
        if tools.poses.solved:
            inner = np.zeros(points.shape[1])
            inner[INNER] = 1.0
            found = solve_pose(points, shape, None if flat else camera, weights=inner)
            pose, reason = found.pose, found.reason
        else:
            pose = np.stack([placed.pose for _, placed in faces if placed.pose is not None])
            reason = np.full(len(pose), "", "U64")
            if flat:
                pose = to_orthographic(pose, camera, shape)
    with clock.stage("fit"):
        weights = np.ones(points.shape[:2])
        if not tools.landmarks.jaw_is_fixed:
            weights[np.nan_to_num(yaw(pose)) > tools.recipe.jaw, JAW] = 0.0
        solution = fit(
            tools.model, points, shape, pose, None if flat else camera, weights=weights, noise=tools.recipe.prior,
            refine_pose=tools.poses.solved,
        )  # fmt: skip
    good = (reason == "") & solution.converged
    for row in np.flatnonzero(~good):
        stage, why = ("pose", reason[row]) if reason[row] else ("fit", solution.reason[row])
        failures.append(Failure(faces[row][0].key, stage, str(why)))
    kept = [face for face, fine in zip(faces, good, strict=True) if fine]
    columns = _columns(kept, shapes, tools, {
        "expression": solution.expression[good], "pose": solution.pose[good],
        "camera": np.zeros_like(camera[good]) if flat else camera[good],
        "quality": solution.rms[good], "active": solution.active[good],
    })  # fmt: skip
    return columns, failures


def _shapes(sightings: list[Sighting], source: Source, tools: Tools) -> dict[str, np.ndarray]:
    """{subject: identity code}, pooled over all images of the source, with a face or without."""
    seen = {one.key: one for one in sightings}
    estimates, weights = [], []
    for key in source.keys:
        one = seen.get(key)
        heads = one.heads[tools.shapes.network] if one and tools.shapes.network else None
        estimates.append(tools.shapes.find(key, heads))
        weights.append(max(one.confidence or 0.0, 0.0) if one and one.points is not None else 0.0)
    return pool(source.identities, estimates, weights if tools.recipe.pool == "confidence" else None)


def _columns(
    faces: list[tuple[Sighting, Placed]], shapes: dict[str, np.ndarray], tools: Tools,
    solved: dict[str, np.ndarray] | None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The columns of labels.py; solved None: no rows."""
    widths = {**labels.WIDTHS, **labels.OPTIONAL}
    rows = {name: np.zeros((0, *width)) for name, width in widths.items()}
    if faces and solved:
        rows = {
            **solved,
            "identity": np.stack([shapes[one.subject] for one, _ in faces]),
            "box": np.array([one.box for one, _ in faces]),
            "points": np.stack([one.points for one, _ in faces if one.points is not None]),
        }
    texts = {"key": [one.key for one, _ in faces], "subject": [one.subject for one, _ in faces]}
    return {
        **{name: np.array(values, np.str_) for name, values in texts.items()},
        **{name: rows[name].astype(np.float32) for name in widths},
    }


def _write_record(path: Path, record: Record) -> None:
    failures = [astuple(failure) for failure in record.failures]
    facts = {**record.__dict__, "failures": failures}
    write_whole(path, f"{json.dumps(facts, indent=1)}\n".encode())


def read_record(path: Path) -> Record:
    """The record that make_shard() wrote."""
    facts = json.loads(path.read_text())
    return Record(**{**facts, "failures": [Failure(*failure) for failure in facts["failures"]]})
