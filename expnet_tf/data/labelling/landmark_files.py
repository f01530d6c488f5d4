"""68 landmarks from files: OpenFace's CSV, 300-W's .pts, an npz. Found points are in px, pixel centres at .5.

Where other programs put the centre of the first pixel, and what is added to their coordinates for ours:
  OpenFace (CLNF)  0, as OpenCV counts      +0.5
  .pts of iBUG     1, as Matlab counts      -0.5
  npz              0.5, our own convention   0
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from expnet_tf.data.labelling.tables import Table, TableError, digest, stem

POINTS = 68
OPENFACE_SHIFT = 0.5
PTS_SHIFT = -0.5
KEY_COLUMNS = ("key", "image", "filename", "name")
_PTS = re.compile(r"version:\s*1\s+n_points:\s*(\d+)\s*\{([^}]*)\}\s*", re.ASCII)

Found = tuple[np.ndarray, float | None]
"""Points float64 [68, 2] px and the detector's confidence in them, 0..1; None where it has none."""


class NoLandmarks(ValueError):
    """An image has no landmarks; the message is the reason, `detail` names the file where there is one."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


MISSING, REFUSED, BROKEN = "none in the file", "the detector reports no success", "the file is damaged"


class NpzLandmarks:
    """An npz file with key, text [n], and points, float [n, 68, 2] px; and, if it likes, confidence, float [n]."""

    def __init__(self, path: Path) -> None:
        self._table = Table(path, {"points": (POINTS, 2)}, {"confidence": ()})
        self.has_confidence = "confidence" in self._table.fields

    def find(self, key: str) -> Found:
        row = self._table.row(key)
        if row is None:
            raise NoLandmarks(MISSING)
        return row["points"], float(row["confidence"]) if self.has_confidence else None

    def describe(self) -> dict:
        return {"kind": "npz", "file": self._table.path.name, "sha256": digest(self._table.path)}


class PtsLandmarks:
    """A folder with one .pts file an image, named as the image's key is: 0000045/001.jpg -> 0000045/001.pts."""

    has_confidence = False

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise TableError(f"{folder} is no folder; one with a .pts file an image is expected")
        self._folder = folder

    def find(self, key: str) -> Found:
        path = self._folder / f"{stem(key)}.pts"
        if not path.is_file():
            raise NoLandmarks(MISSING, str(path))
        return read_pts(path), None

    def describe(self) -> dict:
        return {"kind": "pts", "folder": self._folder.name, "sha256": digest(self._folder)}


def read_pts(path: Path) -> np.ndarray:
    """Points float64 [68, 2] px of a 300-W annotation. Raises NoLandmarks for anything else."""
    match = _PTS.fullmatch(path.read_text(encoding="utf-8", errors="replace"))
    try:
        numbers = np.array(match[2].split(), np.float64) if match else np.empty(0)
    except ValueError:
        numbers = np.empty(0)
    if match is None or int(match[1]) != POINTS or numbers.size != 2 * POINTS:
        raise NoLandmarks(BROKEN, f"{path}: version: 1, n_points: {POINTS} and as many lines of x y are expected")
    return numbers.reshape(POINTS, 2) + PTS_SHIFT


class OpenFaceLandmarks:
    """The CSV of OpenFace: a folder with a file an image, or one file whose rows name their images.

    A folder: what FaceLandmarkImg writes, 0000045/001.csv for 0000045/001.jpg, a row a face. One file: rows of such
    files put together, with one of the columns key, image, filename, name in front that holds the image's key. Read
    are x_0 .. x_67, y_0 .. y_67, confidence and success, where the last two exist; of several faces the one with
    the largest confidence. FeatureExtraction's own file numbers video frames and names no image.
    """

    has_confidence = True

    def __init__(self, path: Path) -> None:
        """Raises TableError where the path is neither, or a single file that is damaged."""
        self._path = path
        self._found: dict[str, Found | None] | None = None
        if path.is_file():
            self._found = {}
            for key, found in _openface_rows(path, named=True):
                self._found[stem(key)] = _better(self._found.get(stem(key)), found)
        elif not path.is_dir():
            raise TableError(f"{path} does not exist; a CSV file of OpenFace or a folder of them is expected")

    def find(self, key: str) -> Found:
        if self._found is None:
            path = self._path / f"{stem(key)}.csv"
            if not path.is_file():
                raise NoLandmarks(MISSING, str(path))
            best: Found | None = None
            try:
                for _, found in _openface_rows(path, named=False):
                    best = _better(best, found)
            except TableError as error:
                raise NoLandmarks(BROKEN, str(error)) from error
        else:
            if stem(key) not in self._found:
                raise NoLandmarks(MISSING)
            best = self._found[stem(key)]
        if best is None:
            raise NoLandmarks(REFUSED)
        return best

    def describe(self) -> dict:
        return {"kind": "openface", "path": self._path.name, "sha256": digest(self._path)}


def _better(one: Found | None, other: Found | None) -> Found | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda found: found[1] or 0.0)


def _openface_rows(path: Path, named: bool):
    """(key or "", points and confidence, or None without success) of each row. Raises TableError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            header = [name.strip() for name in next(lines, [])]  # older versions write ", " between the names
            place = {name: number for number, name in enumerate(header)}
            wanted = [f"{axis}_{number}" for number in range(POINTS) for axis in "xy"]
            if absent := [name for name in wanted if name not in place]:
                raise TableError(f"{path}: lacks the column {absent[0]}; x_0 .. x_67 and y_0 .. y_67 are needed")
            key = next((place[name] for name in KEY_COLUMNS if name in place), None)
            if named and key is None:
                raise TableError(
                    f"{path}: no column says which image a row is of; put one named key in front, or name the folder "
                    f"of FaceLandmarkImg's files"
                )
            columns = [place[name] for name in wanted]
            for line in lines:
                if not line:
                    continue
                success = float(line[place["success"]]) if "success" in place else 1.0
                confidence = float(line[place["confidence"]]) if "confidence" in place else 1.0
                points = np.array([float(line[column]) for column in columns], np.float64).reshape(POINTS, 2)
                found = (points + OPENFACE_SHIFT, confidence) if success else None
                yield (line[key].strip() if named and key is not None else ""), found
    except (OSError, UnicodeDecodeError, csv.Error, IndexError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{path}: not a whole CSV file of OpenFace ({error})") from error
