"""`expnet pack`: labels and their images -> TFRecord shards, split by person (what they hold: packed.py).

A run that was stopped goes on: plan.json, written first, holds a fingerprint of the labels and the arguments, and
shards that are whole are kept (pack_shard.py). manifest.json comes last. Records lie in shuffled order, so that a
reader that goes through a shard from front to back meets people well mixed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.data.framing import DETECTOR, JPEG_QUALITY
from expnet_tf.data.labelling.workers import expect_replaced_workers
from expnet_tf.data.pack_plan import Folder, Options, PackError, common, fingerprint, open_folders, plan_jobs
from expnet_tf.data.pack_shard import NOTES, STATISTICS, Job, is_whole, pack_shard, read_note
from expnet_tf.data.packed import MANIFEST, MEAN, SCHEMA, SPLITS, index_name
from expnet_tf.files import write_whole

PLAN, FAILURES = "plan.json", "failures.csv"


@dataclass(frozen=True)
class Packing:
    """What became of it."""

    manifest: dict[str, Any]
    packed: int  # records written now; 0 where all was there
    failed: int  # images left out because of an error: failures.csv


def pack(
    folders: Sequence[str | Path],
    out: str | Path,
    options: Options | None = None,
    *,
    source: str | Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda images, total: None,
) -> Packing:
    """Packs label folders into `out`.

    Args:
        folders: written by `expnet synth` or `expnet label`. Of several, keys and subjects get the folder's name
            in front, so that people of two runs stay apart.
        out: made if missing; a stopped run with the same arguments goes on.
        options: None: all defaults.
        source: the images of all folders; None: labels.json says where they are, or they lie beside it.
        workers: processes; None: one a core.
        progress: called with the images done and their total, at first and as shards end.

    Raises:
        PackError: arguments that cannot be, labels that do not go together, fewer than two people, a split of
            which no image could be packed, or an `out` with something else in it.
        LabelError, SourceError: labels or images that cannot be read at all.
        OSError: `out` cannot be written.
    """
    options = options or Options()
    options.check()
    opened = open_folders(folders, options, source)
    root, mark = Path(out), fingerprint(opened, options)
    done = _found(root, mark)
    if done is not None:
        images = sum(done["splits"][split]["images"] for split in SPLITS) + done["left_out"]["failed"]
        progress(images, images)
        return Packing(done, 0, done["left_out"]["failed"])
    jobs = plan_jobs(root, opened, options)
    (root / NOTES).mkdir(parents=True, exist_ok=True)
    write_whole(root / PLAN, f"{json.dumps({'fingerprint': mark})}\n".encode())
    packed = _run([job for split in SPLITS for job in jobs[split]], workers, progress)
    notes = {split: [read_note(job.path) for job in jobs[split]] for split in SPLITS}
    failures = [(f"{one.prefix}{key}", "the source has no such image.") for one in opened for key in one.missing]
    for note in (note for split in SPLITS for note in notes[split]):
        failures += [(key, reason) for key, reason in json.loads(str(note["failures"]))]
    _write_failures(root, failures)
    for split in SPLITS:
        if not sum(len(note["places"]) for note in notes[split]):
            raise PackError(f"no image of the split {split} could be packed; {root / FAILURES} says why.")
    splits = {split: _finish_split(root, split, jobs[split], notes[split]) for split in SPLITS}
    files = {index_name(split): splits[split].pop("index") for split in SPLITS}
    files[MEAN] = _write_mean(root, notes["train"])
    manifest = {
        **_facts(opened, options, [note for split in SPLITS for note in notes[split]], len(failures)),
        "splits": splits,
        "files": files,
        "fingerprint": mark,
    }
    write_whole(root / MANIFEST, f"{json.dumps(manifest, indent=1)}\n".encode())
    for left in (root / PLAN, *root.glob(".*.tmp")):  # the second: of processes that were killed
        left.unlink()
    shutil.rmtree(root / NOTES)
    return Packing(manifest, packed, len(failures))


def _found(root: Path, mark: str) -> dict[str, Any] | None:
    """The manifest where all is done already; raises PackError where the folder holds something else."""
    for name in (MANIFEST, PLAN):
        try:
            found = json.loads((root / name).read_bytes())
            known = found["fingerprint"]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PackError(f"{root / name} cannot be read ({error!r}); choose an empty folder.") from error
        if known != mark:
            raise PackError(f"{root} holds records of other labels or other arguments; choose an empty folder.")
        return found if name == MANIFEST else None
    if any(root.glob("*.tfrecord")):
        raise PackError(f"{root} holds TFRecord files of something else; choose an empty folder.")
    return None


def _run(jobs: list[Job], workers: int | None, progress: Callable[[int, int], None]) -> int:
    """Packs the shards that are not there; returns the number of records written."""
    waiting = [job for job in jobs if not is_whole(job.path)]
    total = sum(len(job.order) for job in jobs)
    packed, done = 0, total - sum(len(job.order) for job in waiting)
    progress(done, total)
    count = min(workers or os.cpu_count() or 1, len(waiting))
    for images, written in _parallel(waiting, count) if count > 1 else map(pack_shard, waiting):
        packed += written
        done += images
        progress(done, total)
    return packed


def _parallel(jobs: list[Job], workers: int) -> Iterator[tuple[int, int]]:
    try:
        from joblib import Parallel, delayed, parallel_config
        from joblib.externals.loky.process_executor import TerminatedWorkerError
    except ImportError as error:
        raise PackError(
            "several processes need joblib (pip install 'expnet_tf[train]'); --workers 1 needs nothing."
        ) from error
    expect_replaced_workers()
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        # max_nbytes: no copies of the labels in temporary files.
        run = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs", max_nbytes=None)
        try:
            yield from run(delayed(pack_shard)(job) for job in jobs)
        except TerminatedWorkerError as error:
            raise PackError(
                "a process was killed, perhaps for want of memory; shards that are done are kept: run the same "
                "command again, with fewer --workers."
            ) from error


def _finish_split(root: Path, split: str, jobs: list[Job], notes: list[dict[str, Any]]) -> dict[str, Any]:
    """Writes the split's index; returns its share of the manifest, and the index's sha256 as `index`."""
    shards, people = {}, set()
    places = []
    for number, (job, note) in enumerate(zip(jobs, notes, strict=True)):
        count = len(note["places"])
        shards[job.path.name] = {"images": count, "bytes": int(note["bytes"]), "sha256": str(note["sha256"])}
        people |= set(note["subjects"].tolist())
        places.append(np.c_[np.full(count, number), note["places"]])
    index = np.concatenate(places).astype(np.int64)
    digest = _write_array(root / index_name(split), index)
    statistics = {}
    for name in STATISTICS:
        total, squares = sum(note[f"sums_{name}"] for note in notes) / len(index)
        spread = np.sqrt(np.maximum(squares - total**2, 0))
        statistics[name] = {"mean": total.round(5).tolist(), "std": spread.round(5).tolist()}
    facts = {"images": len(index), "subjects": len(people), "shards": shards, "statistics": statistics}
    return {**facts, "index": digest}


def _facts(opened: list[Folder], options: Options, notes: list[dict[str, Any]], failed: int) -> dict[str, Any]:
    """The manifest but for the splits."""
    factors = np.concatenate([note["factor"] for note in notes])
    low, middle, high = (round(float(value), 4) for value in np.percentile(factors, [5, 50, 95]))
    return {
        "schema": SCHEMA,
        "size": options.size,
        "crop": options.crop,
        "factor": middle if options.crop == "none" else options.framing().factor,
        "factor_found": {"percentile 5": low, "median": middle, "percentile 95": high},
        "padding": round(float(np.concatenate([note["padding"] for note in notes]).mean()), 4),
        "detector": DETECTOR if options.crop == "detect" else "labels",
        "camera": common(opened, "camera"),
        "face_model": common(opened, "face_model"),
        "jpeg": {"quality": JPEG_QUALITY, "sampling": "4:4:4", "unchanged": sum(int(n["unchanged"]) for n in notes)},
        "split": {"by": "subject", "validation_share": options.validation_share, "seed": options.seed},
        "limits": {"residual": options.max_residual, "active": options.max_active},
        "left_out": {
            "residual": sum(one.left_out["residual"] for one in opened),
            "active": sum(one.left_out["active"] for one in opened),
            "failed": failed,
        },
        "labels": [
            {
                "prefix": one.prefix,
                "images": one.source.describe(),
                "facts": {name: one.facts[name] for name in one.facts if name not in ("statistics", "source_path")},
            }
            for one in opened
        ],
    }


def _write_mean(root: Path, notes: list[dict[str, Any]]) -> str:
    """The mean image of the training split; sums of whole numbers, so no order or share of the work changes it.

    Returns its sha256.
    """
    count = sum(len(note["places"]) for note in notes)
    return _write_array(root / MEAN, (sum(note["pixels"] for note in notes) / count).astype(np.float32))


def _write_failures(root: Path, failures: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("key", "reason"), *failures])
    # Reasons name paths, which need not be UTF-8.
    write_whole(root / FAILURES, text.getvalue().encode(errors="backslashreplace"))


def _write_array(path: Path, array: np.ndarray) -> str:
    """Returns the sha256 of the file."""
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    write_whole(path, data.getvalue())
    return hashlib.sha256(data.getvalue()).hexdigest()
