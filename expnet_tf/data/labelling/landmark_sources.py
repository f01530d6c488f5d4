"""Where the 68 landmarks p of eq. (2) come from: dlib, files of other detectors, or a synthetic folder's truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from expnet_tf.data.labelling.landmark_files import (
    MISSING,
    Found,
    NoLandmarks,
    NpzLandmarks,
    OpenFaceLandmarks,
    PtsLandmarks,
)
from expnet_tf.data.labelling.tables import TableError, TrueLabels, digest

ACCEPTED = "dlib, openface:PATH, pts:DIR, npz:FILE, or labels (synthetic faces)"


class Landmarks(Protocol):
    """A detector of 68 points, iBUG order, px of the image with pixel centres at .5."""

    needs_box: bool  # the points are found in a face box; else the box is found by the points
    has_confidence: bool
    jaw_is_fixed: bool  # points 0-16 are vertices of the face model from any view, and not the outline

    def find(self, key: str, image: np.ndarray, box: Sequence[float] | None) -> Found:
        """image uint8 RGB [H, W, 3]; box (x, y, w, h) px where needs_box. Raises NoLandmarks."""
        ...

    def describe(self) -> dict:
        """JSON-able: kind, version and sha256 of what gives the points."""
        ...


class FromFile:
    """Points that another program found."""

    needs_box = jaw_is_fixed = False

    def __init__(self, file: NpzLandmarks | PtsLandmarks | OpenFaceLandmarks) -> None:
        self._file = file
        self.has_confidence = file.has_confidence

    def find(self, key: str, image: np.ndarray, box: Sequence[float] | None) -> Found:
        return self._file.find(key)

    def describe(self) -> dict:
        return self._file.describe()


class FromTruth:
    """The points that a synthetic face was rendered with."""

    needs_box = has_confidence = False
    jaw_is_fixed = True

    def __init__(self, truth: TrueLabels) -> None:
        self._truth = truth

    def find(self, key: str, image: np.ndarray, box: Sequence[float] | None) -> Found:
        row = self._truth.row(key)
        if row is None:
            raise NoLandmarks(MISSING)
        return row["points"], None

    def describe(self) -> dict:
        return {"kind": "labels"}


class FromDlib:
    """dlib's shape predictor in the face's box. NOT FOR COMMERCIAL USE: trained on 300-W."""

    needs_box = True
    has_confidence = jaw_is_fixed = False

    def __init__(self) -> None:
        """Raises TableError where dlib or its model is not installed."""
        from expnet_tf.data.labelling.dlib_landmarks import DlibError, DlibLandmarks, model_file

        try:
            self._dlib, self._file = DlibLandmarks(), model_file()
        except DlibError as error:
            raise TableError(str(error)) from error

    def find(self, key: str, image: np.ndarray, box: Sequence[float] | None) -> Found:
        assert box is not None
        return self._dlib.points(image, box), None

    def describe(self) -> dict:
        import dlib

        licence = "trained on 300-W: not for commercial use"
        return {"kind": "dlib", "version": dlib.__version__, "sha256": digest(self._file), "licence": licence}


def open_landmarks(text: str, truth: TrueLabels | None) -> Landmarks:
    """The landmarks named by text, one of ACCEPTED; truth: the labels of a synthetic source. Raises TableError."""
    kind, _, rest = text.partition(":")
    path = Path(rest)
    if kind == "dlib" and not rest:
        return FromDlib()
    if kind == "labels" and not rest:
        if truth is None:
            raise TableError("--landmarks labels needs a folder of expnet synth; this source has no true landmarks")
        return FromTruth(truth)
    if rest and kind == "npz":
        return FromFile(NpzLandmarks(path))
    if rest and kind == "pts":
        return FromFile(PtsLandmarks(path))
    if rest and kind == "openface":
        return FromFile(OpenFaceLandmarks(path))
    raise TableError(f"--landmarks is {text!r}; accepted: {ACCEPTED}")
