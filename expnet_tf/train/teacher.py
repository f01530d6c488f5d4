"""Distillation: a network learns what a larger one reads, beside what is true.

Most of a label cannot be seen in the pixels, and to a small network it is noise, the larger part of every gradient.
What a larger network reads is that part of it which can be seen. (Hinton, Vinyals, Dean, "Distilling the Knowledge in a
Neural Network", 2015; here for regression.) Expression and identity are the same in every crop of an image, so they
are read once, from the unmoved crops, before the run begins.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from expnet_tf.data.records import Packed
from expnet_tf.files import write_whole
from expnet_tf.network import load_model, read_info
from expnet_tf.train.config import JobError
from expnet_tf.train.feed import Feed
from expnet_tf.train.inference import forward, over

SHARE = 0.75  # of the teacher in what is learned; the rest is the label
CODES = ("expression", "identity")
BATCH = 128  # images; memory only
LESSONS = "lessons.npz"


def lessons(teacher: Path, packs: list[Packed], heads: Sequence[str], folder: Path) -> dict[str, np.ndarray]:
    """{head: float32 [n, w]}: what to learn of the n training images, in stored order; kept in folder/lessons.npz.

    For those of `heads` that are CODES: SHARE of what the teacher reads, the rest what the label says.

    Raises:
        JobError: the teacher lacks a head, or the file that was kept cannot be read or is of other images.
        ModelError: the teacher's file cannot be read.
    """
    info = read_info(teacher)
    taught = tuple(head for head in heads if head in CODES)
    if missing := [head for head in taught if head not in info.heads]:
        raise JobError(f"{teacher} has no output {', '.join(missing)}, which is to be learned from it.")
    feed = Feed(packs, "train", info.size, info.crop_factor, taught, BATCH)
    path = folder / LESSONS
    if path.exists():
        return _kept(path, taught, len(feed))
    read, true = over(forward(load_model(teacher)), feed)
    made = {head: (SHARE * read[head] + (1 - SHARE) * true[head]).astype(np.float32) for head in taught}
    content = io.BytesIO()
    np.savez(content, **made)  # type: ignore[arg-type]
    write_whole(path, content.getvalue())
    return made


def _kept(path: Path, taught: Sequence[str], count: int) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            found = {head: data[head] for head in taught}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise JobError(f"{path} cannot be read ({error}); delete it, and it is made anew.") from error
    if any(len(value) != count for value in found.values()):
        raise JobError(f"{path} is of {len(found[taught[0]])} images, and the run has {count}; delete it.")
    return found
