"""Recipes that cannot be followed, and what labels.json says of one that can."""

import re

import keras
import pytest

from expnet_tf.data.labelling.recipe import Recipe, RecipeError, open_tools
from expnet_tf.models import DEFAULT
from expnet_tf.network import ExpNet, ModelInfo, save_model

TRUE = {"landmarks": "labels", "shape": "labels", "pose": "labels", "boxes": "labels"}


@pytest.mark.parametrize(("change", "words"), [
    ({"camera": "fisheye"}, "--camera is 'fisheye'; accepted: pinhole, orthographic"),
    ({"pool": "median"}, "--pool is 'median'; accepted: mean, confidence"),
    ({"boxes": "guess"}, "--boxes is 'guess'; accepted: detect, labels"),
    ({"prior": 0.0}, "--prior is 0.0; the noise of a landmark in px, above 0, is expected"),
    ({"jaw": -1.0}, "--jaw is -1.0; degrees of yaw, 0 to 180, are expected"),
    ({"jaw": float("nan")}, "--jaw is nan"),
    ({"landmarks": "lables"}, "--landmarks is 'lables'; accepted"),
    ({"pool": "confidence"}, "--pool confidence needs landmarks with a confidence; labels has none"),
    ({"shape": "network:none"}, "There is no model 'none'"),
    ({"face_model": "none.npz"}, "none.npz: no such face model file"),
])  # fmt: skip
def test_recipes_that_cannot_be_followed(faces, change, words):
    with pytest.raises(RecipeError, match=f"^{re.escape(words)}"):
        open_tools(Recipe(**{**TRUE, **change}), faces)


def test_a_source_without_labels(tmp_path):
    with pytest.raises(RecipeError, match=r"^--boxes labels needs a folder of expnet synth"):
        open_tools(Recipe(**{**TRUE, "landmarks": f"pts:{tmp_path}", "shape": "network", "pose": "landmarks"}), None)


def test_a_network_without_the_head(tmp_path, faces):
    path = tmp_path / "m.keras"
    model = ExpNet("compact", size=32, heads=("expression",))
    save_model(model, path, ModelInfo("m", "1.0", "compact", 32, 1.25, ("expression",), "random", "Apache-2.0"))
    with pytest.raises(RecipeError, match=re.escape(f"network:{path} has the heads expression; pose is needed")):
        open_tools(Recipe(**{**TRUE, "pose": f"network:{path}"}), faces)
    keras.backend.clear_session()


def test_what_is_said_of_a_recipe(faces):
    facts = open_tools(Recipe(**{**TRUE, "shape": "network", "prior": 2.0}), faces).facts
    assert facts["camera"] == "pinhole"
    assert facts["equation"] == {"bound": 3.0, "prior_px": 2.0, "jaw_degrees": None, "pose": "given"}
    assert facts["shape"] == {"kind": "network", "model": DEFAULT, "pool": "mean"}
    assert len(facts["networks"][DEFAULT]["sha256"]) == 64
    assert facts["boxes"] == {"kind": "labels"}
