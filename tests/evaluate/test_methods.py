"""Methods and files of codes: the network's codes are the predictor's, files are read or refused in one sentence."""

import numpy as np
import pytest

from expnet_tf.evaluate.methods import EXPRESSION, CodesError, FileCodes, Network
from expnet_tf.image import read_image
from expnet_tf.models import ASSETS
from expnet_tf.morphable import open_face

BOX = (190.0, 60.0, 110.0, 150.0)


@pytest.fixture(scope="module")
def network():
    return Network("compact")


def test_the_networks_codes_are_the_predictors(network):
    image = read_image(ASSETS / "astronaut.jpg")
    codes = network.codes([image, image[::2]], [BOX, (0, 0, 80, 90)])
    assert codes.shape == (2, 29)
    expected = network.predictor.predict(image, BOX)[0]
    np.testing.assert_allclose(codes[0], expected.expression, atol=1e-4)
    weights = network.blendshapes(codes[:1])[0]
    np.testing.assert_allclose(np.clip(weights, 0, 1), list(expected.blendshapes.values()), atol=1e-4)
    assert weights.min() < 0  # not clipped
    assert network.space == EXPRESSION
    assert network.id.startswith(f"network:{network.name}:")


def test_a_box_beside_the_photo_is_an_abstention(network):
    image = np.full((40, 40, 3), 128, np.uint8)
    codes = network.codes([image, image], [(100, 100, 20, 20), (5, 5, 30, 30)])
    assert np.isnan(codes[0]).all()
    assert np.isfinite(codes[1]).all()
    assert np.isnan(network.codes([image], [(100, 100, 20, 20)])).all()


def write(file, /, **arrays):
    np.savez(file, **arrays)
    return file


def test_a_file_of_codes_answers_by_path_scale_and_setting(tmp_path):
    file = write(
        tmp_path / "peer.npz",
        path=np.array(["a/1.jpg", "a/2.jpg", "a/1.jpg", "a/1.jpg"]),
        codes=np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]]),
        scale=np.array([1, 1, 0.4, 0.4]),
        setting=np.array(["", "", "box given", "end to end"]),
    )
    codes = FileCodes(file)
    assert codes.name == "peer"
    assert codes.scales == (1.0, 0.4)
    assert codes.blendshapes is None
    found = codes.lookup(["a/2.jpg", "b.jpg", "a/1.jpg"], 1.0, "box given")
    np.testing.assert_array_equal(found, [[3, 4], [np.nan] * 2, [1, 2]])
    np.testing.assert_array_equal(codes.lookup(["a/1.jpg"], 0.4, "end to end"), [[7, 8]])
    np.testing.assert_array_equal(codes.lookup(["a/1.jpg"], 0.4, "box given"), [[5, 6]])
    assert np.isnan(codes.lookup(["a/1.jpg"], 0.2, "box given")).all()


def test_columns_with_arkit_names_are_blendshapes(tmp_path):
    names = np.array(["jawOpen", "pose", "mouthSmileLeft"])
    file = write(tmp_path / "m.npz", path=np.array(["1"]), codes=np.array([[0.5, 9, 0.25]]), names=names)
    weights = FileCodes(file).blendshapes(np.array([[0.5, 9, 0.25]]))[0]
    known = dict(zip(open_face().blendshape_names, weights, strict=True))
    assert known["jawOpen"] == 0.5
    assert known["mouthSmileLeft"] == 0.25
    assert np.isnan(known["mouthSmileRight"])


def test_z_of_the_open_face_model_has_its_blendshapes(tmp_path):
    file = write(tmp_path / "z.npz", path=np.array(["1"]), codes=np.ones((1, 29)), space=np.array(EXPRESSION))
    expected = np.ones(29) @ open_face().expression_to_blendshapes
    np.testing.assert_allclose(FileCodes(file).blendshapes(np.ones((1, 29)))[0], expected)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"path": np.array(["1"])}, "lacks codes"),
        ({"path": np.array(["1"]), "codes": np.ones(3)}, "numbers"),
        ({"path": np.array(["1", "2"]), "codes": np.ones((3, 2))}, "path has shape"),
        ({"path": np.array([1, 2, 3]), "codes": np.ones((3, 2))}, "text is expected"),
        ({"path": np.array(["1", "1"]), "codes": np.ones((2, 2))}, "2 codes for 1 different"),
        ({"path": np.array(["1"]), "codes": np.full((1, 2), np.inf)}, "infinite"),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path, arrays, words):
    with pytest.raises(CodesError, match=words):
        FileCodes(write(tmp_path / "bad.npz", **arrays))


def test_no_file_and_no_archive(tmp_path):
    with pytest.raises(CodesError, match="no such file"):
        FileCodes(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("path,codes")
    with pytest.raises(CodesError, match=r"not a readable \.npz file of codes \(no npz archive"):
        FileCodes(tmp_path / "text.npz")
