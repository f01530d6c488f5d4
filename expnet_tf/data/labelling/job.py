"""A labelling run: which images form which shard, what is left to do, who does it, and what it comes to.

The folder of a run holds
  run.json                       what was asked for, of which source: a run goes on only where that is the same
  labels-NNNNN-of-MMMMM.npz      the labels (labels.py), and records/NNNNN-of-MMMMM.json beside each (labelling.py)
  failures.csv                   key, stage, reason, detail of each image that has no label
  labels.json, timings.json      what the labels are, with statistics; seconds by stage
The last three are written when all shards are there. labels.json is the same however the run came about.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from expnet_tf import __version__
from expnet_tf.data import labels
from expnet_tf.data.fitting import BOUND
from expnet_tf.data.labelling.recipe import Recipe, RecipeError, open_tools
from expnet_tf.data.labelling.shard import Record, Share, make_shard, read_record
from expnet_tf.data.labelling.sightings import Failure
from expnet_tf.data.sources import Source
from expnet_tf.files import write_whole

IMAGES_PER_SHARD = 500
RUN = "run.json"
Runner = Callable[[list[Share]], Iterable[Record]]
"""Makes all shards, in any order, and gives their records as they are done."""


@dataclass(frozen=True)
class Summary:
    """What became of a run."""

    labelled: int
    failed: int
    made: int  # shards made now; the others were there


def one_by_one(shares: list[Share]) -> Iterator[Record]:
    """The runner of this process."""
    for share in shares:
        yield make_shard(share)


def label(
    source: Source,
    out: str | Path,
    recipe: Recipe,
    run: Runner = one_by_one,
    progress: Callable[[int, int], None] = lambda images, total: None,
    images_per_shard: int = IMAGES_PER_SHARD,
) -> Summary:
    """Labels all images of a source into the folder `out`; goes on with what an earlier run left.

    run: one_by_one here, or one of workers.py. progress: called with the images done and their total as shards end.

    Raises RecipeError (also where `out` belongs to another run), labels.LabelError, and what `run`
    raises.
    """
    root = Path(out).resolve()
    origin = source.path.resolve()
    if root == origin:
        raise RecipeError(f"--out {out} is the source itself; its own labels would be written over")
    truth = str(origin) if source.kind == "synthetic" else None
    tools = open_tools(recipe, Path(truth) if truth else None)
    facts = {"expnet_tf": __version__, "recipe": asdict(recipe), **tools.facts, "source": source.describe(),
             "images_per_shard": images_per_shard}  # fmt: skip
    _claim(root, facts)

    plan = shards(source, images_per_shard)
    shares = [
        Share(index, len(plan), source.part(rows), truth, recipe, tools.facts, str(root))
        for index, rows in enumerate(plan)
    ]
    todo = [share for share in shares if not (share.labels.exists() and share.record.exists())]
    done = len(source) - sum(len(share.source) for share in todo)
    progress(done, len(source))
    for record in run(todo):
        done += record.images
        progress(done, len(source))
    if absent := [share.labels.name for share in shares if not share.labels.exists()]:
        raise RecipeError(f"{root}: {absent[0]} was made but is not here; do the workers see the same folder?")

    records = [read_record(share.record) for share in shares]
    failures = [Failure(key, "read", "the source is damaged", reason) for key, reason in source.unreadable]
    failures += [failure for record in records for failure in record.failures]
    _write_failures(root / "failures.csv", failures)
    _write_timings(root / "timings.json", records)
    named = {name: facts[name] for name in facts if name not in ("recipe", "images_per_shard")}
    statistics = {**_statistics(root), "failed": _shares_of(failures, len(source) + len(source.unreadable))}
    labels.write_summary(root, {**named, "source_path": str(origin), "statistics": statistics})
    for left in (*root.glob(".*.tmp"), *root.glob("records/.*.tmp")):  # of killed processes
        left.unlink(missing_ok=True)
    return Summary(sum(record.labelled for record in records), len(failures), len(todo))


def shards(source: Source, images: int) -> list[np.ndarray]:
    """Which images, int [n], form each shard: whole people in the order of the source, until there are `images`."""
    people: dict[str, list[int]] = {}
    for row, identity in enumerate(source.identities):
        people.setdefault(identity, []).append(row)
    plan: list[list[int]] = [[]]
    for rows in people.values():
        if len(plan[-1]) >= images:
            plan.append([])
        plan[-1] += rows
    return [np.sort(np.array(rows, np.int64)) for rows in plan]


def _claim(root: Path, facts: dict) -> None:
    """Writes run.json, or checks that the one in the folder says the same. Raises RecipeError."""
    text = f"{json.dumps(facts, indent=1)}\n"
    path = root / RUN
    if not path.exists():
        if any(root.glob("labels-*-of-*.npz")):
            raise RecipeError(f"{root} holds labels that expnet label did not make; choose an empty folder")
        root.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
        return
    try:
        before = json.loads(path.read_text())
    except ValueError as error:
        raise RecipeError(f"{path} is damaged ({error}); choose an empty folder") from error
    for name, value in json.loads(text).items():
        if (old := before.get(name)) != value:
            was, now = _first_difference(old, value)
            raise RecipeError(
                f"{root} holds a run with another {name}: it was {was}, now it is {now}; use the same arguments to go "
                f"on, or choose an empty folder"
            )


def _first_difference(old: object, new: object) -> tuple[str, str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in (*new, *old):
            if old.get(name) != new.get(name):
                was, now = _first_difference(old.get(name), new.get(name))
                return f"{name} {was}", f"{name} {now}"
    return str(old), str(new)


def _write_failures(path: Path, failures: list[Failure]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["key", "stage", "reason", "detail"])
    writer.writerows([failure.key, failure.stage, failure.reason, failure.detail] for failure in failures)
    write_whole(path, text.getvalue().encode(errors="backslashreplace"))


def _write_timings(path: Path, records: list[Record]) -> None:
    seconds: Counter[str] = Counter()
    for record in records:
        seconds.update(record.seconds)
    total = sum(seconds.values())
    facts = {
        "images": sum(record.images for record in records),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "share": {name: round(value / total, 4) for name, value in seconds.items()} if total else {},
    }
    write_whole(path, f"{json.dumps(facts, indent=1)}\n".encode())


def _statistics(root: Path) -> dict:
    """Percentiles of the residual, how many coefficients are at a bound, how often each of them is."""
    quality, active, bounds, images = [], [], 0.0, 0
    for path in labels.shard_paths(root):
        columns = labels.read_shard(path)
        quality.append(columns["quality"])
        active.append(columns["active"])
        images += len(columns["key"])
        bounds = bounds + (np.abs(columns["expression"]) >= BOUND).sum(0)
    residuals, counts = np.concatenate(quality), np.concatenate(active).astype(int)
    if not images:
        return {}
    marks = (1, 5, 25, 50, 75, 95, 99)
    return {
        "quality": dict(zip(map(str, marks), np.round(np.percentile(residuals, marks), 4).tolist(), strict=True)),
        "active": {str(number): int(count) for number, count in enumerate(np.bincount(counts))},
        "share_at_bound": np.round(bounds / images, 4).tolist(),
    }


def _shares_of(failures: list[Failure], images: int) -> dict:
    """{"stage: reason": {images, share}}, the most frequent first."""
    counts = Counter(f"{failure.stage}: {failure.reason}" for failure in failures)
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return {name: {"images": count, "share": round(count / images, 5)} for name, count in ordered}
