"""`BaselFaceModel_mod.mat`: the cut Basel Face Model of 3DMM-CNN and ExpNet (2017, 2018).

A struct `BFM`, in mm: `faces` [t, 3] counted from 1; `shapeMU` [3n, 1], `shapePC` [3n, 99], `shapeEV` [99, 1]; the
same of `tex` (RGB, 0..255) and, in ExpNet's, of `exp` (29). Vertices interleave xyz, EV are standard deviations. The
landmarks of a frontal face are `outerLandmarkIndex` [68, 1], counted from 1 (3DMM-CNN's BaselFaceEstimator.cpp).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.facemodels import hdf, matlab
from expnet_tf.facemodels.assembly import assemble, indices, points, scaled_basis
from expnet_tf.facemodels.licences import BASEL
from expnet_tf.morphable import FaceModelError, MorphableModel

NEEDED = ("faces", "shapeMU", "shapePC", "shapeEV", "expMU", "expPC", "expEV")
TEXTURE = ("texMU", "texPC", "texEV")


def load(path: Path) -> MorphableModel:
    """The file's model. Raises FaceModelError when it is not what the module's text says."""
    found = matlab.read(path, "BFM")["BFM"]
    if not isinstance(found, dict):
        raise FaceModelError(f"{path}: BFM is no struct")
    return _model(path, found)


def load_h5(path: Path) -> MorphableModel:
    """The same fields at the top of an HDF5 file, `BaselFaceModel_mod.h5`, which the same script writes."""
    return _model(path, hdf.read(path, ["faces", "shapeMU"], (*NEEDED[2:], *TEXTURE, "outerLandmarkIndex")))


def _model(path: Path, found: dict[str, Any]) -> MorphableModel:
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise FaceModelError(f"{path}: BFM lacks {', '.join(missing)}")
    neutral = points(path, "shapeMU", found["shapeMU"])
    n = len(neutral)
    parts: dict[str, Any] = {}
    if "outerLandmarkIndex" in found:
        landmarks = np.ravel(found["outerLandmarkIndex"])
        parts["landmark_ids"] = indices(path, "outerLandmarkIndex", landmarks, (68,), n, first=1)
    if all(name in found for name in TEXTURE):
        parts["texture_mean"] = points(path, "texMU", found["texMU"], n)
        parts["texture_basis"] = scaled_basis(path, "texPC", found["texPC"], found["texEV"], n)
    return assemble(
        path,
        mean=neutral + points(path, "expMU", found["expMU"], n),
        identity_basis=scaled_basis(path, "shapePC", found["shapePC"], found["shapeEV"], n),
        expression_basis=scaled_basis(path, "expPC", found["expPC"], found["expEV"], n),
        triangles=indices(path, "faces", found["faces"], (-1, 3), n, first=1),
        provenance={"name": "Basel Face Model, cut for 3DMM-CNN and ExpNet", "licence": BASEL},
        **parts,
    )
