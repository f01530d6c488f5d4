"""Areas under the curve against scikit-learn, their intervals, and which contrasts a data set allows."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from expnet_tf.evaluate.contrasts import CONTRASTS, area, area_interval, areas, class_means, meaning
from expnet_tf.evaluate.methods import expression_blendshapes
from expnet_tf.morphable import open_face


@pytest.mark.parametrize("levels", [3, 1000])  # many ties, few ties
def test_area_is_scikit_learns(levels):
    rng = np.random.default_rng(0)
    for _ in range(20):
        positive = rng.random(60) < 0.3
        scores = rng.integers(0, levels, 60) / levels + 0.3 * positive
        assert area(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_interval_is_the_bootstraps_over_subjects():
    rng = np.random.default_rng(1)
    positive, units = rng.random(120) < 0.5, np.repeat(np.arange(30), 4)
    scores = rng.normal(size=120) + positive
    low, high = area_interval(scores, positive, units)
    # The same by hand: draw subjects, score with scikit-learn.
    drawn = []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(units == one) for one in rng.integers(0, 30, 30)])
        drawn.append(roc_auc_score(positive[rows], scores[rows]))
    assert low == pytest.approx(np.percentile(drawn, 2.5), abs=0.025)
    assert high == pytest.approx(np.percentile(drawn, 97.5), abs=0.025)
    # One subject alone cannot be drawn otherwise.
    assert area_interval(scores, positive, np.zeros(120, int)) == pytest.approx([area(scores, positive)] * 2)


def codes_of(**weights):
    """z of a face with these blendshapes."""
    names = list(open_face().blendshape_names)
    row = np.zeros(len(names))
    for name, value in weights.items():
        row[names.index(name)] = value
    return row @ open_face().blendshapes_to_expression


def test_what_classes_allow_is_measured():
    smile = codes_of(mouthSmileLeft=1, mouthSmileRight=1)
    codes = np.stack([smile, smile, smile * 0, smile * 0.1, np.full(29, np.nan)])
    labels = ["Happy", "joy", "Neutral", "fear", "happiness"]
    (row,) = areas(codes, labels, np.arange(5), expression_blendshapes)
    assert row["contrast"] == "smile"
    assert row["area"] == 1
    assert row["clips"] == [2, 2]
    assert row["abstained"] == 1
    assert row["against"] == "the rest"


def test_against_neutral_leaves_other_classes_out():
    jaw = codes_of(jawOpen=1)
    labels = ["surprise", "neutral", "happiness"]
    rows = areas(np.stack([jaw * 0.5, jaw * 0, jaw]), labels, np.arange(3), expression_blendshapes)
    jaw_row = next(row for row in rows if row["contrast"] == "jaw open")
    assert jaw_row["clips"] == [1, 1]
    assert jaw_row["area"] == 1


def test_names_of_blendshapes_exist():
    known = set(open_face().blendshape_names.tolist())
    assert all(set(contrast.blendshapes) <= known for contrast in CONTRASTS)
    assert [meaning(word) for word in ("Angry", "Surprise", " SAD ", "contempt")] == [
        "anger", "surprise", "sadness", "contempt",
    ]  # fmt: skip


def test_mean_weights_of_a_class_are_clipped_means():
    smile = codes_of(mouthSmileLeft=1, mouthSmileRight=1)
    codes = np.stack([smile, -smile, np.full(29, np.nan), smile * 0])
    means = class_means(codes, ["happy", "happy", "happy", "neutral"], expression_blendshapes)
    one = open_face().blendshapes(smile)[list(open_face().blendshape_names).index("mouthSmileLeft")]
    assert means["happy"]["mouthSmileLeft"] == pytest.approx(one / 2, abs=1e-4)
    assert set(means["neutral"].values()) == {0.0}


def test_blendshapes_that_a_method_lacks_are_left_out():
    def half(codes):
        weights = expression_blendshapes(codes)
        weights[:, 26:] = np.nan
        return weights

    codes = np.zeros((4, 29))
    assert len(class_means(codes, ["happy", "neutral"] * 2, half)["happy"]) == 26
    known = set(open_face().blendshape_names[:26].tolist())
    measured = areas(codes, ["happy", "neutral", "surprise", "anger"], np.arange(4), half)
    assert all(set(row["blendshapes"]) <= known for row in measured)
    assert [row["contrast"] for row in measured] == [
        one.name for one in CONTRASTS if set(one.blendshapes) <= known and one.of != "sadness"
    ]
