"""expnet face-model info and convert, as the command is run."""

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from expnet_tf.cli import main
from expnet_tf.facemodels import OPTIONS, load
from expnet_tf.morphable import MorphableModel

ASSETS = Path(__file__).parents[2] / "expnet_tf" / "assets"


@pytest.fixture
def basel(tmp_path, toy) -> Path:
    """A Basel model of 2017, small."""
    path = tmp_path / "basel.h5"
    with h5py.File(path, "w") as file:
        for group, mean, columns, sigma in (
            ("shape", toy.mean.ravel(), toy.identity, toy.sigma_i),
            ("expression", toy.offset, toy.expression, toy.sigma_e),
            ("color", toy.colors / 255, toy.tint, toy.sigma_t / 255),
        ):
            file[f"{group}/model/mean"], file[f"{group}/model/pcaBasis"] = mean, columns
            file[f"{group}/model/pcaVariance"] = sigma**2
        file["shape/representer/cells"] = toy.triangles.T
        file["metadata/landmarks/json"] = '[{"id": "center.nose.tip", "coordinates": [0, 0, 60]}]'
    return path


def ran(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["face-model", *map(str, arguments)])
    return code, *capfd.readouterr()


def test_options_are_those_of_load():
    from expnet_tf.commands import face_model

    assert tuple(face_model.OPTIONS) == OPTIONS


def test_info(capfd, basel):
    code, out, error = ran(capfd, "info", basel)
    assert (code, error) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{basel}: Basel Face Model 2017 or 2019"
    for line in (
        "  vertices    144", "  triangles   242", "  components  5 identity, 4 expression, 3 texture",
        "  has         texture", "  lacks       landmarks, blendshapes, regions, uvs, mirror, gaze, MakeHuman base",
        "  landmarks   give 68 vertex numbers with --landmarks",
    ):  # fmt: skip
        assert line in lines
    assert "to the viewer; codes: sigma units of this model\n" in out
    assert "center.nose.tip" in out
    assert "licence     research only" in out


def test_info_of_our_own(capfd):
    code, out, _ = ran(capfd, "info", ASSETS / "open_face.npz")
    assert code == 0
    assert "open_face.npz: open_face" in out
    assert "5,293" in out
    assert "99 identity, 29 expression, 0 texture" in out
    assert "lacks       texture" in out
    assert "licence     CC0-1.0" in out


def test_convert(capfd, tmp_path, basel, toy):
    out = tmp_path / "model.npz"
    code, text, error = ran(capfd, "convert", basel, "--out", out)
    assert (code, error) == (0, "")
    assert text.splitlines()[-1].startswith(f"{out}: written, ")
    back = MorphableModel.from_file(out)
    expected = load(basel).decode(toy.codes_i, toy.codes_e)
    np.testing.assert_allclose(back.decode(toy.codes_i, toy.codes_e), expected, rtol=0, atol=1e-4)
    assert ran(capfd, "info", out)[1].splitlines()[0] == f"{out}: Basel Face Model 2017 or 2019"
    numbers = tmp_path / "landmarks.txt"
    numbers.write_text(" ".join(map(str, range(68))))
    assert ran(capfd, "convert", out, "--landmarks", numbers, "--out", tmp_path / "with.npz")[0] == 0
    np.testing.assert_array_equal(load(tmp_path / "with.npz").landmark_ids, np.arange(68))


def test_what_cannot_be_is_one_sentence_and_code_2(capfd, tmp_path, basel):
    harm = tmp_path / "harm.pkl"
    harm.write_bytes(b"cposix\nsystem\n(S'touch %s'\ntR." % str(tmp_path / "marker").encode())
    own = tmp_path / "own.npz"
    assert ran(capfd, "convert", basel, "--out", own)[0] == 0
    other = tmp_path / "link.npz"
    other.symlink_to(own)
    before, listed = own.read_bytes(), sorted(os.listdir(tmp_path))
    for arguments, words in (
        (("info", tmp_path / "nowhere"), "no such face model file"),
        (("info", harm), "names posix.system, which no face model needs; it was not run"),
        (("convert", harm, "--out", tmp_path / "a.npz"), "it was not run"),
        (("info", basel, "--trim", basel), "trim is no option of the Basel Face Model of 2017 or 2019"),
        (("convert", own, "--out", own), "is an input"),
        (("convert", own, "--out", other), "is an input"),
        (("convert", basel, "--landmarks", own, "--out", own), "is an input"),
        (("convert", basel, "--out", tmp_path / "a.npy"), "ends with '.npy'; .npz is expected"),
        (("convert", basel, "--out", tmp_path / "none" / "a.npz"), "lies in no folder that there is"),
    ):
        code, out, error = ran(capfd, *arguments)
        assert (code, out) == (2, "")
        assert error.startswith("expnet face-model: ")
        assert error.count("\n") == 1
        assert words in error
    assert own.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == listed


def test_a_folder_as_out(capfd, tmp_path, basel):
    (tmp_path / "a.npz").mkdir()
    assert "is a folder" in ran(capfd, "convert", basel, "--out", tmp_path / "a.npz")[2]


def test_a_pickle_of_another_kind(capfd, tmp_path):
    path = tmp_path / "smpl.pkl"
    path.write_bytes(pickle.dumps({"hands": np.zeros(3)}))
    code, _, error = ran(capfd, "info", path)
    assert code == 2
    assert "of no known face model (it has hands)" in error


def test_usage(capfd):
    assert ran(capfd)[0] == 2
    assert ran(capfd, "convert", "x")[0] == 2
    code, out, _ = ran(capfd, "info", "--help")
    assert code == 0
    assert "Pickles" in out
