"""The head quality: it is added to a network that stays as it is, and says what its definition says."""

import keras
import numpy as np
import pytest
from scipy.stats import mannwhitneyu, spearmanr

from expnet_tf.cli import main
from expnet_tf.commands.common import FINE
from expnet_tf.network import ExpNet, ModelInfo, load_model, read_info, save_model
from expnet_tf.train.quality import Seen, _area, _target, figures, ranks_together, with_quality
from expnet_tf.train.spoiled import faceless, spoiled

INFO = ModelInfo("toy", "0.1", "compact", 64, 1.25, ("expression", "pose"), "none", "Apache-2.0")


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return ExpNet("compact", INFO.heads, INFO.size)


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)


def test_all_else_in_the_model_stays_as_it_is(network, packed, crops, tmp_path):
    save_model(network, tmp_path / "toy.keras", INFO)
    words = ["quality", str(tmp_path / "toy.keras"), "--data", str(packed), "--out", str(tmp_path / "judged.keras")]
    assert main(words) == FINE
    before, after = (load_model(tmp_path / name) for name in ("toy.keras", "judged.keras"))
    assert read_info(tmp_path / "judged.keras").heads == ("expression", "pose", "quality")
    assert read_info(tmp_path / "judged.keras").training == "none; quality on its features"
    expected, found = (model.predict_on_batch(crops) for model in (before, after))
    for head, values in expected.items():
        np.testing.assert_array_equal(found[head], values)
    assert found["quality"].shape == (5, 1)
    assert ((found["quality"] > 0) & (found["quality"] < 1)).all()
    # Taught anew, it replaces the one that is there, to the same numbers.
    again, info, _ = with_quality(after, read_info(tmp_path / "judged.keras"), [packed])
    assert (info.heads, info.training) == (("expression", "pose", "quality"), "none; quality on its features")
    np.testing.assert_allclose(again.predict_on_batch(crops)["quality"], found["quality"], rtol=1e-4)


def test_a_face_as_good_as_the_best_tenth_has_nine_tenths():
    reference = np.arange(10, 110) / 10.0  # mm, sorted
    assert _target(np.array([0.5, 2.0, 6.0, 20.0, np.nan]), reference) == pytest.approx([1, 0.9, 0.5, 0, 0])


def test_figures_are_those_of_scipy():
    rng = np.random.default_rng(0)
    error, quality = rng.random(200), rng.random(200)
    assert ranks_together(quality, error) == pytest.approx(spearmanr(quality, error).statistic)
    high, low = rng.normal(1, 1, 80), rng.normal(0, 1, 50)
    assert _area(high, low) == pytest.approx(mannwhitneyu(high, low).statistic / (80 * 50))
    mixed = np.where(np.arange(200) % 4 == 0, np.nan, error)
    plain = Seen(error[:, None], error, np.zeros(200, bool))
    badly = Seen(error[:, None], mixed, np.arange(200) % 4 == 1)
    found = figures(1 - error, plain, np.where(np.isnan(mixed), 0.01, 1 - error), badly)
    assert found["rank correlation with the error, faces"] == pytest.approx(1)
    assert found["no face"] == pytest.approx(0.01)
    assert found["spoiled faces"] == pytest.approx(1 - error[1::4].mean())


@pytest.mark.parametrize("change", [spoiled, faceless])
def test_pictures_that_are_no_good(change):
    """Of many kinds, of the crop's size and type, the same from the same dice; the crop itself is not touched."""
    image = np.random.default_rng(1).integers(0, 256, (48, 48, 3), np.uint8)
    kept = image.copy()
    made = [change(image, np.random.default_rng(seed)) for seed in range(40)]
    for seed, one in enumerate(made):
        assert (one.shape, one.dtype) == (image.shape, np.uint8)
        np.testing.assert_array_equal(one, change(image, np.random.default_rng(seed)))
        assert (one != image).mean() > 0.1
    np.testing.assert_array_equal(image, kept)
