"""What is compared: methods that turn a face in a photo into a code, and files of codes made elsewhere.

A code is a row of numbers; only codes of one space can be compared with each other. Codes of the open face model's
expression space (`EXPRESSION`) can be drawn and read as named blendshapes; others can only be told apart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from expnet_tf.image import ImageError
from expnet_tf.models import DEFAULT, resolve, sha256
from expnet_tf.morphable import open_face

EXPRESSION = "open_face expression, 29, sigma"
"""Space of z: the coefficients of the open face model."""

Box = Sequence[float]
Blendshapes = Callable[[np.ndarray], np.ndarray]


class CodesError(ValueError):
    """A file of codes that cannot be used: one sentence."""


class Method(Protocol):
    """One way from pixels to codes; the same call for the network and for every baseline."""

    name: str  # in tables: "compact-1.0", "dlib"
    id: str  # changes whenever the codes may change: part of the cache's key
    space: str  # of the codes; EXPRESSION where they are z of the open face model
    blendshapes: Blendshapes | None  # codes [n, d] -> weights [n, 52] before clipping; None: the space has none

    def codes(self, images: Sequence[np.ndarray], boxes: Sequence[Box]) -> np.ndarray:
        """Codes of one face a photo.

        images: uint8 RGB [H, W, 3] each; boxes: (x, y, w, h) in px of that image, forehead to chin, ear to ear.
        Returns float64 [n, d]; a row of NaN is an abstention.
        """
        ...


def expression_blendshapes(codes: np.ndarray) -> np.ndarray:
    """z float [n, 29] -> weights of the 52 named blendshapes float64 [n, 52], not clipped.

    Clipping would make ties of all faces at 0 or 1, which a ranking cannot use.
    """
    return np.asarray(codes, np.float64) @ open_face().expression_to_blendshapes


class Network:
    """The expression head of an ExpNet, cropped as the model says (size, factor)."""

    space = EXPRESSION
    blendshapes: Blendshapes | None = staticmethod(expression_blendshapes)

    def __init__(self, name_or_path: str | os.PathLike[str] = DEFAULT) -> None:
        """A shipped model's name or a .keras file. Raises ModelError where there is no such model."""
        from expnet_tf.predictor import load

        path = resolve(name_or_path)
        self.predictor = load(path)
        self.name = self.predictor.info.id
        self.id = f"network:{self.name}:{sha256(path)[:16]}"

    def codes(self, images: Sequence[np.ndarray], boxes: Sequence[Box]) -> np.ndarray:
        """z float64 [n, 29]; NaN where the box lies outside the photo."""
        found = np.full((len(images), len(open_face().expression_basis)), np.nan)
        crops, rows = [], []
        for row, (image, box) in enumerate(zip(images, boxes, strict=True)):
            try:
                crops.append(self.predictor.crops(image, [box]))
                rows.append(row)
            except ImageError:
                continue
        if crops:
            found[rows] = self.predictor.run(np.concatenate(crops))["expression"]
        return found


class FileCodes:
    """Codes that another program made, read from an .npz file (no pickles). See docs/baselines.md.

    Arrays: `path` str [n], the image's path below the data folder, with forward slashes; `codes` float [n, d], NaN
    rows where that program found no face. Optional: `scale` float [n] (absent: all at 1), `setting` str [n]
    ("box given" or "end to end"; absent: these codes stand for both), `names` str [d] (columns with ARKit names are
    read as blendshape weights), `space` and `name` str.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises CodesError for a file that is missing, damaged or lacks an array."""
        file = Path(path)
        arrays = _read(file)
        self.name = str(arrays.get("name", file.stem))
        self.space = str(arrays.get("space", f"{self.name}, its own space"))
        self.id = f"file:{sha256(file)[:16]}"
        self._codes = arrays["codes"].astype(np.float64)
        if np.isinf(self._codes).any():
            raise CodesError(f"{file}: codes hold infinite values; finite numbers are expected, or NaN for no answer.")
        count = len(self._codes)
        scales = arrays.get("scale", np.ones(count)).astype(np.float64).round(4).tolist()
        settings = arrays.get("setting", np.full(count, "")).tolist()
        keys = zip(arrays["path"].tolist(), scales, settings, strict=True)
        self._rows = {key: row for row, key in enumerate(keys)}
        if len(self._rows) != count:
            raise CodesError(f"{file}: {count} codes for {len(self._rows)} different images; one an image is expected.")
        self.scales = tuple(sorted(set(scales), reverse=True))
        self.blendshapes: Blendshapes | None = None
        if self.space == EXPRESSION:
            self.blendshapes = expression_blendshapes
        elif "names" in arrays:
            self.blendshapes = _columns(arrays["names"].tolist())

    def lookup(self, paths: Sequence[str], scale: float, setting: str) -> np.ndarray:
        """Codes float64 [n, d] of images at a scale in a setting; NaN rows where the file has none."""
        out = np.full((len(paths), self._codes.shape[1]), np.nan)
        for row, path in enumerate(paths):
            key = (path, round(float(scale), 4))
            found = self._rows.get((*key, setting), self._rows.get((*key, "")))
            if found is not None:
                out[row] = self._codes[found]
        return out


def _columns(names: list[str]) -> Blendshapes | None:
    """Picks the columns with ARKit names, in the open face model's order; a blendshape without a column is NaN."""
    wanted = [str(name) for name in open_face().blendshape_names]
    if not set(wanted) & set(names):
        return None

    def pick(codes: np.ndarray) -> np.ndarray:
        out = np.full((len(codes), len(wanted)), np.nan)
        for column, name in enumerate(wanted):
            if name in names:
                out[:, column] = codes[:, names.index(name)]
        return out

    return pick


def _read(file: Path) -> dict[str, np.ndarray]:
    import zipfile
    import zlib

    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except FileNotFoundError:
        raise CodesError(f"{file}: no such file of codes.") from None
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no npz archive, or a damaged one"
        raise CodesError(f"{file}: not a readable .npz file of codes ({reason}).") from error
    missing = [name for name in ("path", "codes") if name not in arrays]
    if missing:
        raise CodesError(f"{file}: lacks {' and '.join(missing)}; it has {', '.join(arrays) or 'nothing'}.")
    codes, paths = arrays["codes"], arrays["path"]
    if codes.ndim != 2 or codes.dtype.kind not in "fiu" or not codes.size:
        raise CodesError(f"{file}: codes is {codes.dtype} {list(codes.shape)}; numbers [n, d] are expected.")
    lengths = {"path": (len(codes),), "scale": (len(codes),), "setting": (len(codes),), "names": (codes.shape[1],)}
    for name, shape in lengths.items():
        if name in arrays and arrays[name].shape != shape:
            raise CodesError(f"{file}: {name} has shape {arrays[name].shape}; {shape} is expected.")
    if paths.dtype.kind != "U":
        raise CodesError(f"{file}: path is {paths.dtype}; text is expected.")
    return arrays
