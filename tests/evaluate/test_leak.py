"""Identity leak: found where it was put, and nowhere else."""

import numpy as np
import pytest

from expnet_tf.evaluate.leak import identity_leak, left_out_r2, person_share


def people(count=60, each=8):
    """Label columns of `count` people, `each` images."""
    rng = np.random.default_rng(1)
    subject = np.repeat([f"{number:04d}" for number in range(count)], each)
    identity = np.repeat(rng.normal(size=(count, 99)), each, axis=0)
    return {"subject": subject, "identity": identity, "expression": rng.normal(size=(count * each, 29)) * 0.3}


def test_what_follows_from_identity_is_found_on_people_left_out():
    truth = people(250, 4)
    neutral = np.arange(1000) % 4 == 0
    noise = 0.05 * np.random.default_rng(2).normal(size=(1000, 29))
    shift = truth["identity"] @ (0.05 * np.random.default_rng(3).normal(size=(99, 29)))
    leaking = identity_leak(truth["expression"] + noise + shift, truth, neutral)
    clean = identity_leak(truth["expression"] + noise, truth, neutral)
    assert leaking["neutral"]["r2"] > 0.5
    assert leaking["all"]["r2"] > 0.5
    assert clean["all"]["r2"] < 0.02
    assert clean["all"]["by person"] < 0.02
    assert leaking["all"]["by person"] > 0.8
    assert clean["neutral"] == {"images": 250, "people": 250, "r2": clean["neutral"]["r2"], "by person": None}


def test_a_persons_own_offset_is_by_person_and_not_by_identity():
    """Skin or brows, say, which the identity code does not hold."""
    truth = people()
    offset = np.repeat(np.random.default_rng(4).normal(size=(60, 29)), 8, axis=0)
    found = identity_leak(truth["expression"] + offset, truth, np.full(480, True))
    assert found["all"]["r2"] < 0.1
    assert found["all"]["by person"] > 0.95


def test_few_people_tell_nothing():
    truth = people(6, 4)
    found = identity_leak(truth["expression"], truth, np.full(24, False))
    assert found["all"] == {"images": 24, "people": 6, "r2": None, "by person": None}
    assert found["neutral"]["people"] == 0


def test_share_between_groups_is_the_analysis_of_variances():
    # Two variance components, 1 between and 3 within: a share of 1/4.
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(3000), rng.integers(1, 6, 3000))
    values = rng.normal(size=3000)[groups] + np.sqrt(3) * rng.normal(size=len(groups))
    assert person_share(values[:, None], groups) == pytest.approx(0.25, abs=0.03)
    assert person_share(np.zeros((4, 1)), np.array([0, 0, 1, 1])) == 0
    assert person_share(np.zeros((3, 1)), np.arange(3)) is None


def test_left_out_r2_of_an_exact_line_is_nearly_one():
    inputs = np.random.default_rng(6).normal(size=(2000, 3))
    outputs = inputs @ np.ones((3, 2)) + 4
    assert left_out_r2(inputs, outputs, np.arange(2000)) > 0.99
