"""The mean of networks' weights: one network that reads what each of them was trained on.

A network trained further on other pictures gets better at those and worse at the old ones. Between its weights and
those it started from lie networks that do both: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
It works for networks that come from one another; unrelated ones average to noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np

from expnet_tf.network import ModelError, ModelInfo

ALONE = ("quality",)  # heads that know one network's errors, and are taught anew (train/quality.py)


def mean_of(networks: Sequence[keras.Model], infos: Sequence[ModelInfo]) -> tuple[keras.Model, ModelInfo]:
    """(a network with the mean of the weights, running means and variances included; its information).

    Changes and returns the last of `networks`, whose outputs are as HEADS in network.py has them. Heads that all have
    are kept, `quality` never. Version, licence and training are the last one's, the training with the names of all.

    Raises ModelError for fewer than two, or for networks of other backbones, sizes, crops or shapes.
    """
    if len(networks) < 2:
        raise ModelError(f"A mean is of two networks or more; {len(networks)} given.")
    first, last = infos[0], infos[-1]
    for info in infos[1:]:
        for name in ("backbone", "size", "crop_factor", "pixels"):
            if (mine := getattr(info, name)) != (its := getattr(first, name)):
                raise ModelError(f"{info.id} has {name} {mine}, {first.id} has {its}; a mean is of networks alike.")
    heads = tuple(head for head in first.heads if head not in ALONE and all(head in info.heads for info in infos))
    if not heads:
        raise ModelError(f"{', '.join(info.id for info in infos)} have no head in common.")
    kept = keras.Model(networks[-1].input, {head: networks[-1].output[head] for head in heads}, name=networks[-1].name)
    for layer in kept.layers:
        each = [_layer(network, layer.name).get_weights() for network in networks]
        if any([w.shape for w in weights] != [w.shape for w in each[0]] for weights in each):
            raise ModelError(f"The layer {layer.name} has another shape in one of them; a mean is of networks alike.")
        layer.set_weights([np.mean(weights, axis=0, dtype=np.float64) for weights in zip(*each, strict=True)])
    training = f"mean of the weights of {' and '.join(info.id for info in infos)}; {last.training}"
    return kept, replace(last, heads=heads, training=training)


def _layer(network: keras.Model, name: str) -> keras.Layer:
    try:
        return network.get_layer(name)
    except ValueError:
        raise ModelError(f"{network.name} has no layer {name}; a mean is of networks alike.") from None
