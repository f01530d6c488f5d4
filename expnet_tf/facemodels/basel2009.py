"""The Basel Face Model of 2009 with the expressions that 3DDFA or Guo et al. made for it.

`01_MorphableModel.mat`, micrometres: `shapeMU` [3n, 1], `shapePC` [3n, 199], `shapeEV` [199, 1], standard deviations;
the same of `tex` (RGB, 0..255); `tl` [t, 3] from 1. Vertices interleave xyz. 53,490 vertices.
Or `Model_Shape.mat`, which 3DDFA's scripts make of it: `mu_shape`, `w`, `sigma`, `tri`, perhaps `keypoints`.

Trimming (`model_info.mat` of 3DDFA, `BFM_exp_idx.mat` of Deep3DFaceReconstruction): `trimIndex`, the vertices that
stay, from 1; perhaps `tri` [3, t] and `keypoints` [1, 68] in the new numbers, from 1. 53,215 stay, those without the
inner mouth.

Expressions, of the vertices that stay, micrometres:
- `Model_Expression.mat` (3DDFA, HPEN, Face3D): `mu_exp` [3n, 1], `w_exp` [3n, 29], `sigma_exp` [29, 1]. A face is
  shape + expression, so `mu_exp` belongs to it.
- `Exp_Pca.bin` (Guo et al. 2018): int32 k, float32 mean [3n], float32 basis [k, 3n], and `std_exp.txt` with k standard
  deviations. Its users, Deep3DFaceReconstruction first, leave the mean out; so does this.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.facemodels import matlab
from expnet_tf.facemodels.assembly import assemble, indices, numbers, points, scaled_basis
from expnet_tf.facemodels.licences import BASEL
from expnet_tf.morphable import FaceModelError, MorphableModel

MM = 1e-3  # a micrometre
LANDMARKS = 68


def load(
    path: Path, expression: Path | None = None, trim: Path | None = None, sigma: Path | None = None
) -> MorphableModel:
    """The model, without expressions where no file of them is given.

    expression: `Model_Expression.mat` or `Exp_Pca.bin`; trim: the file with `trimIndex`; sigma: `std_exp.txt`, which
    `Exp_Pca.bin` needs. Raises FaceModelError when a file is not what the module's text says, or they do not fit.
    """
    has = matlab.variables(path)
    whole = _trimmed_shape(path, has) if "mu_shape" in has else _whole_shape(path, has)
    if trim is not None:
        if "mu_shape" in has:
            raise FaceModelError(f"{path}: it is trimmed already, so {trim} is not needed")
        whole = _trimmed(whole, trim)
    n = len(whole["mean"])
    offset, basis = np.zeros((n, 3)), np.zeros((0, n, 3))
    if expression is not None:
        offset, basis = _expressions(expression, sigma, n)
    elif sigma is not None:
        raise FaceModelError(f"{sigma}: it belongs to Exp_Pca.bin, which was not given")
    return assemble(
        path,
        mean=whole.pop("mean") + offset,
        expression_basis=basis,
        provenance={"name": "Basel Face Model 2009", "licence": BASEL},
        **whole,
    )


def _whole_shape(path: Path, has: dict[str, Any]) -> dict[str, Any]:
    names = ["shapeMU", "shapePC", "shapeEV", "tl"]
    texture = ["texMU", "texPC", "texEV"]
    found = matlab.read(path, *names, *(texture if all(name in has for name in texture) else []))
    mean = points(path, "shapeMU", found["shapeMU"]) * MM
    n = len(mean)
    made = {
        "mean": mean,
        "identity_basis": scaled_basis(path, "shapePC", found["shapePC"], found["shapeEV"] * MM, n),
        "triangles": indices(path, "tl", found["tl"], (-1, 3), n, first=1),
    }
    if "texMU" in found:
        made["texture_mean"] = points(path, "texMU", found["texMU"], n)
        made["texture_basis"] = scaled_basis(path, "texPC", found["texPC"], found["texEV"], n)
    return made


def _trimmed_shape(path: Path, has: dict[str, Any]) -> dict[str, Any]:
    if "sigma" not in has:
        raise FaceModelError(f"{path}: it lacks sigma; 01_MorphableModel.mat with model_info.mat to trim it has all")
    found = matlab.read(path, "mu_shape", "w", "sigma", "tri", *(["keypoints"] if "keypoints" in has else []))
    mean = points(path, "mu_shape", found["mu_shape"]) * MM
    made = {
        "mean": mean,
        "identity_basis": scaled_basis(path, "w", found["w"], found["sigma"] * MM, len(mean)),
    }
    return made | _new_numbers(path, found, len(mean))


def _new_numbers(path: Path, found: dict[str, Any], n: int) -> dict[str, Any]:
    """`tri` and `keypoints`, those that are there."""
    made = {}
    if "tri" in found:
        made["triangles"] = indices(path, "tri", np.transpose(found["tri"]), (-1, 3), n, first=1)
    if "keypoints" in found:
        made["landmark_ids"] = indices(path, "keypoints", np.ravel(found["keypoints"]), (LANDMARKS,), n, first=1)
    return made


def _trimmed(whole: dict[str, Any], trim: Path) -> dict[str, Any]:
    has = matlab.variables(trim)
    found = matlab.read(trim, "trimIndex", *(name for name in ("tri", "keypoints") if name in has))
    n = len(whole["mean"])
    keep = indices(trim, "trimIndex", np.ravel(found["trimIndex"]), (-1,), n, first=1)
    if len(np.unique(keep)) != len(keep):
        raise FaceModelError(f"{trim}: trimIndex names a vertex twice")
    new = np.full(n, -1, np.int32)
    new[keep] = np.arange(len(keep))
    triangles = new[whole["triangles"]]
    made = {name: array[..., keep, :] for name, array in whole.items() if name != "triangles"}
    return made | {"triangles": triangles[(triangles >= 0).all(axis=1)]} | _new_numbers(trim, found, len(keep))


def _expressions(path: Path, sigma: Path | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The offset [n, 3] and the basis [e, n, 3] of an expression file, mm."""
    with path.open("rb") as file:
        is_matlab = file.read(len(matlab.HEADER)) == matlab.HEADER
    if not is_matlab:
        return np.zeros((n, 3)), _guo(path, sigma, n)
    if sigma is not None:
        raise FaceModelError(f"{sigma}: it belongs to Exp_Pca.bin, and {path} has sigma_exp of its own")
    found = matlab.read(path, "mu_exp", "w_exp", "sigma_exp")
    _of_as_many(path, np.size(found["mu_exp"]) // 3, n)
    basis = scaled_basis(path, "w_exp", found["w_exp"], found["sigma_exp"] * MM, n)
    return points(path, "mu_exp", found["mu_exp"], n) * MM, basis


def _guo(path: Path, sigma: Path | None, n: int) -> np.ndarray:
    size = path.stat().st_size
    with path.open("rb") as file:
        count = int.from_bytes(file.read(4), "little", signed=True)
        if not 0 < count < 1000 or (size - 4) % (12 * (count + 1)):
            raise FaceModelError(f"{path}: neither a MATLAB file nor Exp_Pca.bin, by its first bytes and its size")
        _of_as_many(path, (size - 4) // (12 * (count + 1)), n)
        if sigma is None:
            raise FaceModelError(f"{path}: it has no standard deviations; std_exp.txt is needed as sigma")
        file.seek(4 + 12 * n)
        basis = np.fromfile(file, "<f4", count * 3 * n).reshape(count, -1)
    try:
        deviations = np.array(sigma.read_text(encoding="ascii").split(), float)
    except (OSError, ValueError) as error:
        raise FaceModelError(f"{sigma}: not a text file of numbers") from error
    return scaled_basis(path, "the basis", numbers(path, "the basis", basis, basis.shape).T, deviations * MM, n)


def _of_as_many(path: Path, vertices: int, n: int) -> None:
    if vertices != n:
        raise FaceModelError(
            f"{path}: expressions of {vertices:,} vertices, and the shape has {n:,}; a file with trimIndex, "
            "such as model_info.mat, trims the shape"
        )
