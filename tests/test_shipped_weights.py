"""The weights that ship see: figures well under what was measured when they were made (README, model table)."""

import csv
from importlib import resources

import pytest

import expnet_tf
from expnet_tf.data.synth import synthesize
from expnet_tf.image import read_image
from expnet_tf.models import shipped
from expnet_tf.network import load_model, read_info
from expnet_tf.train.batches import STILL, FaceBatches
from expnet_tf.train.compact import vertex_error

SIX_MEGABYTES = 6 * 2**20


@pytest.fixture(scope="module")
def predictor():
    return expnet_tf.load("compact")


def test_fits_its_budget(predictor):
    assert shipped()["compact"].stat().st_size <= SIX_MEGABYTES
    assert predictor.model.count_params() <= 1_500_000
    assert predictor.info.heads == ("expression", "identity", "pose")


def test_the_astronaut_smiles(predictor):
    with resources.as_file(resources.files("expnet_tf") / "assets" / "astronaut.jpg") as path:
        (face, *_) = predictor.predict(read_image(path))
    weights = face.blendshapes
    smile = (weights["mouthSmileLeft"] + weights["mouthSmileRight"]) / 2
    # A broad, toothy grin with open eyes.
    assert smile > 0.3
    assert smile > max(
        weights["mouthFrownLeft"], weights["mouthPucker"], weights["eyeBlinkLeft"], weights["browDownLeft"]
    )


@pytest.mark.slow
def test_a_smiling_photo_smiles_more_than_the_same_persons_neutral_one(predictor, shared):
    folder = shared / "data" / "london"
    with (folder / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    smiles: dict[str, dict[str, float]] = {}
    for row in rows:
        box = [float(row[f"box_{k}"]) for k in "xywh"]
        (face,) = predictor.predict(read_image(folder / row["path"]), box)
        smile = face.expression @ predictor.face_model.expression_to_blendshapes
        names = list(predictor.face_model.blendshape_names)
        both = smile[names.index("mouthSmileLeft")] + smile[names.index("mouthSmileRight")]
        smiles.setdefault(row["path"].split("/")[-1].split("_")[0], {})[row["label"]] = both
    right = [person["happiness"] > person["neutral"] for person in smiles.values()]
    assert len(right) >= 50
    assert sum(right) / len(right) >= 0.9


def share_of_mean_face_error(folder, assets):
    # Seed 9001 was neither trained on nor selected with.
    synthesize(folder, 40, 2, size=128, seed=9001, assets=assets, workers=1)
    path = shipped()["compact"]
    info = read_info(path)
    data = FaceBatches([folder], info.size, info.crop_factor, 80, STILL)
    return vertex_error(load_model(path), data)["share"]


@pytest.mark.slow
def test_unseen_synthetic_people_are_read_better_than_by_the_mean_face(shared, tmp_path):
    assert share_of_mean_face_error(tmp_path, shared / "data" / "makehuman") <= 0.7


@pytest.mark.slow
def test_so_are_people_of_procedural_skin_without_hair_which_training_never_showed(tmp_path):
    assert share_of_mean_face_error(tmp_path, None) <= 0.9  # 0.82 when the weights were made
