"""ICT-FaceKit: a folder of OBJ files, `FaceXModel`.

Centimetres, y up, z towards the viewer: `generic_neutral_mesh.obj`; `identity000.obj` to `identity099.obj`, the neutral
mesh with each component at one standard deviation; and one file for each of the 53 names that `vertex_indices.json`
lists under `expressions`, the neutral mesh with that blendshape at full weight. The same file has the 68 landmarks,
`idx_to_landmark_verts`, from 0. All meshes share their vertices.

Texture coordinates lie in several tiles, those of the face in 1..2, so the model has none in 0..1.

Expression codes are the weights of ICT's blendshapes: 1 is the full shape, so they have no sigma; the variance stored
for a prior, 1/3, is that of a weight anywhere in 0..1 about 0. The names are ARKit's, whose browInnerUp and cheekPuff
ICT has in halves: such a name moves both, and reads their mean. tongueOut is missing.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.facemodels import obj
from expnet_tf.facemodels.assembly import assemble, indices
from expnet_tf.facemodels.licences import ICT
from expnet_tf.morphable import FaceModelError, MorphableModel

MM = 10.0  # a centimetre
NEUTRAL, INDEX = "generic_neutral_mesh.obj", "vertex_indices.json"
CODES = "identity in sigma units of this model, expressions as weights, 1 being the full shape"
HALVES = ("browInnerUp", "cheekPuff")
NAME = re.compile(r"[A-Za-z0-9_]{1,64}")  # of a file within the folder, and nowhere else
MOST = 1000  # shapes of a kind


def folder_of(path: Path) -> Path | None:
    """The folder with the meshes: `path`, or FaceXModel in it; None where there is none."""
    return next((folder for folder in (path, path / "FaceXModel") if (folder / NEUTRAL).is_file()), None)


def load(path: Path) -> MorphableModel:
    """The model of a folder. Raises FaceModelError when a file is missing or not what the module's text says."""
    folder = folder_of(path)
    if folder is None:
        raise FaceModelError(f"{path}: a folder without {NEUTRAL}")
    neutral, triangles, uvs, uv_triangles = obj.mesh(folder / NEUTRAL)
    names, landmarks = _index(folder / INDEX)
    identities: list[np.ndarray] = []
    while len(identities) < MOST and (file := folder / f"identity{len(identities):03d}.obj").is_file():
        identities.append(_shape(file, neutral))
    if not identities:
        raise FaceModelError(f"{folder}: it has no identity000.obj")
    expressions = [_shape(folder / f"{name}.obj", neutral) for name in names]
    n = len(neutral)
    arkit, to_expression = _blendshapes(names)
    parts: dict[str, Any] = {
        "landmark_ids": indices(folder / INDEX, "idx_to_landmark_verts", np.ravel(landmarks), (68,), n, first=0),
        "blendshape_names": arkit,
        "blendshapes_to_expression": to_expression,
        "expression_to_blendshapes": (to_expression / to_expression.sum(axis=1, keepdims=True)).T,
    }
    if len(uvs) and uvs.min() >= 0 and uvs.max() <= 1:
        parts["uvs"] = uvs.astype(np.float32)
        parts["uv_triangles"] = indices(folder / NEUTRAL, "vt in f", uv_triangles, (-1, 3), len(uvs), first=0)
    return assemble(
        folder / NEUTRAL,
        mean=neutral * MM,
        identity_basis=np.stack(identities),
        expression_basis=np.stack(expressions) if expressions else np.zeros((0, n, 3)),
        triangles=indices(folder / NEUTRAL, "f", triangles, (-1, 3), n, first=0),
        provenance={"name": "ICT-FaceKit", "licence": ICT, "expressions": names, "codes": CODES},
        expression_variance=1 / 3,
        **parts,
    )


def _shape(path: Path, neutral: np.ndarray) -> np.ndarray:
    """float64 [n, 3] mm: how far a mesh is from the neutral one."""
    found = obj.vertices(path)
    if len(found) != len(neutral):
        raise FaceModelError(f"{path}: it has {len(found):,} vertices, the neutral mesh has {len(neutral):,}")
    return (found - neutral) * MM


def _index(path: Path) -> tuple[list[str], list[int]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        names, landmarks = found["expressions"], found["idx_to_landmark_verts"]
        if len(names) > MOST or not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
            raise ValueError("expressions are no names of files")
        if len(set(names)) != len(names):
            raise ValueError("an expression is named twice")
        return names, landmarks
    except FileNotFoundError:
        raise FaceModelError(f"{path}: no such file") from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise FaceModelError(f"{path}: not an index of ICT-FaceKit ({' '.join(str(error).split())[:200]})") from error


def _blendshapes(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """ARKit's names str [b] of ICT's names, in their order, and float64 [b, e] which of ICT's each moves."""
    arkit = [_arkit(name) for name in names]
    unique = list(dict.fromkeys(arkit))
    moves = np.array([[float(one == name) for one in arkit] for name in unique])
    return np.array(unique, dtype=str), moves.reshape(len(unique), len(names))


def _arkit(name: str) -> str:
    stem, _, side = name.rpartition("_")
    if side not in ("L", "R"):
        return name
    return stem if stem in HALVES else stem + {"L": "Left", "R": "Right"}[side]
