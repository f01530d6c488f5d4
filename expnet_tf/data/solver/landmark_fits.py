"""What goes into a fit of 68 landmarks and what comes out, whatever solves it: checked arrays, reasons, results."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from expnet_tf.data.views import Views

BOUND = 3.0
"""The paper's limit for every coefficient, in sigma."""

LANDMARKS = 68
LARGEST = 1e9
"""Of any input number: px, mm, weights."""

LEAST = 1e-100
"""Of a face's largest weight: products of smaller ones lose digits, or are 0."""

LINE = 1e-12
"""Squared width over squared length: landmarks whose outline is thinner are one line, which no face looks like."""

UNDETERMINED = "the landmarks do not determine all unknowns"
NOWHERE = "the face reaches behind the camera, or the scale is not above 0"


@dataclass(frozen=True)
class Fit:
    """What eq. (2) gives for m faces; rows that are not converged hold no labels (see fitting.py)."""

    expression: np.ndarray  # float64 [m, e] sigma units, |z| <= bound; NaN where nothing could be solved
    identity_change: np.ndarray  # float64 [m, i] sigma units, to be added to the identity; 0 when it is fixed
    pose: np.ndarray  # float64 [m, 6] as given, or updated
    rms: np.ndarray  # float64 [m] px: weighted root mean square distance of a landmark
    active: np.ndarray  # int64 [m] coefficients that ended exactly at a bound
    converged: np.ndarray  # bool [m]
    reason: np.ndarray  # str [m], empty where converged


@dataclass(frozen=True)
class PoseFit:
    """Poses of m faces from their landmarks."""

    pose: np.ndarray  # float64 [m, 6]; NaN where nothing could be solved
    rms: np.ndarray  # float64 [m] px
    converged: np.ndarray  # bool [m]
    reason: np.ndarray  # str [m], empty where converged


def checked_views(
    points: ArrayLike, shape: ArrayLike, weights: ArrayLike | None, camera: ArrayLike | None
) -> tuple[Views, np.ndarray]:
    """The inputs as float64, rotation and offset still empty, and the reason str [m] why each cannot be used, or "".

    Raises ValueError for arrays of a wrong shape.
    """
    points = np.array(points, np.float64)
    if points.ndim != 3 or points.shape[1:] != (LANDMARKS, 2):
        raise ValueError(
            f"points has shape {points.shape}, [m, {LANDMARKS}, 2] is needed; give landmarks that are "
            f"missing the weight 0"
        )
    count = len(points)
    shape = rows(shape, (LANDMARKS, 3), count, "shape")
    weights = rows(1.0 if weights is None else weights, (LANDMARKS,), count, "weights")
    if camera is not None:
        camera = rows(camera, (3,), count, "camera")

    reason = np.full(count, "", dtype="U64")
    mark(reason, ~(usable(weights) & (weights >= 0).all(1)), "a weight is negative, not a number, or out of range")
    mark(reason, weights.max(1) < LEAST, "no landmark has weight")
    unused = ~(weights > 0)
    points[unused] = 0.0
    mark(reason, ~usable(points), "a landmark is not a number, or out of range")
    mark(reason, ~usable(shape), "the shape is not a number, or out of range")
    if camera is not None:
        mark(reason, ~(usable(camera) & (camera[:, 0] > 0)), "the camera is not a number, or f is not above 0")
    low = np.where(unused[..., None], np.inf, points).min(1)
    high = np.where(unused[..., None], -np.inf, points).max(1)
    mark(reason, (low == high).all(1), "all landmarks are in one place")
    fine = np.flatnonzero(reason == "")
    reason[fine[_line(points[fine], ~unused[fine])]] = "all landmarks lie on one line"
    empty = np.zeros((count, 3))
    return Views(points, weights, shape, np.zeros((count, 3, 3)), empty, camera), reason


def _line(points: np.ndarray, used: np.ndarray) -> np.ndarray:
    """bool [m]: the used points, float64 [m, n, 2], are on a line (or in one place) to working precision."""
    share = used / used.sum(1, keepdims=True)
    off = (points - (share[:, None] @ points)) * used[..., None]
    spread = off.swapaxes(1, 2) @ off
    width = spread[:, 0, 0] * spread[:, 1, 1] - spread[:, 0, 1] ** 2
    return width <= LINE * (spread[:, 0, 0] + spread[:, 1, 1]) ** 2


def rows(values: ArrayLike, width: tuple[int, ...], count: int, name: str) -> np.ndarray:
    """The values as float64 [count, *width]; one row serves all faces. Raises ValueError."""
    array = np.asarray(values, np.float64)
    if array.shape not in ((), width, (count, *width)) or (array.ndim == 0 and name != "weights"):
        raise ValueError(f"{name} has shape {array.shape}, {list(width)} or {[count, *width]} is needed")
    return np.broadcast_to(array, (count, *width))


def checked_poses(pose: ArrayLike, reason: np.ndarray) -> np.ndarray:
    """The poses as float64 [m, 6]; notes in `reason` those that cannot be used. Raises ValueError."""
    given = rows(pose, (6,), len(reason), "pose")
    mark(reason, ~usable(given), "the pose is not a number, or out of range")
    return given


def prior(noise: float | None, spread: float, variance: np.ndarray) -> np.ndarray:
    """Precision float64 [d] px^2 that a Gaussian of spread^2 variance adds to the squares; 0 without noise (px)."""
    return np.zeros(len(variance)) if noise is None else noise**2 / (spread**2 * variance)


def check_settings(bound: float, noise: float | None) -> None:
    """Raises ValueError for parameters out of range."""
    if not bound > 0:
        raise ValueError(f"bound is {bound}, a number above 0 is needed")
    if noise is not None and not 0 < noise < np.inf:
        raise ValueError(f"noise is {noise}, a number of px above 0 is needed")


def enough_equations(weights: np.ndarray, precision: np.ndarray, unknowns: int) -> np.ndarray:
    """bool [m]: two equations a landmark with weight, and those of the prior, are at least as many as the unknowns.

    Counted, because rounding can give a matrix that lacks one equation the look of full rank.
    """
    return 2 * (weights > 0).sum(1) + (precision > 0).sum() >= unknowns


def usable(array: np.ndarray) -> np.ndarray:
    """bool [m]: all values are numbers that can be squared and summed."""
    return (np.abs(array) < LARGEST).all(tuple(range(1, array.ndim)))


def mark(reason: np.ndarray, where: np.ndarray, words: str) -> None:
    """Notes the first thing that is wrong with a face."""
    reason[where & (reason == "")] = words


def report(
    squares: np.ndarray,
    converged: np.ndarray,
    determined: np.ndarray,
    weights: np.ndarray,
    chosen: np.ndarray,
    reason: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """rms float64 [m] px over all faces, bool [n] over the n chosen ones: a solution exists; notes their reasons.

    squares float64 [n] px^2 (not finite: seen from nowhere), converged and determined bool [n], weights [n, 68].
    """
    solved = np.isfinite(squares)
    words = np.where(converged, "", "no convergence")
    words = np.where(determined, words, UNDETERMINED)
    reason[chosen] = np.where(solved, words, NOWHERE)
    rms = np.full(len(reason), np.nan)
    rms[chosen[solved]] = np.sqrt(squares[solved] / weights[solved].sum(1))
    return rms, solved
