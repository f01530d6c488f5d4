"""The distributions of expressions: names, bounds, what muscles exclude, and that they favour no side."""

import hashlib

import numpy as np
import pytest

from expnet_tf.data.expressions import (
    BLENDSHAPES,
    GAZE,
    INDEX,
    MOUTHS,
    PAIRED,
    SINGLE,
    TEMPLATES,
    UNUSED,
    UPPER,
    USED,
    WHOLE,
    feasible,
    mirror_ids,
    sample_weights,
    training_weights,
)


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([sample_weights(rng) for _ in range(4000)])


@pytest.fixture(scope="module")
def trained() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([training_weights(rng) for _ in range(6000)])


def test_the_basis_distribution_stays_as_it_is():
    """The shipped face model's expression basis was made of these numbers (seed 2018, before training images got a
    distribution of their own)."""
    rng = np.random.default_rng(2018)
    weights = np.round([sample_weights(rng) for _ in range(500)], 9)
    expected = "7b3ddea1570b47b73fb1546b2d6e2c0c87dd5eb8d5c0f750cd2d7be3ee38beb8"
    assert hashlib.sha256(weights.tobytes()).hexdigest() == expected


def test_training_shows_every_unit_strong(trained):
    """Also closed lips over a dropped jaw, which free mixtures hardly ever have."""
    for name in USED:
        assert (trained[:, INDEX[name]] > 0.4).mean() > 0.006, name
    assert (trained[:, INDEX["mouthClose"]] > 0.4).mean() > 0.015


def test_training_shows_single_units_and_single_sides(trained):
    active = trained > 0.25
    alone = active.sum(1) == 1
    both = (active.sum(1) == 2) & np.array([row[:, None].nonzero()[0].size == 2 for row in active])
    assert 0.05 < alone.mean() < 0.3
    seen = {int(row.argmax()) for row in trained[alone]}
    assert len(seen) >= 40  # of 43: each side of each pair by itself
    assert both.mean() > 0.04


