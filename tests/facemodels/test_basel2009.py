"""The Basel Face Model of 2009 with expressions of 3DDFA and of Guo et al., in files of their layouts made here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expnet_tf.facemodels import load

scipy_io = pytest.importorskip("scipy.io", reason="MATLAB files need scipy (extra mat)")

UM = 1000.0  # micrometres in a mm
CUT = 24  # vertices, two rows of the toy, that trimming takes away


def column(values: np.ndarray) -> np.ndarray:
    return np.reshape(values, (-1, 1)).astype(np.float32)


def mat(path: Path, fields: dict[str, Any]) -> Path:
    scipy_io.savemat(path, fields, appendmat=False)
    return path


def whole(toy) -> dict[str, np.ndarray]:
    """01_MorphableModel.mat: single precision, micrometres, `tl` uint32 from 1, clockwise; and other fields."""
    return {
        "shapeMU": column(toy.mean * UM), "shapePC": toy.identity, "shapeEV": column(toy.sigma_i * UM),
        "texMU": column(toy.colors), "texPC": toy.tint, "texEV": column(toy.sigma_t),
        "tl": toy.triangles[:, [1, 0, 2]].astype(np.uint32) + 1,
        "segbin": np.zeros((toy.n, 4), bool), "segMM": np.eye(3), "segMB": np.eye(3),
    }  # fmt: skip


def expressions(toy, n: int) -> dict[str, np.ndarray]:
    """Model_Expression.mat of the first n vertices' worth of numbers."""
    return {
        "mu_exp": column(toy.offset[-3 * n :] * UM), "w_exp": toy.expression[-3 * n :] * np.float32(10),
        "sigma_exp": column(toy.sigma_e * UM / 10),
    }  # fmt: skip


def trimming(toy) -> dict[str, np.ndarray]:
    """model_info.mat: which vertices stay, from 1, triangles [3, t] and keypoints [1, 68] in the new numbers."""
    keep = np.arange(CUT, toy.n)
    inside = toy.triangles[(toy.triangles >= CUT).all(axis=1)] - CUT
    return {
        "trimIndex": column(keep + 1), "tri": inside.T.astype(float) + 1,
        "keypoints": np.arange(1, 69, dtype=float)[None], "symlist": np.zeros((1, 3)),
    }  # fmt: skip


def guo(path: Path, toy, n: int) -> Path:
    """Exp_Pca.bin: int32 k, float32 mean and basis; micrometres; the mean is left out by its users."""
    basis = toy.expression[-3 * n :].T
    path.write_bytes(
        np.int32(len(basis)).tobytes() + np.full(3 * n, 7e6, np.float32).tobytes() + basis.astype(np.float32).tobytes()
    )
    return path


def test_shape_expressions_and_trimming(tmp_path, toy):
    n = toy.n - CUT
    model = load(
        mat(tmp_path / "shape.mat", whole(toy)),
        expression=mat(tmp_path / "expressions.mat", expressions(toy, n)),
        trim=mat(tmp_path / "trim.mat", trimming(toy)),
    )
    expected = toy.decoded[CUT:] + toy.offset[-3 * n :].reshape(-1, 3)
    np.testing.assert_allclose(model.decode(toy.codes_i, toy.codes_e), expected, rtol=0, atol=1e-4)  # float32 of 1e5
    np.testing.assert_array_equal(model.landmark_ids, np.arange(68))
    assert (toy.fronts(model.triangles + CUT) > 0).all()
    assert len(model.triangles) == (toy.triangles >= CUT).all(axis=1).sum()
    np.testing.assert_allclose(model.texture(), toy.colors.reshape(-1, 3)[CUT:], atol=1e-4)
    assert model.texture_basis.shape == (3, n, 3)


def test_trimming_without_triangles_renumbers_those_of_the_shape(tmp_path, toy):
    trim = mat(tmp_path / "trim.mat", {"trimIndex": trimming(toy)["trimIndex"]})  # BFM_exp_idx.mat
    model = load(mat(tmp_path / "shape.mat", whole(toy)), trim=trim)
    assert set(map(tuple, model.triangles)) == set(map(tuple, np.roll(
        toy.triangles[(toy.triangles >= CUT).all(axis=1)][:, [0, 1, 2]] - CUT, 1, axis=1)))  # fmt: skip
    assert not model.has("landmarks")


def test_without_expressions(tmp_path, toy, refused):
    path = mat(tmp_path / "shape.mat", whole(toy))
    model = load(path)
    assert model.expression_basis.shape == (0, toy.n, 3)
    np.testing.assert_allclose(model.decode(np.zeros(5), np.zeros(0)), toy.mean, atol=1e-4)
    refused(path, "it belongs to Exp_Pca.bin", named=path, sigma=path)


