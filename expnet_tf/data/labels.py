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
  quality     float32 [k]     residual in px (0 for true labels)
`labels.json` states the source, the camera model, the face model and statistics over all shards.
"""

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.files import write_whole

SCHEMA = "expnet.labels/1"
WIDTHS = {"expression": (29,), "identity": (99,), "pose": (6,), "camera": (3,), "box": (4,), "points": (68, 2),
          "quality": ()}


class LabelError(ValueError):
    """A label folder or shard is not what it should be."""


def shard_name(index: int, count: int) -> str:
    return f"labels-{index:05d}-of-{count:05d}.npz"


def write_shard(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Writes one shard under a temporary name, then renames it: a shard that exists is whole."""
    check(columns, str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    arrays: dict[str, Any] = columns
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    temporary.replace(path)


def check(columns: dict[str, np.ndarray], where: str) -> None:
    """Raises LabelError when a column is missing, of the wrong width or type, or not finite."""
    missing = sorted({"key", "subject", *WIDTHS} - set(columns))
    if missing:
        raise LabelError(f"{where}: lacks the columns {', '.join(missing)}")
    count = columns["key"].size
    for name, width in {"key": (), "subject": (), **WIDTHS}.items():
        array, kinds = columns[name], "f" if name in WIDTHS else "U"
        if array.shape != (count, *width):
            raise LabelError(f"{where}: {name} has shape {array.shape}, expected {(count, *width)}")
        if array.dtype.kind not in kinds:
            raise LabelError(f"{where}: {name} has the wrong type {array.dtype}")
        if kinds == "f" and not np.isfinite(array).all():
            raise LabelError(f"{where}: {name} holds values that are not finite")


def read_labels(folder: str | Path) -> dict[str, np.ndarray]:
    """All shards of a label folder as one dict of columns.

    Raises LabelError when there is none, when one is missing or when one is broken.
    """
    root = Path(folder)
    shards = sorted(root.glob("labels-*-of-*.npz"))
    if not shards:
        raise LabelError(f"{root}: no labels-NNNNN-of-MMMMM.npz in it")
    total = int(shards[0].stem.rsplit("-", 1)[1])
    if len(shards) != total:
        raise LabelError(f"{root}: {len(shards)} of {total} label shards are there; finish the run that writes "
                         f"them")
    parts = [read_shard(path) for path in shards]
    return {name: np.concatenate([part[name] for part in parts]) for name in ("key", "subject", *WIDTHS)}


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
    """Writes `labels.json`: the schema's name, the facts given, the mean and spread of the columns."""
    columns = read_labels(folder)
    statistics = {
        name: {"mean": np.round(columns[name].mean(0), 4).tolist(),
               "std": np.round(columns[name].std(0), 4).tolist()}
        for name in ("expression", "pose", "camera", "box")
    }
    text = json.dumps({"schema": SCHEMA, "images": len(columns["key"]),
                       "subjects": len(set(columns["subject"].tolist())), **facts, "statistics": statistics},
                      indent=1)
    write_whole(folder / "labels.json", f"{text}\n".encode())
