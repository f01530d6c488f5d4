"""Reading packed folders with tf.data or with plain Python, in the same order; packed.py says what is in them.

Records are read by their place in the index, so an epoch is a true permutation of the whole split, given by (seed,
epoch) alone, and a run that was stopped begins at any batch without reading those before. The pixels are the same on
both paths, bit for bit.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from expnet_tf.data.packed import MANIFEST, SPLITS, WIDTHS, Packed, RecordError, open_packed
from expnet_tf.data.tfrecord import FormatError, decode_example, unframe

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = [
    "MANIFEST",
    "SPLITS",
    "WIDTHS",
    "Example",
    "Packed",
    "RecordError",
    "Records",
    "batches",
    "dataset",
    "open_packed",
    "plain_batches",
    "read_plain",
]

MAX_OPEN = 100  # shards of a split that are kept open; a process may often have 1,024 files, on macOS 256


class Example(NamedTuple):
    """One record."""

    image: np.ndarray  # uint8 [S, S, 3], RGB
    labels: dict[str, np.ndarray]  # float32, WIDTHS
    key: str
    subject: str


class Records:
    """The records of one split by number: a `len()` and an index, which is all that loaders such as grain ask for.

    Can be pickled and used by several threads; shards are opened where they are read.
    """

    def __init__(self, packed: Packed, split: str) -> None:
        """Raises RecordError for an unknown split or an index that does not fit the manifest."""
        self._places = packed.places(split)
        self._paths = packed.shards[split]
        self._size = packed.size
        self._files: dict[int, int] = {}

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
