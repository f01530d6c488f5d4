"""Packed folders: what is in one, and whether it is whole (written by pack.py, read by records.py).

A packed folder, written by `expnet pack` (pack.py), holds for each split TFRecord shards and `SPLIT.index.npy`, int64
[n, 3]: shard number, offset and length of each record. mean_image.npy is the mean of the training split, manifest.json
says how all of it was made, with the sha256 of each file. A record is a tf.train.Example:
  image       the crop, S x S, as JPEG
  key         where the image is from, UTF-8          subject  whose face it is, UTF-8
  expression  float32 [29] sigma units                identity float32 [99] sigma units
  pose        float32 [6], as in the label files      camera   float32 [3]: f, cx, cy
  box         float32 [4]: x, y, w, h                 points   float32 [68, 2]
  quality     float32 [1]: residual
Focal length, centre, box, points, residual, and under scaled orthography the pose's scale, tx and ty, are in px of
the stored crop.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.data import labels

SCHEMA = "expnet.packed/1"
MANIFEST = "manifest.json"
MEAN = "mean_image.npy"
SPLITS = ("train", "validation")
WIDTHS = {**labels.WIDTHS, "quality": (1,)}


class RecordError(ValueError):
    """A packed folder, shard or record that cannot be used: one sentence that names the file."""


@dataclass(frozen=True)
class Packed:
    """A packed folder, as its manifest states it."""

    folder: Path
    size: int  # S, px
    crop: str  # none, boxes, detect
    factor: float  # side of the crop over max(w, h) of the box; with crop "none" the median of what was found
    detector: str  # whose boxes the crops are about: "labels", or the detector's name
    camera: str  # pinhole, orthographic
    counts: dict[str, int]  # records of each split
    shards: dict[str, list[Path]]
    manifest: dict[str, Any]

    def mean_image(self) -> np.ndarray:
        """float32 [S, S, 3]: the mean of the training split's images. Raises RecordError."""
        mean = self._array(MEAN)
        if mean.shape != (self.size, self.size, 3) or mean.dtype != np.float32:
            raise RecordError(f"{self.folder / MEAN} is {mean.dtype} {mean.shape}; pack the labels again.")
        return mean

    def places(self, split: str) -> np.ndarray:
        """int64 [n, 3]: number of the shard, offset and length of each record, all of them inside their shards.

        Raises RecordError for an unknown split or an index that does not fit the manifest.
        """
        if split not in SPLITS:
            raise RecordError(f"{self.folder} has no split {split!r}; it has {' and '.join(SPLITS)}.")
        path, count = self.folder / index_name(split), self.counts[split]
        places = self._array(path.name)
        if places.shape != (count, 3) or places.dtype != np.int64:
            raise RecordError(f"{path} has shape {places.shape}; the manifest says {count} records.")
        shard, offset, length = places.T
        if count and not 0 <= shard.min() <= shard.max() < len(self.shards[split]):
            raise RecordError(f"{path} names shards that are not there; pack the labels again.")
        sizes = np.array([self.manifest["splits"][split]["shards"][one.name]["bytes"] for one in self.shards[split]])
        # A difference: the sum of two large numbers may not fit int64.
        wrong = (offset < 0) | (length < 0) | (offset > sizes[shard] - length)
        if wrong.any():
            row = int(wrong.argmax())
            raise RecordError(
                f"{path}: record {row} has {length[row]:,} bytes at byte {offset[row]:,} of a shard of "
                f"{sizes[shard[row]]:,}; pack the labels again."
            )
        return places

    def check_files(self) -> None:
        """Compares the mean image and the indexes with the manifest's sha256. Raises RecordError."""
        for name in (MEAN, *map(index_name, SPLITS)):
            self._bytes(name)

    def _bytes(self, name: str) -> bytes:
        path = self.folder / name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RecordError(f"{path} cannot be read ({error.strerror or error}); pack the labels again.") from error
        # Folders packed before there were sums have none.
        expected = self.manifest.get("files", {}).get(name)
        if expected is not None and hashlib.sha256(data).hexdigest() != expected:
            raise RecordError(f"{path} is not the file that was packed (its sha256 differs); pack the labels again.")
        return data

    def _array(self, name: str) -> np.ndarray:
        data = io.BytesIO(self._bytes(name))
        try:
            array: np.ndarray = np.load(data, allow_pickle=False)
            return array
        except (ValueError, EOFError, OverflowError, MemoryError) as error:
            raise RecordError(f"{self.folder / name} cannot be read ({error}); pack the labels again.") from error


def shard_name(split: str, index: int, count: int) -> str:
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def index_name(split: str) -> str:
    return f"{split}.index.npy"


def open_packed(folder: str | Path) -> Packed:
    """The packed folder; reads no record.

    Raises:
        RecordError: no manifest (packing has not ended), another schema, a shard that is gone or of another length,
            or a mean image or index that is not the one that was packed.
    """
    root = Path(folder)
    path = root / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        state = "no such folder"
        if root.is_dir():
            begun = any(root.glob("*.tfrecord"))
            state = "packing has not ended there; run expnet pack again" if begun else "expnet pack makes such a folder"
        raise RecordError(f"{path} does not exist ({state}).") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read ({error}).") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else None
        raise RecordError(f"{path} has the schema {found!r}; {SCHEMA!r} is read.")
    try:
        shards = {split: [root / name for name in manifest["splits"][split]["shards"]] for split in SPLITS}
        counts = {split: int(manifest["splits"][split]["images"]) for split in SPLITS}
        sizes = {
            path: manifest["splits"][split]["shards"][path.name]["bytes"] for split in SPLITS for path in shards[split]
        }
        size, factor = int(manifest["size"]), float(manifest["factor"])
        names = {name: str(manifest[name]) for name in ("crop", "detector", "camera")}
        files = {str(name): str(digest) for name, digest in manifest.get("files", {}).items()}
        if files and (absent := {MEAN, *map(index_name, SPLITS)} - set(files)):
            raise KeyError(min(absent))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{path} lacks or garbles {error}; pack the labels again.") from error
    for shard, length in sizes.items():
        if not shard.is_file() or shard.stat().st_size != length:
            state = f"has {shard.stat().st_size:,} bytes" if shard.is_file() else "is not there"
            raise RecordError(f"{shard} {state}; the manifest says {length:,} bytes.")
    packed = Packed(root, size, factor=factor, counts=counts, shards=shards, manifest=manifest, **names)
    packed.check_files()
    return packed
