"""FLAME 2020 and 2023 (Open): identity and expression, as a pickle or the same fields in an npz.

Metres, y up, z towards the viewer: `v_template` [n, 3], `f` [t, 3] from 0, `shapedirs` [n, 3, 400], times the standard
deviations already: 300 of identity, then 100 of expression. n is 5,023.

Not driven: the joints. FLAME opens the jaw and turns eyes and neck by rotating joints under skinning, which no linear
model does: a mouth that FLAME's users open with the jaw stays shut here, but for what the expressions open themselves.
`J_regressor` [5, n], `posedirs` [n, 3, 36] and `weights` [n, 5] are checked where they are there, and the joint of the
jaw in the mean face is kept: provenance["jaw_joint_mm"], about whose x axis the jaw opens.

There are no landmarks in the file. `landmark_embedding.npy` (of DECA, RingNet) has the 68 as points within triangles;
each becomes the nearest corner of its triangle, so they are some mm off where triangles are large.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.facemodels import pickles
from expnet_tf.facemodels.assembly import assemble, indices, numbers
from expnet_tf.facemodels.licences import FLAME
from expnet_tf.morphable import FaceModelError, MorphableModel

MM = 1e3  # a metre
IDENTITY, JOINTS, JAW = 300, 5, 2
NEEDED = ("v_template", "f", "shapedirs")
JOINT_PARTS = ("J_regressor", "posedirs", "weights")


def load(path: Path, contents: Mapping[str, Any], landmarks: Path | None = None) -> MorphableModel:
    """The model of fields that were read. landmarks: `landmark_embedding.npy`.

    Raises FaceModelError when a field is not what the module's text says.
    """
    template = numbers(path, "v_template", contents["v_template"], (-1, 3)) * MM
    n = len(template)
    shapes = numbers(path, "shapedirs", contents["shapedirs"], (n, 3, -1))
    if shapes.shape[2] <= IDENTITY:
        raise FaceModelError(
            f"{path}: shapedirs has {shapes.shape[2]} components; FLAME has {IDENTITY} of identity, then expressions"
        )
    basis = np.ascontiguousarray(np.moveaxis(shapes, 2, 0)) * MM
    faces = indices(path, "f", contents["f"], (-1, 3), n, first=0)
    parts: dict[str, Any] = {} if landmarks is None else {"landmark_ids": _landmarks(landmarks, faces)}
    said = {"name": "FLAME", "licence": FLAME, "not_driven": "jaw, eyes and neck"}
    return assemble(
        path,
        mean=template,
        identity_basis=basis[:IDENTITY].copy(),
        expression_basis=basis[IDENTITY:].copy(),
        triangles=faces,
        provenance=said | _jaw(path, contents, template),
        **parts,
    )


def _jaw(path: Path, contents: Mapping[str, Any], template: np.ndarray) -> dict[str, list[float]]:
    """Checks the joints' fields, and where the jaw's joint is."""
    n = len(template)
    shapes = {"J_regressor": (JOINTS, n), "posedirs": (n, 3, 9 * (JOINTS - 1)), "weights": (n, JOINTS)}
    found = {name: numbers(path, name, contents[name], shapes[name]) for name in JOINT_PARTS if name in contents}
    if "J_regressor" not in found:
        return {}
    return {"jaw_joint_mm": np.round(found["J_regressor"][JAW] @ template, 4).tolist()}


def is_embedding(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == np.lib.format.MAGIC_PREFIX


def _landmarks(path: Path, faces: np.ndarray) -> np.ndarray:
    """int32 [68]: of each landmark's triangle the corner with the greatest weight."""
    data = path.read_bytes()
    try:
        # numpy.save wrote a dict, which it pickles after a header of its own.
        file = io.BytesIO(data)
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        read_header(file)
    except ValueError as error:
        raise FaceModelError(f"{path}: not a readable .npy file ({error})") from error
    found = pickles.read_bytes(path, data[file.tell() :])
    found = found[0] if isinstance(found, list) and len(found) == 1 else found
    names = ("full_lmk_faces_idx", "full_lmk_bary_coords")
    if not isinstance(found, dict) or any(name not in found for name in names):
        raise FaceModelError(f"{path}: no dict with {' and '.join(names)}, as landmark_embedding.npy has")
    triangle, weights = (pickles.plain(found[name]) for name in names)
    triangle = indices(path, names[0], np.ravel(triangle), (68,), len(faces), first=0)
    weights = numbers(path, names[1], np.asarray(weights).reshape(-1, 3), (68, 3))
    return faces[triangle, weights.argmax(axis=1)]
