"""The cut Basel Face Model of 3DDFA_V2: `bfm_noneck_v3.pkl`, 38,365 vertices without ears and neck.

A pickle of a dict, micrometres: `u` [3n, 1] (or `u_shp` and `u_exp`), `w_shp` [3n, 40], `w_exp` [3n, 10] and
`keypoints` [204], the places of 68 landmarks in a vector that interleaves xyz, from 0. Its own `tri` is left from
before the cut and points outside; the right one is `tri.pkl`, [3, t] from 0.

It has no standard deviations. 3DDFA_V2 keeps those of its training labels in `param_mean_std_62d_120x120.pkl`: `std`
[62] of 12 numbers of pose, 40 of identity, 10 of expression, which make the sigma units here. That file's `mean` is not
used: code 0 is the model's own mean face, so the network's answer y is the code y + mean / std.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.facemodels import pickles
from expnet_tf.facemodels.assembly import assemble, indices, numbers, points, scaled_basis
from expnet_tf.facemodels.licences import BASEL
from expnet_tf.morphable import FaceModelError, MorphableModel

MM = 1e-3  # a micrometre
POSE, IDENTITY, EXPRESSION = 12, 40, 10  # numbers in a label


def load(
    path: Path, contents: dict[str, Any], sigma: Path | None = None, triangles: Path | None = None
) -> MorphableModel:
    """The model of a pickle that was read. sigma: `param_mean_std_62d_120x120.pkl`; triangles: `tri.pkl`.

    Raises FaceModelError when a file is missing or not what the module's text says.
    """
    if sigma is None:
        raise FaceModelError(f"{path}: it has no sigma; param_mean_std_62d_120x120.pkl is needed as sigma")
    deviations = _deviations(sigma)
    missing = [] if "u" in contents else [name for name in ("u_shp", "u_exp") if name not in contents]
    if missing:
        raise FaceModelError(f"{path}: it lacks u, or {' and '.join(missing)}")
    if "u" in contents:
        mean = points(path, "u", contents["u"]) * MM
    else:
        mean = points(path, "u_shp", contents["u_shp"]) * MM
        mean = mean + points(path, "u_exp", contents["u_exp"], len(mean)) * MM
    n = len(mean)
    parts: dict[str, Any] = {}
    if "keypoints" in contents:
        flat = indices(path, "keypoints", np.ravel(contents["keypoints"]), (3 * 68,), 3 * n, first=0).reshape(68, 3)
        if (flat != flat[:, :1] + np.arange(3)).any() or (flat[:, 0] % 3).any():
            raise FaceModelError(f"{path}: keypoints are no places of x, y and z of 68 vertices")
        parts["landmark_ids"] = flat[:, 0] // 3
    return assemble(
        path,
        mean=mean,
        identity_basis=_basis(path, "w_shp", contents, deviations[POSE : POSE + IDENTITY], n),
        expression_basis=_basis(path, "w_exp", contents, deviations[POSE + IDENTITY :], n),
        triangles=_triangles(path, contents, triangles, n),
        provenance={"name": "Basel Face Model, cut for 3DDFA_V2", "licence": BASEL},
        **parts,
    )


def _deviations(path: Path) -> np.ndarray:
    found = pickles.read(path)
    if not isinstance(found, dict) or "std" not in found:
        raise FaceModelError(f"{path}: no pickle of a dict with std")
    return numbers(path, "std", np.ravel(found["std"]), (POSE + IDENTITY + EXPRESSION,))


def _basis(path: Path, name: str, contents: dict[str, Any], deviations: np.ndarray, n: int) -> np.ndarray:
    columns = np.asarray(contents[name])
    if columns.ndim != 2 or columns.shape[1] < len(deviations):
        raise FaceModelError(f"{path}: {name} has shape {list(columns.shape)}; {len(deviations)} columns are expected")
    return scaled_basis(path, name, columns[:, : len(deviations)], deviations * MM, n)


def _triangles(path: Path, contents: dict[str, Any], triangles: Path | None, n: int) -> np.ndarray:
    if triangles is not None:
        return indices(triangles, "tri", np.transpose(pickles.read(triangles)), (-1, 3), n, first=0)
    try:
        return indices(path, "tri", np.transpose(contents["tri"]), (-1, 3), n, first=0)
    except (FaceModelError, KeyError):
        raise FaceModelError(f"{path}: its triangles are missing or of other vertices; tri.pkl is needed") from None
