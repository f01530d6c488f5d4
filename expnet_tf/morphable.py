"""The 3D morphable model: S' = mean + S alpha + E z, eq. (1) of ExpNet, decoded in float64.

Head frame: millimetres, x to the right of a frontal image (the person's left), y up, z towards the viewer.
Bases are stored times sigma, so that codes are in sigma units.
"""

import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np


class FaceModelError(ValueError):
    """A face model file is not what it should be."""


def _none(*shape: int, of: type = float) -> Callable[[], np.ndarray]:
    """Makes the array of a part that a model lacks: an empty one."""
    return partial(np.zeros, shape, of)


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A linear 3D morphable model.

    n vertices, t triangles, m texture coordinates, i identity and e expression components, b blendshapes.

    Everything up to `triangles`, and `provenance`, is in every model. The rest are parts that other people's models
    lack, some or all: their arrays then are empty, `has()` is False, and what needs them raises FaceModelError.
    """

    mean: np.ndarray  # float64 [n, 3] mm
    identity_basis: np.ndarray  # float64 [i, n, 3] mm per sigma
    expression_basis: np.ndarray  # float64 [e, n, 3] mm per sigma
    identity_variance: np.ndarray  # [i] variance of the codes, for a Gaussian prior
    expression_variance: np.ndarray  # [e] variance of the codes: sigma is a scale, so this is not 1
    triangles: np.ndarray  # int32 [t, 3] counter-clockwise
    uvs: np.ndarray = field(default_factory=_none(0, 2))  # float32 [m, 2] in [0, 1], origin at the lower left
    uv_triangles: np.ndarray = field(default_factory=_none(0, 3, of=np.int32))  # int32 [t, 3] into uvs
    regions: np.ndarray = field(default_factory=_none(0, of=np.uint8))  # uint8 [n] into region_names
    region_names: np.ndarray = field(default_factory=_none(0, of=str))  # str [r]
    # int32 [68] vertices, iBUG order; 0-16 (jaw) hold for frontal views only
    landmark_ids: np.ndarray = field(default_factory=_none(0, of=np.int32))
    mirror_ids: np.ndarray = field(default_factory=_none(0, of=np.int32))  # int32 [n] what each becomes in a mirror
    # int8 [i] and [e], +-1: mirror(decode(a, z)) = decode(a * identity_mirror, z * expression_mirror)
    identity_mirror: np.ndarray = field(default_factory=_none(0, of=np.int8))
    expression_mirror: np.ndarray = field(default_factory=_none(0, of=np.int8))
    blendshape_names: np.ndarray = field(default_factory=_none(0, of=str))  # str [b]
    expression_to_blendshapes: np.ndarray = field(default_factory=_none(0, 0))  # float [e, b]
    blendshapes_to_expression: np.ndarray = field(default_factory=_none(0, 0))  # float [b, e]
    # float [8, n, 3] mm: eye turns, in the order of the eyeLook* names; not in a code
    gaze_basis: np.ndarray = field(default_factory=_none(0, 0, 3))
    # int32 [n] vertex numbers in the MakeHuman base mesh, to fit its clothes and hair
    base_ids: np.ndarray = field(default_factory=_none(0, of=np.int32))
    identity_explained: np.ndarray = field(default_factory=_none(0))  # [i] share of the variance
    expression_explained: np.ndarray = field(default_factory=_none(0))  # [e]
    provenance: dict = field(default_factory=dict)  # name, version, licence, ...: JSON
    texture_mean: np.ndarray | None = None  # float64 [n, 3] RGB, 0..255
    texture_basis: np.ndarray | None = None  # float64 [x, n, 3] RGB per sigma

    @classmethod
    def from_file(cls, path: str | Path) -> "MorphableModel":
        """Loads and checks an npz of our own: tools/build_face_model.py and `expnet face-model convert` write them.

        Every array is in the file, those of a part that the model lacks being empty; only the texture may be left
        out. Raises FaceModelError with the file's name when it is missing, no npz, incomplete or inconsistent.
        """
        path = Path(path)
        arrays = _read_arrays(path, [f.name for f in fields(cls)])
        _check(arrays, path)
        for name in ("mean", "identity_basis", "expression_basis", *TEXTURE):
            if name in arrays:
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

    def has(self, part: str) -> bool:
        """Whether the model has this part; `PARTS` lists them, others raise KeyError."""
        array = getattr(self, PARTS[part])
        return array is not None and len(array) > 0

    def decode(self, identity=None, expression=None) -> np.ndarray:
        """Codes -> vertices float64 [.., n, 3] mm in the head frame, eq. (1).

        identity float [.., i], expression float [.., e], sigma units; None is the mean face / the neutral
        expression; leading dimensions broadcast. Raises ValueError when a width does not fit the model.
        """
        return self._linear(identity, expression, slice(None))

    def landmarks(self, identity=None, expression=None) -> np.ndarray:
        """The 68 landmarks float64 [.., 68, 3] mm, iBUG order: decode() at landmark_ids.

        Raises FaceModelError when the model has no landmarks.
        """
        if not self.has("landmarks"):
            raise self._lacks("landmarks")
        return self._linear(identity, expression, self.landmark_ids)

    def texture(self, texture=None) -> np.ndarray:
        """Texture codes float [.., x], sigma units -> float64 [.., n, 3] RGB, clipped to 0..255; None: the mean.

        Raises FaceModelError when the model has no texture, ValueError when the width does not fit it.
        """
        if self.texture_mean is None or self.texture_basis is None:
            raise self._lacks("texture")
        return np.clip(_moved(self.texture_mean, [("texture", texture, self.texture_basis)]), 0.0, 255.0)

    def _linear(self, identity, expression, rows) -> np.ndarray:
        parts = (("identity", identity, self.identity_basis), ("expression", expression, self.expression_basis))
        return _moved(self.mean[rows], [(name, codes, basis[:, rows]) for name, codes, basis in parts])

    def blendshapes(self, expression) -> np.ndarray:
        """Expression codes [.., e] -> weights of the named blendshapes float64 [.., b], clipped to [0, 1].

        A linear map, ridge regression over plausible expressions; gaze and tongueOut always read 0. Raises
        FaceModelError when the model has no named blendshapes.
        """
        if not self.has("blendshapes"):
            raise self._lacks("blendshapes")
        return np.clip(np.asarray(expression, np.float64) @ self.expression_to_blendshapes, 0.0, 1.0)

    def region(self, *names: str) -> np.ndarray:
        """bool [n]: the vertices of the named regions.

        Raises FaceModelError when the model has no regions, ValueError for a name it lacks.
        """
        if not self.has("regions"):
            raise self._lacks("regions")
        known = list(self.region_names)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"no region {unknown[0]!r}; the face model has {', '.join(known)}")
        return np.isin(self.regions, [known.index(name) for name in names])

    def _lacks(self, part: str) -> FaceModelError:
        return FaceModelError(f"the face model {self.provenance.get('name', '')!r} has no {part}")


TEXTURE = ("texture_mean", "texture_basis")
# What a model may lack, and an array that shows whether it does.
PARTS = {
    "landmarks": "landmark_ids", "blendshapes": "blendshape_names", "regions": "region_names", "uvs": "uvs",
    "mirror": "mirror_ids", "texture": "texture_mean", "gaze": "gaze_basis", "MakeHuman base": "base_ids",
}  # fmt: skip


def _moved(mean: np.ndarray, parts: Iterable[tuple[str, Any, np.ndarray]]) -> np.ndarray:
    """mean [k, 3] plus codes [.., c] times basis [c, k, 3] of each (name, codes, basis); None moves nothing."""
    shape = mean.copy()  # a caller may write into what decode() returns
    for name, codes, basis in parts:
        if codes is None:
            continue
        codes = np.asarray(codes, np.float64)
        if codes.shape[-1:] != (len(basis),):
            raise ValueError(f"{name} has shape {codes.shape}, the face model takes [.., {len(basis)}]")
        moved = codes @ basis.reshape(len(basis), mean.size)
        shape = shape + moved.reshape(*codes.shape[:-1], *basis.shape[1:])
    return shape


def _read_arrays(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """The named arrays of an .npz file; raises FaceModelError."""
    try:
        # Opened here: np.load tells a missing file, a directory and a plain .npy apart by different errors.
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = set(archive.namelist())
            if not any(f"{name}.npy" in members for name in TEXTURE):
                names = [name for name in names if name not in TEXTURE]
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
    except Exception as error:  # a damaged archive raises nearly anything, MemoryError among it
        raise FaceModelError(f"{path}: not a readable .npz face model ({error})") from error


def _check(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Raises FaceModelError when shapes, kinds, values or indices do not fit together."""

    def length(name: str) -> int:
        if arrays[name].ndim == 0:
            raise FaceModelError(f"{path}: {name} is a single value, an array is expected")
        return len(arrays[name])

    n, t, m, r = length("mean"), length("triangles"), length("uvs"), length("region_names")
    i, e, b = length("identity_basis"), length("expression_basis"), length("blendshape_names")

    def optional(name: str, count: int) -> int:
        """The length of an array that may be empty instead."""
        return count if length(name) else 0

    maps = e if b else 0
    floats = {
        "mean": (n, 3), "identity_basis": (i, n, 3), "expression_basis": (e, n, 3), "uvs": (m, 2),
        "identity_variance": (i,), "expression_variance": (e,),
        "identity_explained": (optional("identity_explained", i),),
        "expression_explained": (optional("expression_explained", e),),
        "expression_to_blendshapes": (maps, b), "blendshapes_to_expression": (b, maps),
        "gaze_basis": (length("gaze_basis"), optional("gaze_basis", n), 3),
    }  # fmt: skip
    if "texture_mean" in arrays:
        floats |= {"texture_mean": (n, 3), "texture_basis": (length("texture_basis"), n, 3)}
    integers = {
        "triangles": (t, 3), "uv_triangles": (t if m else 0, 3), "regions": (n if r else 0,),
        "landmark_ids": (optional("landmark_ids", 68),), "mirror_ids": (optional("mirror_ids", n),),
        "base_ids": (optional("base_ids", n),), "identity_mirror": (optional("mirror_ids", i),),
        "expression_mirror": (optional("mirror_ids", e),),
    }  # fmt: skip
    strings = {"blendshape_names": (b,), "region_names": (r,)}
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
                        ("regions", r)):  # fmt: skip
        array = arrays[name]
        if array.size and (array.min() < 0 or array.max() >= limit):
            raise FaceModelError(f"{path}: {name} points outside 0..{limit - 1}")


@cache
def open_face() -> MorphableModel:
    """The open face model in the package (CC0; 5,293 vertices, 99 + 29 components), loaded once."""
    with resources.as_file(resources.files("expnet_tf") / "assets" / "open_face.npz") as path:
        return MorphableModel.from_file(path)
