"""Landmarks of other programs -> a file of codes that the evaluation reads."""

import cv2
import numpy as np
import pytest

from expnet_tf.camera import project
from expnet_tf.evaluate import adapters
from expnet_tf.evaluate.baselines import expression_from_points
from expnet_tf.evaluate.methods import EXPRESSION, FileCodes
from expnet_tf.morphable import open_face


@pytest.fixture(scope="module")
def points():
    """68 points of five expressions, px [5, 68, 2]."""
    model = open_face()
    z = np.random.default_rng(0).normal(0, 0.5, (5, 29)) * np.sqrt(model.expression_variance)
    pose = np.array([0, 0.1, 0, 0, 0, -900.0])
    return np.stack([project(model.landmarks(None, row), pose, 500.0, (100.0, 100.0)) for row in z])


@pytest.fixture
def data(tmp_path):
    """Six photos of two classes."""
    for number in range(6):
        path = tmp_path / "data" / ("happy" if number % 2 else "neutral") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    return tmp_path / "data"


def key(number):
    return f"{'happy' if number % 2 else 'neutral'}/{number}.png"


def openface(folder, points):
    """Files as FaceLandmarkImg writes them: pixel centres at whole numbers."""
    for number, face in enumerate(points):
        path = (folder / key(number)).with_suffix(".csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        names = [f"x_{i}" for i in range(68)] + [f"y_{i}" for i in range(68)]
        values = [*(face[:, 0] - 0.5), *(face[:, 1] - 0.5)]
        header, row = ", ".join(["face", "confidence", *names]), ", ".join(map(str, [0, 0.9, *values]))
        path.write_text(f"{header}\n{row}\n")


def test_landmarks_of_two_scales_become_one_file(data, points, tmp_path, capsys):
    openface(tmp_path / "large", points)
    np.savez(tmp_path / "small.npz", key=np.array([key(n) for n in range(5)]), points=points * 0.4)
    out = tmp_path / "codes.npz"
    arguments = [str(data), f"1=openface:{tmp_path / 'large'}", f"0.4=npz:{tmp_path / 'small.npz'}"]
    assert adapters.main([*arguments, "--out", str(out), "--prior", "--name", "peer"]) == 0
    assert "scale 0.4: 5 of 6 images" in capsys.readouterr().out
    codes = FileCodes(out)
    assert (codes.name, codes.space, codes.scales) == ("peer", EXPRESSION, (1.0, 0.4))
    expected = expression_from_points(points, prior=True)
    for scale in (1.0, 0.4):
        found = codes.lookup([key(n) for n in range(6)], scale, "box given")
        np.testing.assert_allclose(found[:5], expected, atol=1e-4)
        assert np.isnan(found[5]).all()
    plain = [str(data), f"1=openface:{tmp_path / 'large'}", "--out", str(out)]
    assert adapters.main(plain) == 0
    assert FileCodes(out).name == "openface"


@pytest.mark.parametrize("text", ["1=openface:nowhere", "1=dlib", "1=labels", "1=words"])
def test_what_is_no_file_of_landmarks_is_refused(data, text, tmp_path, capsys):
    assert adapters.main([str(data), text, "--out", str(tmp_path / "codes.npz")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "codes.npz").exists()


def test_a_scale_is_asked_for(data, tmp_path):
    with pytest.raises(SystemExit):
        adapters.main([str(data), "openface:somewhere", "--out", str(tmp_path / "codes.npz")])
