"""Recognising a family, options, files of no family, and our own npz."""

import os
import pickle
import zipfile
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
import pytest

from expnet_tf.facemodels import OPTIONS, MorphableModel, load, save
from expnet_tf.facemodels.families import KINDS
from expnet_tf.morphable import FaceModelError, open_face

OPEN_FACE = Path(__file__).parents[2] / "expnet_tf" / "assets" / "open_face.npz"


@pytest.fixture
def basel(tmp_path, toy) -> Path:
    """BaselFaceModel_mod.h5: the fields of the .mat at the top of an HDF5 file."""
    path = tmp_path / "BaselFaceModel_mod.h5"
    with h5py.File(path, "w") as file:
        file["faces"] = toy.triangles + 1.0
        for name, (mean, columns, sigma) in {
            "shape": (toy.mean.ravel(), toy.identity, toy.sigma_i),
            "exp": (toy.offset, toy.expression, toy.sigma_e),
            "tex": (toy.colors, toy.tint, toy.sigma_t),
        }.items():
            file[f"{name}MU"], file[f"{name}PC"], file[f"{name}EV"] = mean[:, None], columns, sigma[:, None]
        file["innerLandmarkIndex"] = file["outerLandmarkIndex"] = toy.landmarks[:, None] + 1.0
    return path


def same(one: MorphableModel, other: MorphableModel, tolerance: float) -> None:
    rng = np.random.default_rng(0)
    a, z = rng.uniform(-3, 3, (4, len(one.identity_basis))), rng.uniform(-3, 3, (4, len(one.expression_basis)))
    np.testing.assert_allclose(one.decode(a, z), other.decode(a, z), rtol=0, atol=tolerance)
    for field in fields(MorphableModel):
        if "basis" not in field.name and not field.name.startswith("texture"):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), field.name)
            assert np.asarray(getattr(one, field.name)).dtype == np.asarray(getattr(other, field.name)).dtype


def test_mod_h5_decodes_as_the_released_code(basel, toy):
    model = load(basel)
    expected = toy.decoded + toy.offset.reshape(-1, 3)
    np.testing.assert_allclose(model.decode(toy.codes_i, toy.codes_e), expected, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(model.landmark_ids, toy.landmarks)
    assert model.has("texture")


def test_a_saved_model_decodes_the_same(tmp_path, basel, toy):
    model, path = load(basel), tmp_path / "model.npz"
    save(model, path)
    for back in (load(path), MorphableModel.from_file(path)):
        same(model, back, 1e-4)
        np.testing.assert_allclose(back.texture(toy.codes_t), model.texture(toy.codes_t), rtol=0, atol=1e-3)
    before = path.read_bytes()
    save(model, path)
    assert path.read_bytes() == before
    with np.load(path, allow_pickle=False) as data:
        assert all(data[name].dtype != object for name in data)
        assert data["mean"].dtype == np.float64


def test_the_open_face_is_loaded_and_saved_as_it_is(tmp_path):
    model = load(OPEN_FACE)
    same(model, open_face(), 0.0)
    save(model, tmp_path / "model.npz")
    same(load(tmp_path / "model.npz"), model, 0.0)  # its bases are in float16
    assert load(tmp_path / "model.npz").texture_mean is None


def test_saving_leaves_nothing_behind_where_it_fails(tmp_path, basel, monkeypatch):
    model, path = load(basel), tmp_path / "model.npz"
    path.write_bytes(b"before")

    def full(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        save(model, path)
    assert path.read_bytes() == b"before"
    assert sorted(os.listdir(tmp_path)) == ["BaselFaceModel_mod.h5", "model.npz"]


def test_files_of_no_family(tmp_path, refused):
    path = tmp_path / "file"
    refused(path, "no such face model file")
    refused(tmp_path, "a folder without generic_neutral_mesh.obj; of folders ICT-FaceKit's is read")
    for data in (b"", b"hello", b"\xff\xd8\xff\xe0 a photo", b"GLTF" * 200):
        path.write_bytes(data)
        refused(path, "of no known face model; read are", KINDS)
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(600, b"\0"))
    refused(path, "a MATLAB 7.3 file; save it anew in MATLAB with save(..., '-v7')")
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(128, b"\0"))
    refused(path, "not a readable MATLAB file")
    for value, words in (
        ({"v_template": 1, "kintree": 2}, "of no known face model (it has kintree, v_template)"),
        ([1, 2], "a pickle of a list; a dict of arrays is expected"),
        (np.zeros(3), "a pickle of a ndarray"),
    ):
        path.write_bytes(pickle.dumps(value))
        refused(path, words)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    refused(path, "of no known face model (it has x)")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, "not a face model, it lacks mean, identity_basis")
    path.write_bytes(path.read_bytes()[:40])
    refused(path, "not a readable .npz file")


