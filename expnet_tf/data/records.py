"""Packed folders: what a record holds, and reading them with tf.data or with plain Python, in the same order.

A packed folder, written by `expnet pack` (pack.py), holds for each split TFRecord shards and
`SPLIT.index.npy`, int64 [n, 3]: shard number, offset and length of each record. Records are read by their place,
so an epoch is a true permutation of the whole split, given by (seed, epoch) alone, and a run that was stopped
begins at any batch without reading those before. A record is a tf.train.Example:
  image       the crop, S x S, as JPEG
  key         where the image is from, UTF-8          subject  whose face it is, UTF-8
  expression  float32 [29] sigma units                identity float32 [99] sigma units
  pose        float32 [6], as in the label files      camera   float32 [3]: f, cx, cy
  box         float32 [4]: x, y, w, h                 points   float32 [68, 2]
  quality     float32 [1]: residual
Focal length, centre, box, points, residual, and under scaled orthography the pose's scale, tx and ty, are in px of
the stored crop. The pixels are the same on both paths, bit for bit.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from expnet_tf.data import labels
from expnet_tf.data.tfrecord import FormatError, decode_example, unframe

if TYPE_CHECKING:
    import tensorflow as tf

SCHEMA = "expnet.packed/1"
MANIFEST = "manifest.json"
SPLITS = ("train", "validation")
WIDTHS = {**labels.WIDTHS, "quality": (1,)}
MAX_OPEN = 100  # shards of a split that are kept open; a process may often have 1,024 files, on macOS 256


class RecordError(ValueError):
    """A packed folder, shard or record that cannot be used: one sentence that names the file."""


class Example(NamedTuple):
    """One record."""

    image: np.ndarray  # uint8 [S, S, 3], RGB
    labels: dict[str, np.ndarray]  # float32, WIDTHS
    key: str
    subject: str


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
        mean = _array(self.folder / "mean_image.npy")
        if mean.shape != (self.size, self.size, 3) or mean.dtype != np.float32:
            raise RecordError(f"{self.folder / 'mean_image.npy'} is {mean.dtype} {mean.shape}; pack the labels again.")
        return mean


def shard_name(split: str, index: int, count: int) -> str:
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def index_name(split: str) -> str:
    return f"{split}.index.npy"


def open_packed(folder: str | Path) -> Packed:
    """The packed folder; reads no record.

    Raises:
        RecordError: no manifest (packing has not ended), another schema, or a shard that is gone or of another length.
    """
    root = Path(folder)
    path = root / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        state = "packing has not ended there; run expnet pack again" if root.is_dir() else "no such folder"
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
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{path} lacks or garbles {error}; pack the labels again.") from error
    for shard, length in sizes.items():
        if not shard.is_file() or shard.stat().st_size != length:
            state = f"has {shard.stat().st_size:,} bytes" if shard.is_file() else "is not there"
            raise RecordError(f"{shard} {state}; the manifest says {length:,} bytes.")
    return Packed(root, size, factor=factor, counts=counts, shards=shards, manifest=manifest, **names)


class Records:
    """The records of one split by number: a `len()` and an index, which is all that loaders such as grain ask for.

    Can be pickled and used by several threads; shards are opened where they are read.
    """

    def __init__(self, packed: Packed, split: str) -> None:
        """Raises RecordError for an unknown split or an index that does not fit the manifest."""
        if split not in SPLITS:
            raise RecordError(f"{packed.folder} has no split {split!r}; it has {' and '.join(SPLITS)}.")
        path = packed.folder / index_name(split)
        self._places = _array(path)
        self._paths = packed.shards[split]
        self._size = packed.size
        self._files: dict[int, int] = {}
        count = packed.counts[split]
        if self._places.shape != (count, 3) or self._places.dtype != np.int64:
            raise RecordError(f"{path} has shape {self._places.shape}; the manifest says {count} records.")
        if count and not 0 <= self._places[:, 0].min() <= self._places[:, 0].max() < len(self._paths):
            raise RecordError(f"{path} names shards that are not there; pack the labels again.")

    def __len__(self) -> int:
        return len(self._places)

    def raw(self, index: int) -> bytes:
        """The tf.train.Example of record `index`, its checksums verified. Raises RecordError."""
        shard, offset, length = (int(number) for number in self._places[index])
        try:
            return unframe(self._read(shard, offset, length))
        except OSError as error:
            raise RecordError(f"{self._paths[shard]} cannot be read ({error.strerror or error}).") from error
        except FormatError as error:
            raise RecordError(f"{self._where(index)} {error}; pack the labels again.") from error

    def _read(self, shard: int, offset: int, length: int) -> bytes:
        file = self._files.get(shard)
        if file is not None:
            return os.pread(file, length, offset)
        file = os.open(self._paths[shard], os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(file, length, offset)
        finally:
            # Kept for the next record, unless another thread was faster or the process might run out of files.
            if len(self._files) >= MAX_OPEN or self._files.setdefault(shard, file) != file:
                os.close(file)

    def __getitem__(self, index: int) -> Example:
        """Record `index`, decoded by OpenCV. Raises RecordError; IndexError past the end."""
        try:
            features = decode_example(self.raw(index))
        except FormatError as error:
            raise RecordError(f"{self._where(index)} {error}.") from error
        image = features.get("image")
        if not isinstance(image, bytes):
            raise RecordError(f"{self._where(index)} has no image.")
        # As TensorFlow reads it: pack stores nothing that an EXIF orientation would turn.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), flags) if image else None
        if pixels is None or pixels.shape != (self._size, self._size, 3):
            what = "does not decode" if pixels is None else f"is {pixels.shape[1]} x {pixels.shape[0]} px"
            raise RecordError(f"{self._where(index)} has an image that {what}; {self._size} px are expected.")
        values = {}
        for name, width in WIDTHS.items():
            array = features.get(name)
            if not isinstance(array, np.ndarray) or array.size != np.prod(width):
                raise RecordError(f"{self._where(index)} has no {name} of {int(np.prod(width))} numbers.")
            values[name] = array.reshape(width)
        texts = [features.get(name) for name in ("key", "subject")]
        key, subject = (text.decode(errors="replace") if isinstance(text, bytes) else "" for text in texts)
        return Example(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), values, key, subject)

    def _where(self, index: int) -> str:
        shard, offset, _ = (int(number) for number in self._places[index])
        return f"{self._paths[shard]}: the record at byte {offset} (number {index})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}

    def __del__(self) -> None:
        for file in self.__dict__.get("_files", {}).values():
            os.close(file)


def batches(count: int, batch_size: int, seed: int | None, epoch: int = 0, skip: int = 0) -> list[np.ndarray]:
    """Record numbers of each batch of an epoch, the first `skip` left out.

    With a seed: a permutation given by (seed, epoch) alone, the last short batch dropped. Without: stored order,
    every record once. Raises ValueError for a batch size or skip that cannot be.
    """
    if batch_size < 1 or skip < 0:
        raise ValueError(f"batch_size {batch_size}, skip {skip}: at least 1 and 0 are expected.")
    if seed is None:
        order, end = np.arange(count), count
    else:
        if count < batch_size:
            raise ValueError(f"{count} records do not fill one batch of {batch_size}.")
        order, end = np.random.default_rng([seed, epoch]).permutation(count), count - count % batch_size
    return [order[first : min(first + batch_size, end)] for first in range(skip * batch_size, end, batch_size)]


def dataset(
    packed: Packed,
    split: str,
    batch_size: int,
    *,
    seed: int | None = None,
    epoch: int = 0,
    skip: int = 0,
    deterministic: bool = True,
) -> tf.data.Dataset:
    """One epoch as tf.data: (uint8 [B, S, S, 3] RGB, {name: float32 [B, ...], see WIDTHS}).

    Args:
        packed: from open_packed.
        split: "train" or "validation".
        batch_size: B.
        seed: None: stored order, every record once, the last batch may be short. A number: the permutation of
            (seed, epoch), the last short batch dropped.
        epoch: number of the epoch, for another permutation.
        skip: batches left out at the start; they are neither read nor decoded.
        deterministic: False lets a batch overtake the one before it.

    Raises:
        RecordError: the split or its files are not right, or do not fill a batch; while iterating tf.data wraps
            it in an error of its own with the same sentence.
    """
    import tensorflow as tf

    records = Records(packed, split)
    plan = _plan(packed, split, batch_size, seed, epoch, skip)
    shape = packed.size, packed.size, 3

    def read(number: np.ndarray) -> np.ndarray:
        # Of dtype object from the start: TensorFlow would first make an array of the longest record's width.
        return np.array([records.raw(row) for row in plan[int(number)]], object)

    features: dict[str, Any] = {name: tf.io.FixedLenFeature(width, tf.float32) for name, width in WIDTHS.items()}
    features["image"] = tf.io.FixedLenFeature((), tf.string)

    def decode(image: tf.Tensor) -> tf.Tensor:
        # The default transform differs from other decoders by up to 8 levels.
        pixels = tf.io.decode_jpeg(image, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(pixels, shape)

    def batch(number: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        raw = tf.ensure_shape(tf.numpy_function(read, [number], tf.string), [None if seed is None else batch_size])
        values = tf.io.parse_example(raw, features)
        # Batches side by side, each image after image: a quarter less work than images side by side, then batched.
        pixels = tf.map_fn(decode, values.pop("image"), fn_output_signature=tf.TensorSpec(shape, tf.uint8))
        return pixels, values

    return tf.data.Dataset.range(len(plan)).map(batch, tf.data.AUTOTUNE, deterministic).prefetch(tf.data.AUTOTUNE)


def read_plain(packed: Packed, split: str) -> Iterator[Example]:
    """Every record of a split in stored order, without TensorFlow. Raises RecordError."""
    records = Records(packed, split)
    for index in range(len(records)):
        yield records[index]


def plain_batches(
    packed: Packed,
    split: str,
    batch_size: int,
    *,
    seed: int | None = None,
    epoch: int = 0,
    skip: int = 0,
    workers: int | None = None,
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """The batches of `dataset`, in the same order and of the same values, as numpy arrays and without TensorFlow.

    `workers` threads (None: one a core) make a batch each. Raises RecordError.
    """
    records = Records(packed, split)
    plan = _plan(packed, split, batch_size, seed, epoch, skip)

    def make(rows: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        examples = [records[int(row)] for row in rows]
        values = {name: np.stack([example.labels[name] for example in examples]) for name in WIDTHS}
        return np.stack([example.image for example in examples]), values

    count = workers or os.cpu_count() or 1
    pool = ThreadPoolExecutor(count)
    try:
        waiting = deque(pool.submit(make, rows) for rows in plan[: count + 1])
        for rows in plan[count + 1 :]:
            done = waiting.popleft().result()
            waiting.append(pool.submit(make, rows))
            yield done
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _plan(packed: Packed, split: str, batch_size: int, seed: int | None, epoch: int, skip: int) -> list[np.ndarray]:
    try:
        return batches(packed.counts[split], batch_size, seed, epoch, skip)
    except ValueError as error:
        raise RecordError(f"{packed.folder}, split {split}: {error}") from error


def _array(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            array: np.ndarray = np.load(file, allow_pickle=False)
            return array
    except (OSError, ValueError, EOFError) as error:
        raise RecordError(f"{path} cannot be read ({error}); pack the labels again.") from error
