"""Identities keep to people's proportions at rest."""

import numpy as np
import pytest

from expnet_tf.data.scenes.resting import PROPORTIONS, Resting, proportions
from expnet_tf.data.synth import scenery


@pytest.fixture(scope="module")
def model():
    return scenery(None).model


def measured(model, identities: np.ndarray) -> np.ndarray:
    """Proportions [n, k] of decoded neutral faces, as a ruler would find them."""
    faces = model.mean + np.tensordot(identities, model.identity_basis.reshape(len(model.identity_basis), -1, 3), 1)
    points = faces[:, model.landmark_ids]
    eyes = model.mean[model.landmark_ids]
    return proportions(points) / np.linalg.norm(eyes[36:42].mean(0) - eyes[42:48].mean(0))


@pytest.mark.parametrize("spread", [0.7, 1.0])
def test_means_and_spreads_are_peoples(model, spread):
    resting, rng = Resting(model), np.random.default_rng(5)
    settled = np.array([resting.settle(rng.normal(size=99) * spread, spread) for _ in range(1500)])
    found = measured(model, settled)
    mean, deviation = np.array([row[2:] for row in PROPORTIONS.values()]).T
    np.testing.assert_allclose(found.mean(0), mean, atol=0.006)
    assert (found.std(0) < deviation * 1.06).all()


def test_what_is_no_proportion_stays(model):
    """The smallest change: nothing moves in the directions that leave all proportions as they are."""
    resting, drawn = Resting(model), np.random.default_rng(6).normal(size=99)
    change = resting.settle(drawn, 1.0) - drawn
    free = np.linalg.svd(resting.slope.T)[2][len(PROPORTIONS) :]
    assert np.abs(free @ change).max() < 1e-9
    assert np.abs(change).max() > 0.1
