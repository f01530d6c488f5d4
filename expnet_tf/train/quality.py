"""The head `quality`: how far to trust the expression that a finished network reads. All its other outputs stay.

A face's quality is the share of synthetic faces of people not trained on that the network reads worse, by the vertex
error of the expression: 0.9 is a face as well read as the best tenth. Of a picture without a face it is 0.

The head sees the network's features only. It is taught on training faces under other looks (train/looks.py), a quarter
of them spoiled, and on pictures without a face (train/spoiled.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from expnet_tf.data.packed import Packed
from expnet_tf.network import HEADS, ModelInfo, quality_head
from expnet_tf.train.config import modern
from expnet_tf.train.feed import Batch, Feed, open_all
from expnet_tf.train.metrics import errors
from expnet_tf.train.spoiled import faceless, spoiled

BATCH = 64
SPOILED, FACELESS = 0.25, 0.25  # shares of the images that the head is taught and judged on
EPOCHS = 12


class Seen(NamedTuple):
    """What the network makes of images: n rows."""

    features: np.ndarray  # float32 [n, d]
    error: np.ndarray  # float64 [n] mm, vertex error of the expression; NaN where there is no face
    spoiled: np.ndarray  # bool [n]


def with_quality(
    network: keras.Model,
    info: ModelInfo,
    folders: Sequence[Path],
    images: int = 60_000,
    seed: int = 0,
    progress: Callable[[int], object] = lambda count: None,
) -> tuple[keras.Model, ModelInfo, dict[str, float]]:
    """(the network with the head, its information, how the head fares on validation people).

    Args:
        network: with expression; a quality head that it has is replaced.
        folders: of expnet pack, as it was trained on.
        images: to teach the head, at most; the validation split is used whole, once as it is and once spoiled.
        progress: is told the images seen.

    Raises JobError where the folders cannot be used.
    """
    packs = open_all(folders, replace(modern(), crop_factor=info.crop_factor), ("expression",))
    look = _look(network)
    reference = np.sort(_seen(look, _feed(packs, info, "validation", seed).once(), None, progress).error)
    taught, judged = (_feed(packs, info, split, seed) for split in ("train", "validation"))
    steps = max(1, min(images // taught.batch_size, taught.steps))
    known = _seen(look, taught.epoch(0, steps=steps), seed, progress)
    keras.utils.set_random_seed(seed)
    features = keras.Input(known.features.shape[1:], name="known_features")
    head = keras.Model(features, quality_head(features))
    head.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy())
    head.fit(known.features, _target(known.error, reference), batch_size=256, epochs=EPOCHS, verbose=0)

    outputs = {name: tensor for name, tensor in network.output.items() if name != "quality"}
    outputs["quality"] = quality_head(network.get_layer("features").output)
    made = keras.Model(network.input, outputs, name=network.name)
    for layer in head.layers:
        if layer.weights:
            made.get_layer(layer.name).set_weights(layer.get_weights())
    plain = _seen(look, judged.once(), None, progress)
    bad = _seen(look, judged.once(), seed + 1, progress)

    def judge(seen: Seen) -> np.ndarray:
        return np.asarray(head.predict(seen.features, batch_size=1024, verbose=0)[:, 0])

    heads = tuple(name for name in HEADS if name in outputs)
    training = info.training if "quality" in info.heads else f"{info.training}; quality on its features"
    return made, replace(info, heads=heads, training=training), figures(judge(plain), plain, judge(bad), bad)


def figures(plain: np.ndarray, seen: Seen, bad: np.ndarray, badly: Seen) -> dict[str, float]:
    """How quality fares: plain float [n] of faces as they are, bad float [m] of some spoiled or without a face.

    Empty where there is not one of each.
    """
    face = ~np.isnan(badly.error)
    spoiled_faces, nothing = bad[face & badly.spoiled], bad[~face]
    if not len(spoiled_faces) or not len(nothing):
        return {}  # too few images for a judgement
    return {
        "rank correlation with the error, faces": -ranks_together(plain, seen.error),
        "rank correlation with the error, spoiled ones among them": -ranks_together(bad[face], badly.error[face]),
        "faces": float(plain.mean()),
        "spoiled faces": float(spoiled_faces.mean()),
        "no face": float(nothing.mean()),
        "no face, best of 100": float(np.quantile(nothing, 0.99)),
        "area under the curve, face against no face": _area(plain, nothing),
    }


def ranks_together(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation of float [n] and float [n], without ties in mind."""
    return float(np.corrcoef(first.argsort().argsort(), second.argsort().argsort())[0, 1])


def _area(high: np.ndarray, low: np.ndarray) -> float:
    """Chance that one of `high` is above one of `low`."""
    low = np.sort(low)
    below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
    return float(below.mean() / (2 * len(low)))


def _target(error: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """float32 [n]: share of the reference errors (sorted) above each one; 0 for NaN."""
    above = 1 - np.searchsorted(reference, np.nan_to_num(error, nan=np.inf)) / len(reference)
    return above.astype(np.float32)


def _feed(packs: list[Packed], info: ModelInfo, split: str, seed: int) -> Feed:
    recipe = modern()
    images = min(BATCH, sum(packed.counts[split] for packed in packs))
    feed = Feed(packs, split, info.size, info.crop_factor, ("expression",), images, seed)
    return replace(feed, jitter=recipe.jitter, looks=recipe.looks) if split == "train" else feed


def _look(network: keras.Model) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    outputs = (network.get_layer("features").output, network.output["expression"])
    model = keras.Model(network.input, outputs)

    def look(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features, expression = model.predict_on_batch(images)
        return np.asarray(features), np.asarray(expression)

    return look


def _seen(look: Callable, batches: Iterator[Batch], seed: int | None, progress: Callable[[int], object]) -> Seen:
    """seed None: the images as they are; else some of them spoiled, and some replaced by what is no face."""
    features, error, marks = [], [], []
    for number, (images, targets) in enumerate(batches):
        count = len(images)
        without, bad = np.zeros(count, bool), np.zeros(count, bool)
        if seed is not None:
            rng = np.random.default_rng((seed, number))
            dice = rng.random(count)
            without, bad = dice < FACELESS, (dice >= FACELESS) & (dice < FACELESS + SPOILED)
            change = [faceless if no else spoiled if b else None for no, b in zip(without, bad, strict=True)]
            images = np.stack([f(im, rng) if f else im for f, im in zip(change, images, strict=True)])
        some, read = look(images)
        wrong = errors(read, targets["expression"])
        wrong[without] = np.nan
        features.append(some)
        error.append(wrong)
        marks.append(bad)
        progress(count)
    return Seen(np.concatenate(features), np.concatenate(error), np.concatenate(marks))
