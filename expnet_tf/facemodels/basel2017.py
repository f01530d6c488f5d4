"""The Basel Face Models of 2017 and 2019: HDF5 files in the form of statismo.

Groups `shape`, `expression` and `color`, each with `model/mean` [3n], `model/pcaBasis` [3n, k] and `model/pcaVariance`
[k]; mm, colours 0..1, vertices interleave xyz and rgb. `shape/representer/cells` [3, t] counts from 0. The basis is
orthonormal in version 0.9 of the form, and times the standard deviation in 0.8 (scalismo's StatismoIO). A face is
shape + expression: the mean of the expressions belongs to it.

The landmarks, `metadata/landmarks/json`, are named points of the reference mesh, `shape/representer/points` [3, n].
They are not the 68 of iBUG (the jaw is missing), so they are kept by name: provenance["points"], each with its nearest
vertex.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.facemodels import hdf
from expnet_tf.facemodels.assembly import assemble, indices, numbers, points, scaled_basis
from expnet_tf.facemodels.licences import BASEL
from expnet_tf.morphable import FaceModelError, MorphableModel

CELLS, POINTS, LANDMARKS = "shape/representer/cells", "shape/representer/points", "metadata/landmarks/json"
MINOR = "version/minorVersion"


def load(path: Path) -> MorphableModel:
    """The file's model. Raises FaceModelError when it is not what the module's text says."""
    shape, expression, colors = (
        [f"{group}/model/{name}" for name in ("mean", "pcaBasis", "pcaVariance")]
        for group in ("shape", "expression", "color")
    )
    found = hdf.read(path, [*shape, *expression, CELLS], (*colors, POINTS, LANDMARKS, MINOR))
    mean = points(path, "shape/model/mean", found["shape/model/mean"])
    n = len(mean)
    texture: dict[str, Any] = {}
    if all(name in found for name in colors):
        tint = points(path, "color/model/mean", found["color/model/mean"], n)
        if tint.min() < -1 or tint.max() > 2:
            reach = f"{tint.min():g} to {tint.max():g}"
            raise FaceModelError(f"{path}: color/model/mean reaches from {reach}; 0 to 1 is expected")
        texture = {"texture_mean": tint * 255, "texture_basis": _basis(path, "color", found, n) * 255}
    return assemble(
        path,
        mean=mean + points(path, "expression/model/mean", found["expression/model/mean"], n),
        identity_basis=_basis(path, "shape", found, n),
        expression_basis=_basis(path, "expression", found, n),
        triangles=indices(path, CELLS, np.transpose(found[CELLS]), (-1, 3), n, first=0),
        provenance={
            "name": "Basel Face Model 2017 or 2019",
            "licence": BASEL,
            "points": _named_points(path, found, mean),
        },
        **texture,
    )


def _basis(path: Path, group: str, found: dict[str, Any], n: int) -> np.ndarray:
    name = f"{group}/model/pcaVariance"
    variance = numbers(path, name, np.ravel(found[name]), (-1,))
    if (variance < 0).any():
        raise FaceModelError(f"{path}: {name} holds negative values")
    within = MINOR in found and int(np.ravel(found[MINOR])[0]) < 9
    sigma = np.ones_like(variance) if within else np.sqrt(variance)
    return scaled_basis(path, f"{group}/model/pcaBasis", found[f"{group}/model/pcaBasis"], sigma, n)


def _named_points(path: Path, found: dict[str, Any], mean: np.ndarray) -> dict[str, int]:
    """{name: vertex} of the landmarks; empty where the file has none."""
    if LANDMARKS not in found:
        return {}
    reference = mean
    if POINTS in found:
        reference = numbers(path, POINTS, np.transpose(found[POINTS]), mean.shape)
    try:
        listed = json.loads(hdf.text(found[LANDMARKS]))
        places = {str(point["id"]): np.array(point["coordinates"], float).reshape(3) for point in listed}
        return {name: int(((reference - place) ** 2).sum(axis=1).argmin()) for name, place in places.items()}
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise FaceModelError(f"{path}: {LANDMARKS} is not a list of points with id and coordinates") from error
