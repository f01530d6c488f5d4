"""3DDFA_V2's cut Basel model, in pickles of its layout made here."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expnet_tf.facemodels import load

UM = 1000.0  # micrometres in a mm


def written(path: Path, value: Any) -> Path:
    path.write_bytes(pickle.dumps(value, 2))
    return path


def fields(toy) -> dict[str, Any]:
    """bfm_noneck_v3.pkl: single precision, micrometres; its `tri` is of a larger mesh."""
    return {
        "u": (toy.mean.reshape(-1, 1) * UM).astype(np.float32), "w_shp": toy.identity, "w_exp": toy.expression,
        "keypoints": (3 * toy.landmarks[:, None] + np.arange(3)).ravel().astype(np.int64),
        "tri": np.full((3, 50), toy.n + 5, np.int32),
    }  # fmt: skip


def others(folder: Path, toy) -> dict[str, Path]:
    """param_mean_std_62d_120x120.pkl and tri.pkl [3, t] from 0, clockwise."""
    std = np.concatenate([np.full(12, 9e9), toy.sigma_i * UM, toy.sigma_e * UM]).astype(np.float32)
    return {
        "sigma": written(folder / "std.pkl", {"mean": np.full(62, 1e5, np.float32), "std": std}),
        "triangles": written(folder / "tri.pkl", toy.triangles[:, ::-1].T.copy()),
    }


def test_decodes_by_the_papers_formula(tmp_path, cut_toy):
    path = written(tmp_path / "bfm.pkl", fields(cut_toy))
    model = load(path, **others(tmp_path, cut_toy))
    np.testing.assert_allclose(model.decode(cut_toy.codes_i, cut_toy.codes_e), cut_toy.decoded, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(model.landmark_ids, cut_toy.landmarks)
    assert (cut_toy.fronts(model.triangles) > 0).all()
    assert model.identity_basis.shape[0] == 40
    assert model.expression_basis.shape[0] == 10


def test_fields_of_the_first_3ddfa_and_more_columns(tmp_path, cut_toy):
    values = fields(cut_toy)
    u = values.pop("u")
    values |= {"u_shp": u - 5, "u_exp": np.full_like(u, 5), "tri": cut_toy.triangles.T}
    more = np.ones((len(u), 7), np.float32)
    values |= {name: np.hstack([values[name], more]) for name in ("w_shp", "w_exp")}
    model = load(written(tmp_path / "bfm.pkl", values), sigma=others(tmp_path, cut_toy)["sigma"])
    np.testing.assert_allclose(model.decode(cut_toy.codes_i, cut_toy.codes_e), cut_toy.decoded, rtol=0, atol=1e-3)


def test_what_is_missing_is_said(tmp_path, cut_toy, refused):
    path, given = written(tmp_path / "bfm.pkl", fields(cut_toy)), others(tmp_path, cut_toy)
    refused(path, "it has no sigma; param_mean_std_62d_120x120.pkl is needed as sigma", triangles=given["triangles"])
    refused(path, "its triangles are missing or of other vertices; tri.pkl is needed", sigma=given["sigma"])
    values = fields(cut_toy)
    del values["u"]
    refused(written(path, values | {"u_exp": 1}), "it lacks u, or u_shp", **given)


@pytest.mark.parametrize(("changes", "words"), [
    ({"w_shp": np.zeros((432, 39))}, "w_shp has shape [432, 39]; 40 columns are expected"),
    ({"w_exp": np.zeros((431, 10))}, "w_exp has shape [431, 10]; [432, any] is expected"),
    ({"w_exp": np.full((432, 10), np.nan)}, "w_exp holds values that are not finite"),
    ({"w_exp": "text"}, "w_exp has shape []"),
    ({"keypoints": np.arange(204) + 1}, "keypoints are no places of x, y and z"),
    ({"keypoints": np.arange(203)}, "keypoints has shape [203]; [204] is expected"),
    ({"keypoints": np.arange(204) + 300}, "keypoints points outside 0..431"),
    ({"u": np.zeros(432)}, "its mean face is 0 mm long"),
])  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, cut_toy, refused, changes, words):
    path = written(tmp_path / "bfm.pkl", fields(cut_toy) | changes)
    refused(path, words, **others(tmp_path, cut_toy))


def test_other_files_that_are_wrong(tmp_path, cut_toy, refused):
    path, given = written(tmp_path / "bfm.pkl", fields(cut_toy)), others(tmp_path, cut_toy)
    wrong = written(tmp_path / "wrong.pkl", {"mean": np.zeros(62)})
    refused(path, "no pickle of a dict with std", named=wrong, **given | {"sigma": wrong})
    refused(path, "std has shape [61]", named=written(wrong, {"std": np.ones(61)}), **given | {"sigma": wrong})
    refused(path, "tri has shape", named=written(wrong, np.zeros((4, 5), int)), **given | {"triangles": wrong})
    wrong.write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    for option in ("sigma", "triangles"):
        refused(path, "names posix.system", named=wrong, **given | {option: wrong})
