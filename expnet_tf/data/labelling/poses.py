"""Where the head pose comes from, and under which camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from expnet_tf.camera import NOMINAL_FOCAL, rotation_matrix, rotation_vector, transform
from expnet_tf.data.labelling.shapes import Heads
from expnet_tf.data.labelling.tables import Table, TableError, TrueLabels, digest
from expnet_tf.image import crop_square
from expnet_tf.models import DEFAULT

ACCEPTED = "network[:MODEL], npz:FILE, landmarks, or labels (synthetic faces)"
FACTOR = 1.25
"""Of the crop whose nominal camera a face gets when its pose is solved from its landmarks: the paper's."""

# The head frame and OpenCV's camera: x right, y down, z forward.
OPENCV = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Placed:
    """How a face stands before its pinhole."""

    pose: np.ndarray | None  # float64 [6]: rotation vector (rad), translation (mm); None: solve for it
    camera: np.ndarray  # float64 [3]: f, cx, cy in px of the image


class Poses(Protocol):
    """Poses of single images."""

    network: str | None  # the model whose pose head it is; None: no network is asked
    solved: bool  # the pose is solved together with the expression

    def find(self, key: str, box: Sequence[float], heads: Heads | None, factor: float) -> Placed | None:
        """None where there is no pose. heads, factor: of `network` and the crop that it saw of the box."""
        ...

    def describe(self) -> dict:
        """JSON-able: kind, camera, and the file's sha256 (a network's is stated with the networks)."""
        ...


def nominal_camera(box: Sequence[float], factor: float) -> np.ndarray:
    """The nominal camera of a box's crop: float64 [3], f, cx, cy in px of the image."""
    x0, y0, side = crop_square(box, factor)
    return np.array([NOMINAL_FOCAL * side, x0 + side / 2, y0 + side / 2])


class FromNetwork:
    """The pose head of one of our networks; its camera is the crop's nominal one."""

    solved = False

    def __init__(self, model: str) -> None:
        self.network: str | None = model

    def find(self, key: str, box: Sequence[float], heads: Heads | None, factor: float) -> Placed | None:
        assert heads is not None
        return Placed(np.asarray(heads["pose"], np.float64), nominal_camera(box, factor))

    def describe(self) -> dict:
        return {"kind": "network", "model": self.network, "focal": f"{NOMINAL_FOCAL:g} x the crop's side"}


class FromLandmarks:
    """No pose is known: it is solved for, together with the expression, from the landmarks."""

    network: str | None = None
    solved = True

    def find(self, key: str, box: Sequence[float], heads: Heads | None, factor: float) -> Placed | None:
        return Placed(None, nominal_camera(box, FACTOR))

    def describe(self) -> dict:
        return {"kind": "landmarks", "focal": f"{NOMINAL_FOCAL:g} x the side of the box's crop, factor {FACTOR:g}"}


class FromTable:
    """An npz file: key, text [n]; pose, float [n, 6]; camera, float [n, 3] (f, cx, cy in px of the image); frame.

    frame is a text: "expnet" (camera.py) or "opencv", X_camera = R X + t with x right, y down, z forward, as
    cv2.solvePnP and FacePoseNet state it. head, float [3, 4], optional: the rotation and shift (mm) that
    take our head frame to the one that the poses are of.
    """

    network: str | None = None
    solved = False

    def __init__(self, path: Path) -> None:
        """Raises TableError."""
        self._table = Table(path, {"pose": (6,), "camera": (3,)}, {})
        frame = self._table.fields.get("frame")
        self._frame = str(frame)
        if self._frame not in ("expnet", "opencv"):
            raise TableError(f"{path}: frame is {frame!r}; the text 'expnet' or 'opencv' is needed")
        self._head = np.asarray(self._table.fields.get("head", np.eye(3, 4)), np.float64)
        rotation = self._head[:, :3] if self._head.shape == (3, 4) else np.zeros((3, 3))
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
            raise TableError(f"{path}: head is no rotation and shift, float [3, 4]")

    def find(self, key: str, box: Sequence[float], heads: Heads | None, factor: float) -> Placed | None:
        row = self._table.row(key)
        if row is None or not np.isfinite(row["pose"]).all():
            return None
        pose = row["pose"]
        rotation, shift = rotation_matrix(pose[:3]), pose[3:]
        shift = rotation @ self._head[:, 3] + shift
        rotation = rotation @ self._head[:, :3]
        if self._frame == "opencv":
            rotation, shift = OPENCV @ rotation, OPENCV @ shift
        return Placed(np.concatenate([rotation_vector(rotation), shift]), row["camera"])

    def describe(self) -> dict:
        path = self._table.path
        return {"kind": "npz", "file": path.name, "sha256": digest(path), "frame": self._frame, "focal": "the file's"}


class FromTruth:
    """Pose and camera that a synthetic face was rendered with."""

    network: str | None = None
    solved = False

    def __init__(self, truth: TrueLabels) -> None:
        self._truth = truth

    def find(self, key: str, box: Sequence[float], heads: Heads | None, factor: float) -> Placed | None:
        row = self._truth.row(key)
        return None if row is None else Placed(row["pose"], row["camera"])

    def describe(self) -> dict:
        return {"kind": "labels", "focal": "the true one"}


def open_poses(text: str, truth: TrueLabels | None) -> Poses:
    """The poses named by text, one of ACCEPTED. Raises TableError."""
    kind, _, rest = text.partition(":")
    if kind == "network":
        return FromNetwork(rest or DEFAULT)
    if kind == "npz" and rest:
        return FromTable(Path(rest))
    if kind == "landmarks" and not rest:
        return FromLandmarks()
    if kind == "labels" and not rest:
        if truth is None:
            raise TableError("--pose labels needs a folder of expnet synth; this source has no true poses")
        return FromTruth(truth)
    raise TableError(f"--pose is {text!r}; accepted: {ACCEPTED}")


def to_orthographic(pose: ArrayLike, camera: ArrayLike, shape: ArrayLike) -> np.ndarray:
    """Scaled orthography that agrees with a pinhole at the middle of the face.

    pose float [m, 6], camera float [m, 3] of the pinhole, shape float [m, n, 3] mm in the head frame -> float64
    [m, 6]: the same rotation vector, scale (px per mm), tx, ty (px). Exact for a point at the shape's mean.
    """
    pose, camera = np.asarray(pose, np.float64), np.asarray(camera, np.float64)
    middle = np.asarray(shape, np.float64).mean(1, keepdims=True)
    x, y, z = transform(middle, pose)[:, 0].T
    with np.errstate(divide="ignore"):
        scale = camera[:, 0] / -z
    turned = transform(middle, np.concatenate([pose[:, :3], np.zeros((len(pose), 3))], 1))[:, 0]
    across = camera[:, 1] + scale * (x - turned[:, 0])
    down = camera[:, 2] - scale * (y - turned[:, 1])
    return np.concatenate([pose[:, :3], np.stack([scale, across, down], 1)], 1)


def yaw(pose: ArrayLike) -> np.ndarray:
    """How far a head is turned sideways: float64 [m] degrees, 0..180, of poses float [m, 6]."""
    forward = rotation_matrix(np.asarray(pose, np.float64)[:, :3])[..., 2]
    return np.degrees(np.abs(np.arctan2(forward[:, 0], forward[:, 2])))
