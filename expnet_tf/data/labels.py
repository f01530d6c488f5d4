"""The label files: one schema for true and for fitted labels.

A label folder holds `labels-NNNNN-of-MMMMM.npz` shards and `labels.json`. Each shard has, for its k images:
  key         str [k]         path of the image below the image folder, with forward slashes
  subject     str [k]         whose face it is
  expression  float32 [k, 29] z, sigma units
  identity    float32 [k, 99] alpha, sigma units
  pose        float32 [k, 6]  rotation vector (rad) and translation (mm): X_camera = R X + t
  camera      float32 [k, 3]  focal length and principal point (f, cx, cy) in px of the image
  box         float32 [k, 4]  box_x, box_y, box_w, box_h in px of the image: forehead to chin, ear to ear
  points      float32 [k, 68, 2] landmarks in px, iBUG order
  quality     float32 [k]     rms distance of a landmark in px of the image, the residual of eq. (2) (0 for true labels)
and may have
  active      float32 [k]     coefficients of the expression that ended at a bound (absent: true labels, none)
A shard may have no rows. `labels.json` states the source, the camera, the face model and statistics over all shards.

The camera is "pinhole", as above, or "orthographic". Then pose is the rotation vector (rad), the scale (px per mm)
and the offset tx, ty (px) of scaled orthography (views.py), and the column camera is 0.
Images lie in the label folder itself unless `labels.json` names a "source_path".
"""

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.files import write_whole

SCHEMA = "expnet.labels/1"
WIDTHS = {"expression": (29,), "identity": (99,), "pose": (6,), "camera": (3,), "box": (4,), "points": (68, 2),
          "quality": ()}
OPTIONAL: dict[str, tuple[int, ...]] = {"active": ()}


class LabelError(ValueError):
    """A label folder or shard is not what it should be."""


def shard_name(index: int, count: int) -> str:
    return f"labels-{index:05d}-of-{count:05d}.npz"


def write_shard(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Writes one shard under a temporary name, then renames it: a shard that exists is whole."""
    check(columns, str(path))
    arrays: dict[str, Any] = columns
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    write_whole(path, file.getvalue())


def check(columns: dict[str, np.ndarray], where: str) -> None:
    """Raises LabelError when a column is missing, of the wrong width or type, or not finite."""
    missing = sorted({"key", "subject", *WIDTHS} - set(columns))
    if missing:
        raise LabelError(f"{where}: lacks the columns {', '.join(missing)}")
    count = columns["key"].size
    for name, width in {"key": (), "subject": (), **WIDTHS, **OPTIONAL}.items():
        if name in OPTIONAL and name not in columns:
            continue
        array, kinds = columns[name], "U" if name in ("key", "subject") else "f"
        if array.shape != (count, *width):
            raise LabelError(f"{where}: {name} has shape {array.shape}, expected {(count, *width)}")
        if array.dtype.kind not in kinds:
            raise LabelError(f"{where}: {name} has the wrong type {array.dtype}")
        if kinds == "f" and not np.isfinite(array).all():
            raise LabelError(f"{where}: {name} holds values that are not finite")


def shard_paths(folder: str | Path) -> list[Path]:
    """The shards of a label folder, in order. Raises LabelError when there is none or one is missing."""
    root = Path(folder)
    shards = sorted(root.glob("labels-*-of-*.npz"))
    if not shards:
        raise LabelError(f"{root}: no labels-NNNNN-of-MMMMM.npz in it")
    total = int(shards[0].stem.rsplit("-", 1)[1])
    if len(shards) != total:
        raise LabelError(f"{root}: {len(shards)} of {total} label shards are there; finish the run that writes "
                         f"them")
    return shards


def read_labels(folder: str | Path) -> dict[str, np.ndarray]:
    """All shards of a label folder as one dict of columns; `active` only where a shard has it (0 in the others).

    Raises LabelError when there is none, when one is missing or when one is broken.
    """
    parts = [read_shard(path) for path in shard_paths(folder)]
    names = ["key", "subject", *WIDTHS]
    for name, width in OPTIONAL.items():
        if any(name in part for part in parts):
            names.append(name)
            for part in parts:
                part.setdefault(name, np.zeros((len(part["key"]), *width), np.float32))
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def read_shard(path: Path) -> dict[str, np.ndarray]:
    """One shard as a dict of columns. Raises LabelError when it is broken."""
    try:
        # Opened here: np.load leaves a file that it cannot read open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            columns = {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise LabelError(f"{path}: not a readable label shard ({error})") from error
    check(columns, str(path))
    return columns


def write_summary(folder: Path, facts: dict) -> None:
    """Writes `labels.json`: the schema's name, the facts given, the mean and spread of the columns.

    Statistics in `facts` (a dict under "statistics") are kept beside those. Reads one shard at a time.
    """
    subjects: set[str] = set()
    names = ("expression", "pose", "camera", "box")
    images = 0
    sums = {name: np.zeros((2, *WIDTHS[name])) for name in names}
    for path in shard_paths(folder):
        columns = read_shard(path)
        images += len(columns["key"])
        subjects.update(columns["subject"].tolist())
        for name in names:
            values = columns[name].astype(np.float64)
            sums[name] += values.sum(0), (values**2).sum(0)
    statistics = {}
    for name in names:
        mean, square = sums[name] / max(images, 1)
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        statistics[name] = {"mean": np.round(mean, 4).tolist(), "std": np.round(deviation, 4).tolist()}
    own = facts.get("statistics", {})
    text = json.dumps({"schema": SCHEMA, "images": images, "subjects": len(subjects), **facts,
                       "statistics": {**statistics, **own}}, indent=1)
    write_whole(folder / "labels.json", f"{text}\n".encode())
