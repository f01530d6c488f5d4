"""BaselFaceModel_mod.mat, in files of its layout made here."""

import re
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.facemodels import FaceModelError, load

scipy_io = pytest.importorskip("scipy.io", reason="MATLAB files need scipy (extra mat)")


def struct(toy) -> dict[str, np.ndarray]:
    """The struct BFM as trimBaselFace.py of 3DMM-CNN writes it: doubles, columns, numbers from 1."""
    column = (-1, 1)
    return {
        "faces": toy.triangles[:, [0, 2, 1]].astype(np.float64) + 1,  # clockwise, which must not matter
        "shapeMU": toy.mean.reshape(column), "shapePC": toy.identity, "shapeEV": toy.sigma_i.reshape(column),
        "texMU": toy.colors.reshape(column), "texPC": toy.tint, "texEV": toy.sigma_t.reshape(column),
        "expMU": toy.offset.reshape(column), "expPC": toy.expression, "expEV": toy.sigma_e.reshape(column),
        "innerLandmarkIndex": toy.landmarks.reshape(column).astype(np.float64) + 1,
        "outerLandmarkIndex": toy.landmarks.reshape(column).astype(np.float64) + 1,
    }  # fmt: skip


def written(folder: Path, fields: dict, **options) -> Path:
    path = folder / "model.bin"  # the content says what it is, not the name
    with path.open("wb") as file:
        scipy_io.savemat(file, {"BFM": fields}, **options)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_decodes_as_the_released_code(tmp_path, toy, compressed):
    model = load(written(tmp_path, struct(toy), do_compression=compressed))
    expected = toy.decoded + toy.offset.reshape(-1, 3)
    np.testing.assert_allclose(model.decode(toy.codes_i, toy.codes_e), expected, rtol=0, atol=1e-9)
    assert model.mean.dtype == model.identity_basis.dtype == np.float64
    np.testing.assert_array_equal(model.landmark_ids, toy.landmarks)
    np.testing.assert_allclose(model.landmarks(None, toy.codes_e), model.decode(None, toy.codes_e)[toy.landmarks])
    assert model.triangles.dtype == np.int32
    assert (toy.fronts(model.triangles) > 0).all()
    assert not model.has("uvs")


def test_texture_is_clipped_rgb(tmp_path, toy):
    model = load(written(tmp_path, struct(toy)))
    np.testing.assert_array_equal(model.texture(), toy.colors.reshape(-1, 3))
    flat = toy.colors + toy.tint.astype(float) @ (toy.sigma_t * toy.codes_t * 20)
    assert flat.min() < 0
    np.testing.assert_allclose(model.texture(toy.codes_t * 20), np.clip(flat, 0, 255).reshape(-1, 3), atol=1e-9)


def test_without_texture_and_landmarks(tmp_path, toy):
    fields = {name: value for name, value in struct(toy).items() if "tex" not in name and "Landmark" not in name}
    model = load(written(tmp_path, fields))
    with pytest.raises(FaceModelError, match="'Basel Face Model, cut for 3DMM-CNN and ExpNet' has no texture"):
        model.texture()
    with pytest.raises(FaceModelError, match="has no landmarks"):
        model.landmarks()


@pytest.mark.parametrize(("changes", "words"), [
    ({"expPC": None}, "BFM lacks expPC"),
    ({"shapeMU": np.zeros((431, 1))}, "shapeMU has 431 numbers"),
    ({"shapePC": np.zeros((431, 5))}, "shapePC has shape [431, 5]; [432, any] is expected"),
    ({"shapeEV": np.ones((6, 1))}, "the sigma of shapePC has shape [6]; [5] is expected"),
    ({"shapeEV": -np.ones((5, 1))}, "the sigma of shapePC holds negative values"),
    ({"expMU": np.full((432, 1), np.nan)}, "expMU holds values that are not finite"),
    ({"faces": np.zeros((3, 3))}, "faces points outside 1..144"),
    ({"faces": np.full((3, 3), 145.0)}, "faces points outside 1..144"),
    ({"faces": np.full((3, 3), 1.5)}, "faces holds fractions"),
    ({"faces": np.zeros((0, 3))}, "it has no triangles"),
    ({"outerLandmarkIndex": np.ones((51, 1))}, "outerLandmarkIndex has shape [51]; [68] is expected"),
    ({"shapeMU": np.full((432, 1), 1.0)}, "its mean face is"),
    ({"expEV": np.array([["a", "b"]])}, "the sigma of expPC has"),
])  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, toy, changes, words):
    fields = {name: value for name, value in (struct(toy) | changes).items() if value is not None}
    path = written(tmp_path, fields)
    with pytest.raises(FaceModelError, match=re.escape(words)) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_micrometres_are_refused(tmp_path, toy):
    fields = struct(toy)
    with pytest.raises(FaceModelError, match=r"1\.8e\+05 mm long; 50 to 1000 mm are expected"):
        load(written(tmp_path, fields | {"shapeMU": fields["shapeMU"] * 1000}))
