"""Surfaces of a dressed person: what the expression does to the light on eyes and teeth (needs the CC0 assets)."""

import numpy as np
import pytest

from expnet_tf.data.expressions import INDEX
from expnet_tf.data.scenes.scene import Person, Scenery
from expnet_tf.data.synth import scenery
from expnet_tf.render import Light, Surface


@pytest.fixture(scope="module")
def stage(shared) -> Scenery:
    return scenery(str(shared / "data/makehuman"))


@pytest.fixture(scope="module")
def person(stage) -> Person:
    return stage.person(np.random.default_rng(4))


def surfaces(stage: Scenery, person: Person, **units: float) -> list[Surface]:
    """Skin, eyes, then teeth and tongue where the mouth is open; without a lamp."""
    weights = np.zeros(len(INDEX))
    for name, value in units.items():
        for side in ("", "Left", "Right"):
            if name + side in INDEX:
                weights[INDEX[name + side]] = value
    expression = weights @ stage.model.blendshapes_to_expression
    vertices = stage.vertices(person, expression, np.zeros(8))
    light = Light(np.vstack([np.full((1, 3), 0.5), np.zeros((8, 3))]), np.array([0.0, 0.0, 1.0]), np.zeros(3))
    return stage.surfaces(person, vertices, weights, np.eye(3), np.array([0.0, 0.0, -800.0]), light, 0.5)


def test_eyes_darken_under_lowered_brows(stage, person):
    rest, frown, wide = (surfaces(stage, person, **units)[1].ambient
                         for units in ({"jawOpen": 0}, {"browDown": 1}, {"eyeWide": 1}))
    assert (frown < 0.5 * rest).all()
    assert (wide > rest).all()


def test_teeth_are_white_before_a_dark_mouth(stage, person):
    assert len(surfaces(stage, person)) == len(surfaces(stage, person, jawOpen=0.6)) - 2  # hidden by closed lips
    _, _, teeth, tongue, *_ = surfaces(stage, person, jawOpen=0.6)
    assert teeth.ambient.max() > 1
    assert tongue.ambient.max() <= 0.8
    assert np.median(teeth.ambient) > 1.5 * np.median(tongue.ambient)
