"""The 3D morphable model: S' = mean + S alpha + E z, eq. (1) of ExpNet, decoded in float64.

Head frame: millimetres, x to the right of a frontal image (the person's left), y up, z towards the viewer.
Bases are stored times sigma, so that codes are in sigma units.
"""

import json
import zipfile
import zlib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np


class FaceModelError(ValueError):
    """A face model file is not what it should be."""


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A linear 3D morphable model.

    n vertices, t triangles, m texture coordinates, i identity and e expression components, b blendshapes.
    """

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
    gaze_basis: np.ndarray  # float [8, n, 3] mm: eye turns, in the order of the eyeLook* names; not in a code
    base_ids: np.ndarray  # int32 [n] vertex numbers in the MakeHuman base mesh, to fit its clothes and hair
    identity_explained: np.ndarray  # [i] share of the variance
    expression_explained: np.ndarray  # [e]
    provenance: dict

    @classmethod
    def from_file(cls, path: str | Path) -> "MorphableModel":
        """Loads and checks an `open_face.npz`-style file (tools/build_face_model.py writes it).

        Raises FaceModelError with the file's name when it is missing, no npz, incomplete or inconsistent.
        """
        path = Path(path)
        arrays = _read_arrays(path, [f.name for f in fields(cls)])
        _check(arrays, path)
        for name in ("mean", "identity_basis", "expression_basis"):
            arrays[name] = arrays[name].astype(np.float64)
            arrays[name].setflags(write=False)  # open_face() is shared by all callers in a process
        try:
            provenance = json.loads(str(arrays.pop("provenance")))
        except ValueError:
            provenance = None
        if not isinstance(provenance, dict):
            raise FaceModelError(f"{path}: provenance is not a JSON object")
        return cls(**arrays, provenance=provenance)

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
        shape = self.mean[rows].copy()  # a caller may write into what decode() returns
        for codes, basis, name in ((identity, self.identity_basis, "identity"),
                                   (expression, self.expression_basis, "expression")):
            if codes is None:
                continue
            codes = np.asarray(codes, np.float64)
            if codes.shape[-1:] != (len(basis),):
                raise ValueError(f"{name} has shape {codes.shape}, the face model takes [.., {len(basis)}]")
            part = basis[:, rows]
            moved = codes @ part.reshape(len(part), -1)
            shape = shape + moved.reshape(*codes.shape[:-1], *part.shape[1:])
        return shape

    def blendshapes(self, expression) -> np.ndarray:
        """Expression codes [.., e] -> weights of the named blendshapes float64 [.., b], clipped to [0, 1].

        A linear map, ridge regression over plausible expressions; gaze and tongueOut always read 0.
        """
        return np.clip(np.asarray(expression, np.float64) @ self.expression_to_blendshapes, 0.0, 1.0)

    def region(self, *names: str) -> np.ndarray:
        """bool [n]: the vertices of the named regions. Raises ValueError for a name the model lacks."""
        known = list(self.region_names)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"no region {unknown[0]!r}; the face model has {', '.join(known)}")
        return np.isin(self.regions, [known.index(name) for name in names])


def _read_arrays(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """The named arrays of an .npz file; raises FaceModelError."""
    try:
        # Opened here: np.load tells a missing file, a directory and a plain .npy apart by different errors.
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = set(archive.namelist())
            missing = [name for name in names if f"{name}.npy" not in members]
            if missing:
                raise FaceModelError(f"{path}: not a face model, it lacks {', '.join(missing)}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as data:
                return {name: data[name] for name in names}
    except FileNotFoundError:
        raise FaceModelError(f"{path}: no such face model file") from None
    except FaceModelError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise FaceModelError(f"{path}: not a readable .npz face model ({error})") from error


def _check(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Raises FaceModelError when shapes, kinds, values or indices do not fit together."""

    def length(name: str) -> int:
        if arrays[name].ndim == 0:
            raise FaceModelError(f"{path}: {name} is a single value, an array is expected")
        return len(arrays[name])

    n, t, m = length("mean"), length("triangles"), length("uvs")
    i, e, b = length("identity_basis"), length("expression_basis"), length("blendshape_names")
    floats = {
        "mean": (n, 3), "identity_basis": (i, n, 3), "expression_basis": (e, n, 3), "uvs": (m, 2),
        "identity_variance": (i,), "expression_variance": (e,), "identity_explained": (i,),
        "expression_explained": (e,), "expression_to_blendshapes": (e, b), "blendshapes_to_expression": (b, e),
        "gaze_basis": (length("gaze_basis"), n, 3),
    }
    integers = {
        "triangles": (t, 3), "uv_triangles": (t, 3), "regions": (n,), "landmark_ids": (68,), "mirror_ids": (n,),
        "base_ids": (n,), "identity_mirror": (i,), "expression_mirror": (e,),
    }
    strings = {"blendshape_names": (b,), "region_names": (length("region_names"),)}
    for kinds, expected in (("f", floats), ("iu", integers), ("U", strings)):
        for name, shape in expected.items():
            array = arrays[name]
            if array.shape != shape:
                raise FaceModelError(f"{path}: {name} has shape {array.shape}, expected {shape}")
            if array.dtype.kind not in kinds:
                raise FaceModelError(f"{path}: {name} has the wrong type {array.dtype}")
            if kinds == "f" and not np.isfinite(array).all():
                raise FaceModelError(f"{path}: {name} holds values that are not finite")
    for name, limit in (("triangles", n), ("uv_triangles", m), ("landmark_ids", n), ("mirror_ids", n),
                        ("regions", length("region_names"))):
        array = arrays[name]
        if array.size and (array.min() < 0 or array.max() >= limit):
            raise FaceModelError(f"{path}: {name} points outside 0..{limit - 1}")


@cache
def open_face() -> MorphableModel:
    """The open face model in the package (CC0; 5,293 vertices, 99 + 29 components), loaded once."""
    with resources.as_file(resources.files("expnet_tf") / "assets" / "open_face.npz") as path:
        return MorphableModel.from_file(path)
