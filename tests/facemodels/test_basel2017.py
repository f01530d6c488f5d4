"""The Basel Face Models of 2017 and 2019, in files of statismo's form made here."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from expnet_tf.facemodels import load


def fields(toy) -> dict[str, Any]:
    """What a version 0.9 file has: single precision, mm, colours 0..1, variances, cells [3, t] from 0."""
    f4 = np.float32
    landmarks = [
        {"id": "center.nose.tip", "coordinates": (toy.mean[66] + 0.3).tolist()},
        {"id": "left.lips.corner", "coordinates": toy.mean[100].tolist(), "uncertainty": {}},
    ]
    return {
        "shape/model/mean": toy.mean.ravel().astype(f4), "shape/model/pcaBasis": toy.identity,
        "shape/model/pcaVariance": (toy.sigma_i**2).astype(f4), "shape/model/noiseVariance": f4([0]),
        "shape/representer/cells": toy.triangles.T.astype(np.int32), "shape/representer/points": toy.mean.T.astype(f4),
        "expression/model/mean": toy.offset.astype(f4), "expression/model/pcaBasis": toy.expression,
        "expression/model/pcaVariance": (toy.sigma_e**2).astype(f4),
        "color/model/mean": (toy.colors / 255).astype(f4), "color/model/pcaBasis": toy.tint,
        "color/model/pcaVariance": ((toy.sigma_t / 255) ** 2).astype(f4),
        "metadata/landmarks/json": json.dumps(landmarks), "version/majorVersion": 0, "version/minorVersion": 9,
    }  # fmt: skip


def written(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "model.h5"
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            if value is not None:
                file[name] = value
    return path


def test_decodes_by_the_papers_formula(tmp_path, toy):
    model = load(written(tmp_path, fields(toy)))
    expected = toy.decoded + toy.offset.reshape(-1, 3)
    np.testing.assert_allclose(model.decode(toy.codes_i, toy.codes_e), expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(model.triangles, toy.triangles)
    flat = toy.colors + toy.tint.astype(float) @ (toy.sigma_t * toy.codes_t)
    np.testing.assert_allclose(model.texture(toy.codes_t), np.clip(flat, 0, 255).reshape(-1, 3), atol=1e-3)
    assert model.provenance["points"] == {"center.nose.tip": 66, "left.lips.corner": 100}
    assert not model.has("landmarks")


def test_the_older_form_has_its_sigma_in_the_basis(tmp_path, toy):
    values = fields(toy) | {"version/minorVersion": 8}
    for group, sigma in (("shape", toy.sigma_i), ("expression", toy.sigma_e), ("color", toy.sigma_t / 255)):
        values[f"{group}/model/pcaBasis"] = values[f"{group}/model/pcaBasis"] * sigma.astype(np.float32)
    model, newer = load(written(tmp_path, values)), load(written(tmp_path, fields(toy)))
    np.testing.assert_allclose(
        model.decode(toy.codes_i, toy.codes_e), newer.decode(toy.codes_i, toy.codes_e), rtol=0, atol=1e-4
    )


def test_without_color_landmarks_and_version(tmp_path, toy):
    values = {name: value for name, value in fields(toy).items() if name.startswith(("shape/m", "expr", "shape/r"))}
    del values["shape/representer/points"]
    model = load(written(tmp_path, values))
    assert not model.has("texture")
    assert model.provenance["points"] == {}


@pytest.mark.parametrize(("changes", "words"), [
    ({"shape/model/pcaBasis": None}, "it lacks shape/model/pcaBasis"),
    ({"shape/representer/cells": None}, "it lacks shape/representer/cells"),
    ({"shape/model/mean": np.zeros(431)}, "shape/model/mean has 431 numbers"),
    ({"shape/model/pcaVariance": np.full(5, -1.0)}, "shape/model/pcaVariance holds negative values"),
    ({"shape/model/pcaVariance": np.ones(4)}, "the sigma of shape/model/pcaBasis has shape [4]; [5]"),
    ({"expression/model/pcaBasis": np.full((432, 4), np.inf)}, "expression/model/pcaBasis holds values that are not"),
    ({"shape/representer/cells": np.full((3, 9), 144)}, "cells points outside 0..143"),
    ({"color/model/mean": np.full(432, 128.0)}, "color/model/mean reaches from 128 to 128; 0 to 1 is expected"),
    ({"metadata/landmarks/json": "[{}]"}, "is not a list of points with id and coordinates"),
    ({"metadata/landmarks/json": "not JSON"}, "is not a list of points with id and coordinates"),
    ({"shape/model/mean": "text"}, "shape/model/mean has"),
])  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, toy, refused, changes, words):
    refused(written(tmp_path, fields(toy) | changes), words)


def test_a_group_where_a_dataset_is_expected(tmp_path, toy, refused):
    values = {name: value for name, value in fields(toy).items() if name != "shape/model/mean"}
    refused(written(tmp_path, values | {"shape/model/mean/of": 1}), "shape/model/mean is no dataset")


def test_nothing_is_read_from_other_files(tmp_path, toy, refused):
    """HDF5 can take a dataset's bytes from any file on the disk."""
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["mean"] = toy.mean.ravel()
    (tmp_path / "raw").write_bytes(toy.mean.astype("<f8").tobytes())
    values = {name: value for name, value in fields(toy).items() if name != "shape/model/mean"}
    path = written(tmp_path, values | {"shape/model/mean": h5py.ExternalLink(other, "mean")})
    refused(path, "shape/model/mean is kept in another file, which is not read")
    path = written(tmp_path, values)
    with h5py.File(path, "a") as file:
        file.create_dataset("shape/model/mean", (432,), "<f8", external=[(tmp_path / "raw", 0, 3456)])
    refused(path, "shape/model/mean is kept in another file, which is not read")


def test_a_dataset_that_claims_much_is_not_read(tmp_path, toy, refused):
    path = written(tmp_path, {name: value for name, value in fields(toy).items() if name != "shape/model/pcaBasis"})
    with h5py.File(path, "a") as file:
        file.create_dataset("shape/model/pcaBasis", (432, 10**9), "f4", chunks=(432, 1000))
    assert path.stat().st_size < 10**6
    refused(path, "its datasets take 1,728,000,", "at most 2,147,483,648 are read")


def test_truncated(tmp_path, toy, refused):
    path = written(tmp_path, fields(toy))
    data = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(data[: int(share * len(data))])
        refused(path, "not a readable HDF5 file")
