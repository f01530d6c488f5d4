"""Landmarks by the name of their source."""

import importlib.util

import numpy as np
import pytest

from expnet_tf.data.labelling.landmark_files import NoLandmarks
from expnet_tf.data.labelling.landmark_sources import open_landmarks
from expnet_tf.data.labelling.tables import TableError, TrueLabels
from expnet_tf.image import read_image


@pytest.mark.parametrize("text", ["", "dlbi", "npz", "npz:", "pts", "openface", "dlib:model.dat", "labels:x"])
def test_what_is_not_accepted(text, faces):
    with pytest.raises(TableError, match=r"^--landmarks is '.*'; accepted: dlib, openface:PATH, pts:DIR, npz:FILE, or"):
        open_landmarks(text, TrueLabels(faces))


def test_true_points_need_true_labels(faces):
    with pytest.raises(TableError, match="--landmarks labels needs a folder of expnet synth"):
        open_landmarks("labels", None)
    truth = TrueLabels(faces)
    found = open_landmarks("labels", truth)
    points, confidence = found.find("0000001/001.jpg", np.zeros((1, 1, 3), np.uint8), None)
    np.testing.assert_array_equal(points, truth.row("0000001/001.jpg")["points"])
    assert confidence is None
    assert found.jaw_is_fixed
    with pytest.raises(NoLandmarks):
        found.find("0000001/999.jpg", np.zeros((1, 1, 3), np.uint8), None)


def test_dlib_says_its_version_and_licence(faces):
    for name in ("dlib", "face_recognition_models"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed (extra baselines)")
    found = open_landmarks("dlib", None)
    facts = found.describe()
    assert facts["kind"] == "dlib"
    # sha256sum of shape_predictor_68_face_landmarks.dat in face_recognition_models 0.3.0.
    assert facts["sha256"] == "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
    assert "not for commercial use" in facts["licence"]
    row = TrueLabels(faces).row("0000001/001.jpg")
    points, _ = found.find("0000001/001.jpg", read_image(faces / "0000001/001.jpg"), row["box"])
    x, y, w, h = row["box"]
    middle = points[17:].mean(0)
    assert x < middle[0] < x + w
    assert y < middle[1] < y + h