def test_guos_expressions(tmp_path, toy):
    deviations = tmp_path / "std_exp.txt"
    deviations.write_text(" ".join(f"{value:.6e}" for value in toy.sigma_e * UM) + "\n")
    model = load(
        mat(tmp_path / "shape.mat", whole(toy)), expression=guo(tmp_path / "Exp_Pca.bin", toy, toy.n), sigma=deviations
    )
    np.testing.assert_allclose(model.decode(toy.codes_i, toy.codes_e), toy.decoded, rtol=0, atol=1e-3)


@pytest.mark.parametrize("keypoints", [False, True])
def test_model_shape(tmp_path, toy, keypoints):
    fields = {
        "mu_shape": column(toy.mean * UM), "w": toy.identity, "sigma": column(toy.sigma_i * UM),
        "tri": toy.triangles.T.astype(float) + 1,
    }  # fmt: skip
    if keypoints:
        fields["keypoints"] = toy.landmarks[None].astype(float) + 1
    path = mat(tmp_path / "Model_Shape.mat", fields)
    model = load(path, expression=mat(tmp_path / "expressions.mat", expressions(toy, toy.n)))
    expected = toy.decoded + toy.offset.reshape(-1, 3)
    np.testing.assert_allclose(model.decode(toy.codes_i, toy.codes_e), expected, rtol=0, atol=1e-4)
    assert model.has("landmarks") == keypoints


def test_model_shape_without_sigma_or_trimmed_twice(tmp_path, toy, refused):
    fields = {"mu_shape": column(toy.mean * UM), "w": toy.identity, "tri": toy.triangles.T + 1}
    path, trim = tmp_path / "Model_Shape.mat", mat(tmp_path / "trim.mat", trimming(toy))
    refused(mat(path, fields), "it lacks sigma; 01_MorphableModel.mat")
    refused(mat(path, fields | {"sigma": column(toy.sigma_i)}), "it is trimmed already", trim=trim)


def test_what_does_not_fit_is_said(tmp_path, toy, refused):
    shape, other = mat(tmp_path / "shape.mat", whole(toy)), tmp_path / "other.mat"
    n = toy.n - CUT
    refused(shape, f"expressions of {n} vertices, and the shape has {toy.n}", "model_info.mat", named=other,
            expression=mat(other, expressions(toy, n)))  # fmt: skip
    refused(shape, "it lacks sigma_exp", named=other, expression=mat(other, {"mu_exp": 1, "w_exp": 1}))
    refused(shape, "it lacks trimIndex", named=other, trim=mat(other, {"tri": 1}))
    refused(shape, "trimIndex points outside 1..144", named=other, trim=mat(other, {"trimIndex": [[145]]}))
    refused(shape, "trimIndex names a vertex twice", named=other, trim=mat(other, {"trimIndex": [[1, 1]]}))
    fields = trimming(toy)
    refused(shape, "keypoints has shape [67]", named=other, trim=mat(other, fields | {"keypoints": np.ones((1, 67))}))
    refused(shape, "tri has shape", named=other, trim=mat(other, fields | {"tri": np.ones((4, 9))}))
    sigma = tmp_path / "std_exp.txt"
    sigma.write_text("1 2 3")
    refused(shape, "has sigma_exp of its own", named=sigma, sigma=sigma, expression=mat(other, expressions(toy, toy.n)))
    binary = guo(tmp_path / "Exp_Pca.bin", toy, toy.n)
    refused(shape, "std_exp.txt is needed as sigma", named=binary, expression=binary)
    refused(shape, "the sigma of the basis has shape [3]; [4]", named=binary, expression=binary, sigma=sigma)
    sigma.write_text("one two")
    refused(shape, "not a text file of numbers", named=sigma, expression=binary, sigma=sigma)
    binary.write_bytes(binary.read_bytes()[:-1])
    refused(shape, "neither a MATLAB file nor Exp_Pca.bin", named=binary, expression=binary, sigma=sigma)
    guo(binary, toy, 100)
    refused(shape, "expressions of 100 vertices", named=binary, expression=binary, sigma=sigma)


def test_a_shape_in_another_unit_or_without_fields(tmp_path, toy, refused):
    path, fields = tmp_path / "shape.mat", whole(toy)
    refused(mat(path, fields | {"shapeMU": column(toy.mean)}), "its mean face is 0.18 mm long")
    refused(mat(path, {"shapeMU": fields["shapeMU"]}), "it lacks shapePC, shapeEV, tl")
    refused(mat(path, fields | {"tl": np.zeros((3, 3))}), "tl points outside 1..144")


def test_truncated_files(tmp_path, toy, refused):
    path = mat(tmp_path / "shape.mat", whole(toy))
    data = path.read_bytes()
    for share in (0.2, 0.6, 0.95):
        path.write_bytes(data[: int(share * len(data))])
        refused(path)
