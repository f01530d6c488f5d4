"""The mean of networks' weights."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from expnet_tf.network import ExpNet, ModelError, ModelInfo
from expnet_tf.train.averaging import mean_of

HEADS = ("expression", "identity", "pose")
INFO = ModelInfo("small", "1.0", "compact", 48, 1.25, HEADS, "random", "CC0-1.0")


def network(seed: int, heads=HEADS, size: int = 48) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return ExpNet("compact", heads, size=size)


def test_every_weight_is_the_mean():
    each = [network(seed) for seed in (1, 2, 3)]
    before = [[w.copy() for w in one.get_weights()] for one in each]
    made, info = mean_of(each, [INFO, replace(INFO, version="1.1"), replace(INFO, version="1.2")])
    for mean, *weights in zip(made.get_weights(), *before, strict=True):
        np.testing.assert_allclose(mean, np.mean(weights, axis=0), rtol=1e-6, atol=1e-8)
    assert info.version == "1.2"
    assert "small-1.0 and small-1.1 and small-1.2" in info.training


def test_a_network_with_itself_reads_the_same():
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
    one = network(1)
    expected = {head: np.asarray(value) for head, value in one(images).items()}
    made, _ = mean_of([network(1), one], [INFO, INFO])
    for head, value in made(images).items():
        np.testing.assert_allclose(value, expected[head], rtol=1e-5, atol=1e-6)


def test_heads_that_not_all_have_and_quality_are_left_out():
    heads = ("expression", "identity", "pose", "quality")
    made, info = mean_of(
        [network(1, heads), network(2, ("expression", "pose", "quality"))],
        [replace(INFO, heads=heads), replace(INFO, heads=("expression", "pose", "quality"))],
    )
    assert set(made.output) == set(info.heads) == {"expression", "pose"}


def test_networks_that_are_not_alike():
    with pytest.raises(ModelError, match=r"two networks or more; 1 given"):
        mean_of([network(1)], [INFO])
    with pytest.raises(ModelError, match=r"small-1.0 has size 64, small-1.0 has 48"):
        mean_of([network(1), network(2, size=64)], [INFO, replace(INFO, size=64)])
    with pytest.raises(ModelError, match=r"no head in common"):
        mean_of(
            [network(1, ("pose",)), network(2, ("expression",))],
            [replace(INFO, heads=("pose",)), replace(INFO, heads=("expression",))],
        )
    with pytest.raises(ModelError, match=r"another shape|no layer"):
        mean_of([network(1), ExpNet("base", HEADS, size=48)], [INFO, INFO])