def test_what_cannot_be_opened(tmp_path, basel, refused, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "neither a file nor a folder")

    def no(path, *arguments):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", no)
    refused(basel, "it cannot be read (Permission denied)")


def test_a_small_file_that_unpacks_to_much(tmp_path, refused, monkeypatch):
    path = tmp_path / "model.npz"
    np.savez_compressed(path, mean=np.zeros((10**6, 3)))
    monkeypatch.setattr("expnet_tf.facemodels.families.LIMIT", 10**6)
    assert path.stat().st_size < 10**5
    refused(path, "at most 1,000,000 are read")


def test_parts_of_the_basel_model_are_not_the_model(tmp_path, refused):
    scipy_io = pytest.importorskip("scipy.io", reason="MATLAB files need scipy (extra mat)")
    path = tmp_path / "part.mat"
    for fields_ in ({"mu_exp": 1, "w_exp": 1}, {"trimIndex": 1}):
        scipy_io.savemat(path, fields_)
        refused(path, "a part of the Basel Face Model of 2009; 01_MorphableModel.mat is the model")
    scipy_io.savemat(path, {"idBase": 1, "exBase": 2})
    refused(path, "of no known face model (it has exBase, idBase)")


def test_without_scipy_the_extra_is_named(tmp_path, monkeypatch):
    path = tmp_path / "model.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(128, b" "))
    monkeypatch.setitem(__import__("sys").modules, "scipy.io", None)
    with pytest.raises(FaceModelError, match=r"MATLAB files need scipy: pip install 'expnet_tf\[mat\]'"):
        load(path)


def test_options_are_of_a_family(tmp_path, basel, refused):
    other = tmp_path / "other"
    other.write_text("1 2 3")
    for option in OPTIONS[:-1]:
        refused(basel, f"{option} is no option of BaselFaceModel_mod.mat, which takes none", **{option: other})
        refused(OPEN_FACE, f"{option} is no option of a model of our own", **{option: other})
        refused(basel, "no such file", named=tmp_path / "nowhere", **{option: tmp_path / "nowhere"})
    with pytest.raises(TypeError, match="no option 'textures'; it has expression, trim"):
        load(basel, textures=other)


def test_landmarks_of_a_text(tmp_path, basel, refused):
    path = tmp_path / "landmarks.txt"
    path.write_text("# iBUG\n" + ", ".join(map(str, range(17))) + "  # jaw\n" + "\n".join(map(str, range(17, 68))))
    model = load(basel, landmarks=path)
    np.testing.assert_array_equal(model.landmark_ids, np.arange(68))
    assert model.landmark_ids.dtype == np.int32
    for text, words in (
        ("1 2 3", "has shape [3]; [68] is expected"), (" ".join(["144"] * 68), "points outside 0..143"),
        ("one", "not a text of 68 vertex numbers"), ("1 " * 100_000, "it is too long"),
    ):  # fmt: skip
        path.write_text(text)
        refused(basel, words, named=path, landmarks=path)
    path.write_bytes(b"\xff\xfe")
    refused(basel, "not a text of 68 vertex numbers", named=path, landmarks=path)
    path.write_bytes(b"\x93NUMPY")
    refused(basel, "landmarks is no option of BaselFaceModel_mod.mat", landmarks=path)


@pytest.mark.parametrize("names", [("v_template", "f", "shapedirs"), np.load(OPEN_FACE).files])
@pytest.mark.parametrize(
    "head", [f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**14},)}}", "{'descr': ((("]
)  # fmt: skip
def test_arrays_that_claim_more_than_there_is(tmp_path, refused, names, head):
    path = tmp_path / "model.npz"
    text = head.encode().ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"{name}.npy", array)
    refused(path, "not a readable .npz")
