"""Folds appear where and when the skin folds: with the expression, on its side, deeper with age."""

import numpy as np
import pytest

from expnet_tf.data.expressions import INDEX
from expnet_tf.data.scenes.atlas import CELLS
from expnet_tf.data.scenes.folds import FOLDS, fold_depth
from expnet_tf.data.synth import scenery


def weights(**values: float) -> np.ndarray:
    out = np.zeros(52)
    for name, value in values.items():
        out[INDEX[name]] = value
    return out


@pytest.fixture(scope="module")
def skins():
    return scenery(None).skins


@pytest.fixture(scope="module")
def young(skins):
    own = skins.complexion(np.random.default_rng(0))
    return type(own)(own.cells, own.variant, 1.0, 0.0)


def grooves(skins, own, **values: float) -> np.ndarray:
    """How much the relief's colour darkens, float [CELLS, CELLS]."""
    still = skins.relief(own, weights(), np.array([1.0, 0, 0]), 2.0).cells
    return still[..., 3] - skins.relief(own, weights(**values), np.array([1.0, 0, 0]), 2.0).cells[..., 3]


def test_depth_follows_the_weights():
    assert fold_depth("glabella", "Left", weights(), 0.0) == 0
    assert fold_depth("glabella", "Left", weights(browDownLeft=0.5), 0.0) == pytest.approx(0.5 * FOLDS["glabella"][1])
    assert fold_depth("glabella", "Right", weights(browDownLeft=0.5), 0.0) == 0
    # No deeper than full, however many units pull; and age leaves its own.
    assert fold_depth("crow", "Left", weights(cheekSquintLeft=1, mouthSmileLeft=1), 0.0) == FOLDS["crow"][1]
    assert fold_depth("nasolabial", "Left", weights(), 1.0) > fold_depth("nasolabial", "Left", weights(), 0.3) > 0


def test_a_one_sided_smile_folds_one_side(skins, young):
    left = grooves(skins, young, mouthSmileLeft=1.0)
    assert left[:, CELLS // 2 + 8 :].max() > 0.2  # the person's left is on the right
    assert np.abs(left[:, : CELLS // 2 - 8]).max() < 1e-6


def test_raised_brows_fold_the_forehead_and_frowns_the_space_between(skins, young):
    brows = skins.patch[17:27, 1].min()
    up = grooves(skins, young, browInnerUp=1.0, browOuterUpLeft=1.0, browOuterUpRight=1.0)
    rows = np.flatnonzero(up.max(1) > 0.1)
    assert rows.max() < brows
    down = grooves(skins, young, browDownLeft=1.0, browDownRight=1.0)
    between = np.abs(np.arange(CELLS) - CELLS / 2) < 20
    rows = np.flatnonzero(down[:, between].max(1) > 0.1)
    assert brows - 30 < rows.min() < rows.max() < skins.patch[28, 1]
    # Beside it only the hollows under the brows darken.
    rows = np.flatnonzero(down[:, ~between].max(1) > 0.1)
    assert brows < rows.min() < rows.max() < skins.patch[[40, 41, 46, 47], 1].min()


def test_far_faces_have_coarse_relief(skins, young):
    fine = skins.relief(young, weights(), np.array([1.0, 0, 0]), 2.0).cells
    coarse = skins.relief(young, weights(), np.array([1.0, 0, 0]), 0.2).cells
    assert fine.shape[0] == CELLS
    assert coarse.shape[0] < CELLS / 2
    assert np.abs(coarse[..., :2]).max() < np.abs(fine[..., :2]).max()
