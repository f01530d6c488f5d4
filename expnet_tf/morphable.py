"""The 3D morphable model: S' = mean + S alpha + E z, eq. (1) of ExpNet, decoded in float64.

Head frame: millimetres, x to the right of a frontal image (the person's left), y up, z towards the viewer.
Bases are stored times sigma, so that codes are in sigma units.
"""

import json
import zipfile
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np


class FaceModelError(ValueError):
    """A face model file is not what it should be."""


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A linear 3D morphable model. n vertices, t triangles, m texture coordinates, i identity and e expression
    components, b blendshapes."""

    mean: np.ndarray  # float64 [n, 3] mm
    identity_basis: np.ndarray  # float64 [i, n, 3] mm per sigma
    expression_basis: np.ndarray  # float64 [e, n, 3] mm per sigma
    identity_variance: np.ndarray  # [i] variance of the codes, for a Gaussian prior
    expression_variance: np.ndarray  # [e] variance of the codes: sigma is a scale, so this is not 1
    triangles: np.ndarray  # int32 [t, 3] counter-clockwise
    uvs: np.ndarray  # float32 [m, 2] in [0, 1], origin at the lower left
    uv_triangles: np.ndarray  # int32 [t, 3] into uvs
    regions: np.ndarray  # uint8 [n] into region_names
    region_names: np.ndarray  # str [r]
    landmark_ids: np.ndarray  # int32 [68] vertices, iBUG order; 0-16 (jaw) hold for frontal views only
    mirror_ids: np.ndarray  # int32 [n] the vertex that each becomes in a mirror
    identity_mirror: np.ndarray  # int8 [i] +-1: mirror(decode(a, z)) = decode(a * identity_mirror, z * ...)
    expression_mirror: np.ndarray  # int8 [e] +-1
    blendshape_names: np.ndarray  # str [b]
    expression_to_blendshapes: np.ndarray  # float [e, b]
    blendshapes_to_expression: np.ndarray  # float [b, e]
    gaze_basis: np.ndarray  # float [8, n, 3] mm: eye turns in the order of the eyeLook* names; not part of a code
    base_ids: np.ndarray  # int32 [n] vertex numbers in the MakeHuman base mesh, for fitting its clothes and hair
    identity_explained: np.ndarray  # [i] share of the variance
    expression_explained: np.ndarray  # [e]
    provenance: dict

    @classmethod
    def from_file(cls, path: str | Path) -> "MorphableModel":
        """Loads and checks an `open_face.npz`-style file (tools/build_face_model.py writes it).

        Raises FaceModelError with the file's name when it is missing, no npz, incomplete or inconsistent.
        """
        path = Path(path)
        try:
            with np.load(path, allow_pickle=False) as data:
                missing = sorted({f.name for f in fields(cls)} - set(data.files))
                if missing:
                    raise FaceModelError(f"{path}: not a face model, it lacks {', '.join(missing)}")
                arrays = {f.name: data[f.name] for f in fields(cls)}
        except FileNotFoundError:
            raise FaceModelError(f"{path}: no such face model file") from None
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            if isinstance(error, FaceModelError):
                raise
            raise FaceModelError(f"{path}: not a readable .npz face model ({error})") from error
        for name in ("mean", "identity_basis", "expression_basis"):
            arrays[name] = arrays[name].astype(np.float64)
        arrays["provenance"] = json.loads(str(arrays["provenance"]))
        model = cls(**arrays)
        model._check(str(path))
        return model

    def _check(self, where: str) -> None:
        n, i, e, b = len(self.mean), len(self.identity_basis), len(self.expression_basis), len(self.blendshape_names)
        expected = {
            "mean": (n, 3), "identity_basis": (i, n, 3), "expression_basis": (e, n, 3), "identity_variance": (i,),
            "expression_variance": (e,), "triangles": (len(self.triangles), 3), "uvs": (len(self.uvs), 2),
            "uv_triangles": (len(self.triangles), 3), "regions": (n,), "landmark_ids": (68,), "mirror_ids": (n,),
            "identity_mirror": (i,), "expression_mirror": (e,), "expression_to_blendshapes": (e, b),
            "blendshapes_to_expression": (b, e), "base_ids": (n,), "gaze_basis": (len(self.gaze_basis), n, 3),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise FaceModelError(f"{where}: {name} has shape {array.shape}, expected {shape}")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise FaceModelError(f"{where}: {name} holds values that are not finite")
        for name, limit in (("triangles", n), ("uv_triangles", len(self.uvs)), ("landmark_ids", n), ("mirror_ids", n),
                            ("regions", len(self.region_names))):
            array = getattr(self, name)
            if array.size and (array.min() < 0 or array.max() >= limit):
                raise FaceModelError(f"{where}: {name} points outside 0..{limit - 1}")

    @property
    def n_vertices(self) -> int:
        return len(self.mean)

    def decode(self, identity=None, expression=None) -> np.ndarray:
        """Codes -> vertices float64 [.., n, 3] mm in the head frame, eq. (1).

        identity float [.., i], expression float [.., e], sigma units; None is the mean face / the neutral
        expression; leading dimensions broadcast. Raises ValueError when a width does not fit the model.
        """
        return self._linear(identity, expression, slice(None))

    def landmarks(self, identity=None, expression=None) -> np.ndarray:
        """The 68 landmarks float64 [.., 68, 3] mm, iBUG order: decode() at landmark_ids."""
        return self._linear(identity, expression, self.landmark_ids)

    def _linear(self, identity, expression, rows) -> np.ndarray:
        shape = self.mean[rows]
        for codes, basis, name in ((identity, self.identity_basis, "identity"),
                                   (expression, self.expression_basis, "expression")):
            if codes is None:
                continue
            codes = np.asarray(codes, np.float64)
            if codes.shape[-1:] != (len(basis),):
                raise ValueError(f"{name} has shape {codes.shape}, the face model takes [.., {len(basis)}]")
            part = basis[:, rows]
            shape = shape + (codes @ part.reshape(len(part), -1)).reshape(*codes.shape[:-1], -1, 3)
        return shape

    def blendshapes(self, expression) -> np.ndarray:
        """Expression codes [.., e] -> weights of the named blendshapes float64 [.., b], clipped to [0, 1].

        A linear map, ridge regression over plausible expressions; gaze and tongueOut always read 0.
        """
        return np.clip(np.asarray(expression, np.float64) @ self.expression_to_blendshapes, 0.0, 1.0)

    def region(self, *names: str) -> np.ndarray:
        """bool [n]: the vertices of the named regions. Raises ValueError for a name the model does not have."""
        known = list(self.region_names)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"no region {unknown[0]!r}; the face model has {', '.join(known)}")
        return np.isin(self.regions, [known.index(name) for name in names])


@cache
def open_face() -> MorphableModel:
    """The open face model that ships with the package (CC0; 5,293 vertices, 99 + 29 components), loaded once."""
    with resources.as_file(resources.files("expnet_tf") / "assets" / "open_face.npz") as path:
        return MorphableModel.from_file(path)
