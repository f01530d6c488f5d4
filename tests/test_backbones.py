"""The trunks: their size, where their pixels lie, and that a fresh one is well conditioned."""

import keras
import numpy as np
import pytest
from keras import layers

from expnet_tf.backbones import BACKBONES
from expnet_tf.network import ExpNet


@pytest.fixture(scope="module")
def trunks() -> dict[str, keras.Model]:
    def build(name: str) -> keras.Model:
        keras.utils.set_random_seed(0)
        image = keras.Input((BACKBONES[name].size,) * 2 + (3,))
        return keras.Model(image, BACKBONES[name].build(image))

    return {name: build(name) for name in BACKBONES}


def test_small_ones_are_small() -> None:
    assert ExpNet("compact").count_params() <= 1_500_000
    assert ExpNet("base").count_params() <= 3_000_000


def test_resnet101_is_the_papers(trunks: dict[str, keras.Model]) -> None:
    # 42.7 million in the design; keras.applications counts 42,658,176 with 52,672 biases that the batch
    # normalisation behind them makes pointless.
    assert trunks["resnet101"].count_params() == 42_658_176 - 52_672
    convolutions = [layer for layer in trunks["resnet101"].layers if isinstance(layer, layers.Conv2D)]
    on_the_path = [layer for layer in convolutions if "shortcut" not in layer.name]
    assert len(on_the_path) == 100  # and one dense layer


@pytest.mark.parametrize(("name", "width"), [("compact", 256), ("base", 256), ("resnet50", 2048), ("resnet101", 2048)])
def test_ends_in_features(trunks: dict[str, keras.Model], name: str, width: int) -> None:
    assert trunks[name].layers[-1].name == "features"
    assert trunks[name].output.shape == (None, width)


def test_compact_map_is_6_by_6(trunks: dict[str, keras.Model]) -> None:
    assert trunks["compact"].get_layer("squeeze_relu").output.shape == (None, 6, 6, 32)


def test_base_has_all_that_compact_has(trunks: dict[str, keras.Model]) -> None:
    base = {layer.name: layer for layer in trunks["base"].layers}
    for layer in trunks["compact"].layers:
        if layer.weights and layer.name != "features_conv":  # as large as the map
            assert [w.shape for w in base[layer.name].weights] == [w.shape for w in layer.weights], layer.name


@pytest.mark.parametrize("name", BACKBONES)
def test_no_padding_that_differs_between_frameworks(trunks: dict[str, keras.Model], name: str) -> None:
    for layer in trunks[name].layers:
        if isinstance(layer, (layers.Conv2D, layers.MaxPooling2D)) and layer.strides != (1, 1):
            kernel = getattr(layer, "kernel_size", None) or layer.pool_size
            assert layer.padding == "valid" or kernel == (1, 1), layer.name


@pytest.mark.parametrize("name", BACKBONES)
def test_fresh_trunk_is_well_conditioned(trunks: dict[str, keras.Model], name: str) -> None:
    """With residual branches at full scale, a deep one answers in millions."""
    trunk, size, scale = trunks[name], BACKBONES[name].size, BACKBONES[name].scale
    pixels = np.random.default_rng(0).uniform(-127, 128, (1, size, size, 3)).astype(np.float32)
    features = keras.ops.convert_to_numpy(trunk(pixels / scale))
    assert 0.1 < features.std() < 20