def test_training_draws_brows_and_mouths_apart(trained):
    """Brows say little about the mouth: a network must look at both."""
    def of(*names: str) -> np.ndarray:
        return trained[:, [INDEX[name] for name in names]].mean(1)

    up, down = of("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), of("browDownLeft", "browDownRight")
    smile, jaw = of("mouthSmileLeft", "mouthSmileRight"), of("jawOpen")
    for brow in (up, down):
        for mouth in (smile, jaw):
            assert abs(np.corrcoef(brow, mouth)[0, 1]) < 0.25
    assert (up > 0.4).mean() > 0.05
    assert (down > 0.4).mean() > 0.05


def test_training_bares_teeth_with_a_frown_more_often_than_not(trained):
    def of(name: str) -> np.ndarray:
        return trained[:, [INDEX[name + side] for side in ("Left", "Right")]].mean(1)

    bared = (of("mouthUpperUp") > 0.4) & (of("mouthLowerDown") > 0.4) & (of("mouthSmile") < 0.2)
    assert bared.sum() > 200
    assert (of("browDown")[bared] > 0.3).mean() > 0.5
    assert 0.1 < (of("browDown")[~bared] > 0.3).mean() < 0.4
    assert (of("browDown")[bared] < 0.1).mean() > 0.1  # but a network must look


def test_training_weights_are_feasible_and_favour_no_side(trained):
    assert trained.min() >= 0
    assert trained.max() <= 1
    assert not trained[:, [INDEX[name] for name in UNUSED]].any()
    assert (trained[:, INDEX["mouthClose"]] <= trained[:, INDEX["jawOpen"]]).all()
    ids = mirror_ids()
    difference = trained.mean(0) - trained[:, ids].mean(0)
    spread = (trained - trained[:, ids]).std(0) / np.sqrt(len(trained))
    assert (np.abs(difference) < 4.5 * spread + 1e-12).all()
    one, other = (training_weights(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_the_52_arkit_names():
    """Apple's ARFaceAnchor.BlendShapeLocation: 14 of the eyes, 27 of jaw and mouth, 5 brow, 3 cheek, 2 nose,
    1 tongue."""
    assert len(set(BLENDSHAPES)) == 52
    assert sorted(BLENDSHAPES) == BLENDSHAPES
    counts = {p: sum(n.startswith(p) for n in BLENDSHAPES) for p in ("eye", "jaw", "mouth", "brow", "cheek", "nose")}
    assert counts == {"eye": 14, "jaw": 4, "mouth": 23, "brow": 5, "cheek": 3, "nose": 2}
    assert len(GAZE) == 8
    assert len(USED) == 43
    assert set(USED) | set(UNUSED) == set(BLENDSHAPES)
    assert 2 * len(PAIRED) + len(SINGLE) == 43


def test_templates_speak_of_known_units_in_range():
    for table in (TEMPLATES, UPPER, MOUTHS, WHOLE):
        assert sum(chance for chance, _ in table.values()) == pytest.approx(1)
        for name, (_, ranges) in table.items():
            for unit, (low, high) in ranges.items():
                assert unit in PAIRED or unit in SINGLE, f"{name}: {unit}"
                assert 0 <= low < high <= 1


def test_mirror_swaps_left_and_right():
    ids = mirror_ids()
    np.testing.assert_array_equal(ids[ids], np.arange(52))
    assert BLENDSHAPES[ids[INDEX["mouthSmileLeft"]]] == "mouthSmileRight"
    assert BLENDSHAPES[ids[INDEX["jawRight"]]] == "jawLeft"
    assert BLENDSHAPES[ids[INDEX["eyeLookInLeft"]]] == "eyeLookInRight"
    assert ids[INDEX["jawOpen"]] == INDEX["jawOpen"]
    assert (ids == np.arange(52)).sum() == sum(not name.endswith(("Left", "Right")) for name in BLENDSHAPES)


def test_same_generator_same_weights():
    one, other = (sample_weights(np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert (one != sample_weights(np.random.default_rng(8))).any()


def test_weights_are_in_range_and_gaze_is_left_alone(samples):
    assert samples.shape == (4000, 52)
    assert samples.min() >= 0
    assert samples.max() <= 1
    assert not samples[:, [INDEX[name] for name in UNUSED]].any()


def test_every_unit_occurs_weak_and_strong(samples):
    """But for mouthClose, which the jaw bounds and free mixtures seldom open."""
    assert samples[:, INDEX["mouthClose"]].max() > 0.1
    for name in set(USED) - {"mouthClose"}:
        column = samples[:, INDEX[name]]
        assert (column > 0.6).mean() > 0.002, name
        assert (column < 0.1).mean() > 0.3, name


def test_the_named_emotions_are_common(samples):
    def both(name: str) -> np.ndarray:
        return samples[:, [INDEX[name + "Left"], INDEX[name + "Right"]]].min(1)

    assert (both("mouthSmile") > 0.4).mean() > 0.08
    assert (both("browDown") > 0.4).mean() > 0.05
    assert (samples[:, INDEX["browInnerUp"]] > 0.4).mean() > 0.06
    assert (samples[:, INDEX["jawOpen"]] > 0.4).mean() > 0.06
    assert (both("eyeBlink") > 0.6).mean() > 0.03
    # About a tenth is neutral, but for a tonic twitch and a blink here and there.
    quiet = samples.copy()
    quiet[:, [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]] = 0
    assert 0.08 < (quiet.max(1) < 0.115).mean() < 0.13


def test_neither_side_is_favoured(samples):
    ids = mirror_ids()
    difference = samples.mean(0) - samples[:, ids].mean(0)
    spread = (samples - samples[:, ids]).std(0) / np.sqrt(len(samples))
    assert (np.abs(difference) < 4.5 * spread + 1e-12).all()


def test_what_muscles_exclude(samples):
    def of(name: str) -> np.ndarray:
        return samples[:, INDEX[name]]

    assert (of("mouthClose") <= of("jawOpen")).all()
    for part in ("jaw", "mouth"):
        assert (np.minimum(of(part + "Left"), of(part + "Right")) == 0).all()
    for side in ("Left", "Right"):
        assert (of("eyeWide" + side) <= 1 - of("eyeBlink" + side) + 1e-12).all()
        assert (of("eyeSquint" + side) <= 2 * (1 - of("eyeBlink" + side)) + 1e-12).all()


def test_feasible_by_hand():
    w = np.zeros(52)
    for name, value in {"mouthClose": 0.9, "jawOpen": 0.2, "jawLeft": 0.3, "jawRight": 0.5, "mouthLeft": 0.4,
                        "eyeBlinkLeft": 0.75, "eyeWideLeft": 0.8, "eyeSquintLeft": 0.9, "eyeWideRight": 0.8,
                        "mouthSmileRight": 1.0, "mouthFrownRight": 0.5, "mouthFrownLeft": 0.5}.items():  # fmt: skip
        w[INDEX[name]] = value
    before = w.copy()
    got = feasible(w)
    np.testing.assert_array_equal(w, before)  # not written into
    expected = before
    for name, value in {"mouthClose": 0.2, "jawLeft": 0.0, "eyeWideLeft": 0.2, "eyeSquintLeft": 0.5,
                        "mouthFrownRight": 0.15}.items():  # fmt: skip
        expected[INDEX[name]] = value
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_feasible_keeps_what_is_feasible(samples):
    """But for the two rules that scale (a wide eye by its blink, a frown by its smile), twice is once."""
    scaled = [INDEX[name + side] for name in ("eyeWide", "mouthFrown") for side in ("Left", "Right")]
    for weights in samples[:200]:
        again = feasible(weights)
        again[scaled] = weights[scaled]
        np.testing.assert_array_equal(again, weights)
