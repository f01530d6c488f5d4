"""What a network says about a whole split, on one device, whatever the training is spread over."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from expnet_tf.network import HEADS
from expnet_tf.train.feed import Feed

Codes = dict[str, np.ndarray]
Forward = Callable[[np.ndarray], Codes]


def forward(model: keras.Model) -> Forward:
    """uint8 [b, S, S, 3] -> {head: float32 [b, w]} by the model's present weights, traced once.

    Not `predict_on_batch`: with several replicas it repeats every image on each of them, and with several
    processes it returns arrays that no process can read whole.
    """
    heads = [name for name in HEADS if name in model.output]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        traced = tf.function(lambda images: model(images, training=False), reduce_retracing=True)

        def run(images: np.ndarray) -> Codes:
            outputs = traced(tf.constant(images))
            return {name: outputs[name].numpy() for name in heads}

    elif keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(lambda *state: model.stateless_call(*state, training=False)[0])

        def run(images: np.ndarray) -> Codes:
            # Copies by way of numpy are local to this process; every process has all of the weights.
            state = [[np.asarray(v.value) for v in group] for group in (model.trainable_variables,
                     model.non_trainable_variables)]  # fmt: skip
            return {name: np.asarray(value) for name, value in compiled(*state, images).items() if name in heads}
    else:

        def run(images: np.ndarray) -> Codes:
            outputs = model.predict_on_batch(images)
            return {name: keras.ops.convert_to_numpy(outputs[name]) for name in heads}

    return run


def over(run: Forward, feed: Feed) -> tuple[Codes, Codes]:
    """(predicted, true) codes of all images of a feed, in stored order."""
    predicted, true = [], []
    for images, targets in feed.once():
        predicted.append(run(images))
        true.append(targets)
    return _joined(predicted), _joined(true)


def _joined(parts: list[Codes]) -> Codes:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
