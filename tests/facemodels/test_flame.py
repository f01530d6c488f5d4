"""FLAME, in pickles as Python 2 wrote them with chumpy, and in npz, of its layout made here."""

import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expnet_tf.facemodels import load

M = 1000.0  # mm in a metre
IDENTITY, EXPRESSION = 300, 7


def fields(toy) -> dict[str, Any]:
    """generic_model.pkl: metres; shapedirs times sigma, identity before expression; and some of its other fields."""
    columns = np.hstack([toy.identity.astype(float) * toy.sigma_i, toy.expression.astype(float) * toy.sigma_e])
    regressor = np.zeros((5, toy.n))
    regressor[[0, 1, 2, 3, 4], [3, 5, 7, 9, 11]] = 1
    return {
        "v_template": toy.mean / M, "f": toy.triangles.astype(np.uint32),
        "shapedirs": columns.reshape(toy.n, 3, -1) / M, "posedirs": np.zeros((toy.n, 3, 36)),
        "J_regressor": regressor, "weights": np.full((toy.n, 5), 0.2),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "J": np.zeros((5, 3)), "bs_type": "lrotmin", "bs_style": "lbs",
    }  # fmt: skip


def pickled(path: Path, value: Any) -> Path:
    path.write_bytes(pickle.dumps(value, 2))
    return path


def check(model, toy) -> None:
    np.testing.assert_allclose(model.decode(toy.codes_i, toy.codes_e), toy.decoded, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(model.triangles, toy.triangles)
    np.testing.assert_allclose(model.provenance["jaw_joint_mm"], toy.mean[7], atol=1e-4)
    assert "jaw" in model.provenance["not_driven"]
    assert not model.has("landmarks")


def test_pickle_with_chumpy_and_a_sparse_matrix(tmp_path, wide_toy, monkeypatch):
    sparse = pytest.importorskip("scipy.sparse", reason="writes the file")
    values = fields(wide_toy)
    with monkeypatch.context() as installed:
        ch = type("Ch", (), {"__module__": "chumpy.ch"})
        for module in ("chumpy", "chumpy.ch"):
            installed.setitem(sys.modules, module, types.ModuleType(module))
        sys.modules["chumpy.ch"].Ch = ch
        for name in ("v_template", "shapedirs"):
            array, values[name] = values[name], ch()
            values[name].__dict__ |= {"x": array, "_dirty_vars": set(), "_itr": None}
        values["J_regressor"] = sparse.csc_matrix(values["J_regressor"])
        path = pickled(tmp_path / "generic_model.pkl", values)
    check(load(path), wide_toy)


def test_npz(tmp_path, wide_toy):
    path = tmp_path / "flame.npz"
    np.savez(path, **fields(wide_toy))
    check(load(path), wide_toy)


def test_without_joints(tmp_path, wide_toy):
    values = {name: fields(wide_toy)[name] for name in ("v_template", "f", "shapedirs")}
    assert "jaw_joint_mm" not in load(pickled(tmp_path / "flame.pkl", values)).provenance


def embedding(path: Path, **changes: Any) -> Path:
    """landmark_embedding.npy: a dict that numpy.save pickles, points of triangles by weight."""
    weights = np.tile([0.2, 0.7, 0.1], (68, 1))
    values = {
        "full_lmk_faces_idx": np.arange(10, 78)[None], "full_lmk_bary_coords": weights[None],
        "static_lmk_faces_idx": np.arange(51), "dynamic_lmk_faces_idx": np.zeros((79, 17), int),
    }  # fmt: skip
    with path.open("wb") as file:
        np.save(file, values | changes, allow_pickle=True)
    return path


def test_landmarks_are_the_nearest_corners(tmp_path, wide_toy):
    path = pickled(tmp_path / "flame.pkl", fields(wide_toy))
    model = load(path, landmarks=embedding(tmp_path / "embedding"))
    np.testing.assert_array_equal(model.landmark_ids, wide_toy.triangles[10:78, 1])


def test_landmarks_that_are_wrong(tmp_path, wide_toy, refused):
    path, other = pickled(tmp_path / "flame.pkl", fields(wide_toy)), tmp_path / "embedding"
    refused(path, "full_lmk_faces_idx points outside 0..241", named=other,
            landmarks=embedding(other, full_lmk_faces_idx=np.full((1, 68), 242)))  # fmt: skip
    refused(path, "full_lmk_bary_coords has shape [51, 3]", named=other,
            landmarks=embedding(other, full_lmk_bary_coords=np.ones((1, 51, 3))))  # fmt: skip
    with other.open("wb") as file:
        np.save(file, np.arange(9))
    refused(path, "not a readable pickle", named=other, landmarks=other)
    with other.open("wb") as file:
        np.save(file, {"x": 1}, allow_pickle=True)
    refused(path, "no dict with full_lmk_faces_idx", named=other, landmarks=other)
    other.write_bytes(other.read_bytes()[:80])
    refused(path, "not a readable .npy file", named=other, landmarks=other)


@pytest.mark.parametrize(("changes", "words"), [
    ({"v_template": np.zeros((144, 2))}, "v_template has shape [144, 2]; [any, 3] is expected"),
    ({"shapedirs": np.zeros((143, 3, 307))}, "shapedirs has shape [143, 3, 307]; [144, 3, any] is expected"),
    ({"shapedirs": np.zeros((144, 3, 10))}, "shapedirs has 10 components; FLAME has 300 of identity"),
    ({"shapedirs": np.full((144, 3, 307), np.nan)}, "shapedirs holds values that are not finite"),
    ({"f": np.full((9, 3), 144)}, "f points outside 0..143"),
    ({"J_regressor": np.zeros((24, 144))}, "J_regressor has shape [24, 144]; [5, 144] is expected"),
    ({"posedirs": np.zeros((144, 3, 207))}, "posedirs has shape [144, 3, 207]; [144, 3, 36] is expected"),
    ({"weights": np.zeros((144, 24))}, "weights has shape [144, 24]; [144, 5] is expected"),
    ({"v_template": np.ones((144, 3))}, "its mean face is 0 mm long"),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["pkl", "npz"])
def test_what_is_wrong_is_said(tmp_path, wide_toy, refused, changes, words, kind):
    values = fields(wide_toy) | changes
    if kind == "pkl":
        path = pickled(tmp_path / "flame", values)
    else:
        np.savez(path := tmp_path / "flame.npz", **values)
    refused(path, words)


def test_an_npz_that_needs_pickle(tmp_path, wide_toy, refused):
    np.savez(path := tmp_path / "flame.npz", **fields(wide_toy) | {"f": np.array([{}])})
    refused(path, "not a readable .npz file")
