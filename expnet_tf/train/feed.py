"""Packed folders -> batches for `fit`: read, decoded and cropped in threads, on any Keras backend.

What a batch holds depends on (seed, epoch, step) and on nothing else, so a run may stop and go on anywhere.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from expnet_tf.data.records import Packed, RecordError, Records, batches, open_packed
from expnet_tf.network import HEADS
from expnet_tf.train.augment import STILL, Jitter, crops, draw, still
from expnet_tf.train.config import Config, JobError, TrainingError
from expnet_tf.train.heads import LANDMARKS
from expnet_tf.train.looks import Looks, changed

Batch = tuple[np.ndarray, dict[str, np.ndarray]]
LANDMARK_TARGETS = ("points", "seen")
WIDTHS = {**HEADS, **dict.fromkeys(LANDMARK_TARGETS, LANDMARKS)}


def open_all(folders: Sequence[Path], config: Config, targets: Sequence[str]) -> list[Packed]:
    """The packed folders of a run. Raises JobError where they do not fit each other or the config."""
    try:
        packs = [open_packed(folder) for folder in folders]
    except RecordError as error:
        raise JobError(str(error)) from error
    for name in ("size", "crop", "camera"):
        if len({getattr(packed, name) for packed in packs}) > 1:
            found = ", ".join(f"{packed.folder} {getattr(packed, name)}" for packed in packs)
            raise JobError(f"The packed folders differ in {name}: {found}; pack them alike, or together.")
    first = packs[0]
    if "pose" in targets and first.camera != "pinhole":
        raise JobError(
            f"{first.folder} has labels of {first.camera} cameras, from which no pose can be learned; "
            "--target expression and --target identity can."
        )
    for split in ("train", "validation"):
        if not sum(packed.counts[split] for packed in packs):
            raise JobError(f"{first.folder}: no image in the {split} split; pack more people.")
    if config.crop_factor and first.crop != "none" and first.factor < config.crop_factor:
        raise JobError(
            f"{first.folder} holds crops of {first.factor:g} boxes; config {config.name} cuts {config.crop_factor:g} "
            f"out of them: pack with --factor {config.crop_factor * (config.jitter or STILL).reach:.1f}."
        )
    return packs


@dataclass(frozen=True)
class Feed:
    """One split of packed folders, seen by a network of a given input."""

    packs: list[Packed]
    split: str
    size: int  # side of the crops, px
    factor: float | None  # crop over box; None: the packed image
    targets: tuple[str, ...]  # keys of WIDTHS
    batch_size: int  # over all processes
    seed: int = 0
    jitter: Jitter | None = None
    looks: Looks | None = None
    process: int = 0  # of `processes`: which part of every batch is made here
    processes: int = 1
    taught: Mapping[str, np.ndarray] | None = None  # targets [n, w] in stored order, in place of the labels

    def __len__(self) -> int:
        return sum(packed.counts[self.split] for packed in self.packs)

    @property
    def steps(self) -> int:
        """Whole batches in an epoch. Raises JobError when there is none."""
        if len(self) < self.batch_size:
            raise JobError(f"{len(self)} images in the {self.split} split; a batch has {self.batch_size}.")
        return len(self) // self.batch_size

    def epoch(self, epoch: int, skip: int = 0, steps: int | None = None) -> Iterator[Batch]:
        """Batches (uint8 [b, S, S, 3], {target: float32}) of an epoch in an order and with crops of its own.

        The first `skip` are left out, unread; at most `steps` follow.
        """
        plan = batches(len(self), self.batch_size, self.seed, epoch, skip)[:steps]
        share = self.batch_size // self.processes
        own = slice(self.process * share, (self.process + 1) * share)
        return self._ahead([(rows[own], own, (self.seed, epoch, skip + i)) for i, rows in enumerate(plan)])

    def once(self) -> Iterator[Batch]:
        """All images once, in stored order, unmoved; the last batch may be short."""
        return self._ahead([(rows, slice(None), None) for rows in batches(len(self), self.batch_size, None)])

    def examples(self, rows: Sequence[int]) -> Batch:
        """These images, unmoved."""
        return self._make(self._records(), np.asarray(rows), slice(None), None)

    def keys(self, rows: Sequence[int]) -> list[str]:
        """Where these images are from."""
        records, ends = self._records(), np.cumsum([packed.counts[self.split] for packed in self.packs])
        places = [(int(np.searchsorted(ends, row, "right")), int(row)) for row in rows]
        return [records[part][row - int(ends[part]) + len(records[part])].key for part, row in places]

    def _records(self) -> list[Records]:
        try:
            return [Records(packed, self.split) for packed in self.packs]
        except RecordError as error:
            raise TrainingError(str(error)) from error

    def _ahead(self, plan: list[tuple]) -> Iterator[Batch]:
        """Makes batches in threads (OpenCV lets go of the interpreter), a few before they are asked for."""
        records, waiting = self._records(), deque[Future[Batch]]()
        workers = min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers, thread_name_prefix="feed") as pool:
            try:
                for place in plan:
                    waiting.append(pool.submit(self._make, records, *place))
                    if len(waiting) > workers + 2:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _make(self, records: list[Records], rows: np.ndarray, own: slice, dice: tuple[int, ...] | None) -> Batch:
        ends = np.cumsum([len(part) for part in records])
        parts = np.searchsorted(ends, rows, "right")
        try:
            examples = [records[p][int(row - ends[p] + len(records[p]))] for p, row in zip(parts, rows, strict=True)]
        except RecordError as error:
            raise TrainingError(str(error)) from error
        labels = {name: np.stack([example.labels[name] for example in examples]) for name in examples[0].labels}
        if self.taught is not None:
            labels |= {name: value[rows] for name, value in self.taught.items()}
        drawn = still(len(rows))
        if dice is not None and self.jitter is not None:
            # Drawn for the whole batch, whoever makes which part of it.
            drawn = draw(self.jitter, self.batch_size, np.random.default_rng(dice)).take(own)
        images, found = crops([e.image for e in examples], labels, drawn, self.size, self.factor, self.targets)
        if dice is not None and self.looks is not None:
            for i, row in enumerate(range(*own.indices(self.batch_size))):
                # A row's own generator: the same pixels whoever makes which part of the batch.
                images[i] = changed(images[i], self.looks, np.random.default_rng((*dice, row)))
        return images, found


def mean_crop(feed: Feed, count: int = 4000) -> np.ndarray:
    """float32 [S, S, 3]: mean of about `count` crops of the first epoch."""
    total, seen = np.zeros((feed.size, feed.size, 3)), 0
    steps = max(1, min(feed.steps, count // feed.batch_size))
    whole = Feed(**{**feed.__dict__, "process": 0, "processes": 1})
    for images, _ in whole.epoch(0, steps=steps):
        total += images.sum(0, dtype=np.float64)
        seen += len(images)
    return (total / seen).astype(np.float32)


def for_fit(begin: Callable[[], Iterator[Batch]], feed: Feed):
    """What `fit` takes on this backend: a tf.data.Dataset of fixed shapes, or a generator.

    `begin` gives the batches of one epoch from the start each time it is called: with several replicas TensorFlow's
    `fit` looks at a batch before it begins.
    """
    if keras.backend.backend() != "tensorflow":
        return (batch for batch in begin())  # Keras asks for a generator by its type
    import tensorflow as tf

    rows = feed.batch_size // feed.processes
    signature = (
        tf.TensorSpec((rows, feed.size, feed.size, 3), tf.uint8),
        {name: tf.TensorSpec((rows, WIDTHS[name]), tf.float32) for name in feed.targets},
    )
    return tf.data.Dataset.from_generator(begin, output_signature=signature).prefetch(2)
