"""Which family a file is of, by what is in it, and the reader of each."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from expnet_tf.facemodels import basel2009, basel2017, basel_mod, flame, hdf, ict, matlab, pickles, tddfa_v2
from expnet_tf.morphable import FaceModelError, MorphableModel


class Family(NamedTuple):
    """A reader, called with the path and these options, each a path or None."""

    name: str
    load: Callable[..., MorphableModel]
    options: tuple[str, ...] = ()


LIMIT = 2**31  # bytes of an npz, unpacked
OWN = Family("a model of our own", MorphableModel.from_file)
BASEL_MOD = Family("BaselFaceModel_mod.mat", basel_mod.load)
BASEL_2009 = Family("the Basel Face Model of 2009", basel2009.load, ("expression", "trim", "sigma"))
BASEL_2017 = Family("the Basel Face Model of 2017 or 2019", basel2017.load)
ICT = Family("ICT-FaceKit", ict.load)
KINDS = (
    "an npz of our own, the Basel Face Model (2009 with 3DDFA's expressions, BaselFaceModel_mod.mat, 2017, 2019), "
    "FLAME, the folder of ICT-FaceKit and 3DDFA_V2's bfm_noneck_v3.pkl"
)


def recognise(path: Path) -> Family:
    """The family of a file or folder. Raises FaceModelError when it is of none, OSError when it cannot be read."""
    if not path.exists():
        raise FaceModelError(f"{path}: no such face model file")
    if path.is_dir():
        if ict.folder_of(path) is None:
            raise FaceModelError(f"{path}: a folder without {ict.NEUTRAL}; of folders ICT-FaceKit's is read")
        return ICT
    if not path.is_file():
        raise FaceModelError(f"{path}: neither a file nor a folder")
    with path.open("rb") as file:
        head = file.read(128)
    if head.startswith(matlab.HEADER):
        return _of_matlab(path)
    if head.startswith(b"MATLAB 7.3 MAT-file"):
        raise FaceModelError(f"{path}: a MATLAB 7.3 file; save it anew in MATLAB with save(..., '-v7')")
    if head.startswith(hdf.MAGIC):
        return _of_hdf(path)
    if head.startswith(b"PK\x03\x04"):
        return _of_npz(path)
    if head.startswith((b"\x80", b"(", b"}", b"]", b"c")):  # protocol 2 and later, and what earlier ones begin with
        return _of_pickle(path)
    raise _unknown(path)


def _of_matlab(path: Path) -> Family:
    has = set(matlab.variables(path))
    if "BFM" in has:
        return BASEL_MOD
    if "shapeMU" in has or "mu_shape" in has:
        return BASEL_2009
    if "w_exp" in has or "trimIndex" in has:
        raise FaceModelError(f"{path}: a part of the Basel Face Model of 2009; 01_MorphableModel.mat is the model")
    raise _unknown(path, has)


def _of_hdf(path: Path) -> Family:
    has = hdf.names(path)
    if {"shape", "expression"} <= has:
        return BASEL_2017
    if {"faces", "shapeMU"} <= has:
        return BASEL_MOD._replace(load=basel_mod.load_h5)
    raise _unknown(path, has)


def _of_npz(path: Path) -> Family:
    try:
        with zipfile.ZipFile(path) as archive:
            has = {name.removesuffix(".npy") for name in archive.namelist()}
            claimed = sum(info.file_size for info in archive.infolist())
            if claimed > LIMIT:
                raise FaceModelError(f"{path}: its arrays take {claimed:,} bytes; at most {LIMIT:,} are read")
            if not set(flame.NEEDED) <= has or "identity_basis" in has:
                return OWN  # which says what is missing
            with np.load(path, allow_pickle=False) as data:
                contents = {name: data[name] for name in (*flame.NEEDED, *flame.JOINT_PARTS) if name in has}
    except FaceModelError:
        raise
    except Exception as error:  # a damaged archive raises nearly anything, MemoryError among it
        raise FaceModelError(f"{path}: not a readable .npz file ({error})") from error
    return _of_fields(path, contents)


def _of_pickle(path: Path) -> Family:
    contents = pickles.read(path)
    if not isinstance(contents, dict):
        raise FaceModelError(f"{path}: a pickle of a {type(contents).__name__}; a dict of arrays is expected")
    return _of_fields(path, contents)


def _of_fields(path: Path, contents: dict) -> Family:
    if set(flame.NEEDED) <= set(contents):
        return Family("FLAME", partial(flame.load, contents=contents), ("landmarks",))
    if {"w_shp", "w_exp"} <= set(contents):
        return Family("3DDFA_V2's Basel model", partial(tddfa_v2.load, contents=contents), ("sigma", "triangles"))
    raise _unknown(path, set(map(str, contents)))


def _unknown(path: Path, has: set[str] = frozenset()) -> FaceModelError:  # type: ignore[assignment]
    inside = f" (it has {', '.join(sorted(has)[:8])[:200]})" if has else ""
    return FaceModelError(f"{path}: of no known face model{inside}; read are {KINDS}")
