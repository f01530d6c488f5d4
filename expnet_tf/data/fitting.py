"""Equation (2) of ExpNet: expression codes of many faces from 68 landmarks, with known shape and pose.

minimise  sum_k w_k |p_k - project(S_k + E_k z)|^2  over  |z_j| <= 3

where p are landmarks in px, S the landmarks of the neutral face in mm and E the expression basis. Both cameras:
scaled orthography, for which this is a box-constrained linear least-squares problem, and the pinhole. Three things
go beyond the paper and are off by default: a Gaussian prior, an update of the identity, an update of the pose.

A face that cannot be fitted does not stop the others. `reason` says in words why it is not `converged`:
  values not finite, negative weights, no weight at all, all landmarks in one place,
  a face that reaches behind the camera, a scale that is not positive            -> expression NaN
  too few landmarks (or too special a view) to determine all unknowns            -> finite, one of many solutions
  no convergence                                                                 -> finite, the best point found
Labels must be taken where `converged` holds and nowhere else. A fit that converged can still be a poor one, to
landmarks that are no face for instance: that is what `rms` and `active` tell.

The kernels are compiled at the first call after an installation, which takes some seconds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from expnet_tf.camera import rotation_matrix, rotation_vector
from expnet_tf.data.gauss_newton import Minimum, Unknowns, Views, minimise
from expnet_tf.morphable import MorphableModel

BOUND = 3.0
"""The paper's limit for every coefficient, in sigma."""

LANDMARKS = 68
LARGEST = 1e9
"""Of any input number: px, mm, weights."""


@dataclass(frozen=True)
class Fit:
    """What eq. (2) gives for m faces; rows that are not converged hold no labels (see the top of the file)."""

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


def fit(
    model: MorphableModel,
    points: ArrayLike,
    shape: ArrayLike,
    pose: ArrayLike,
    camera: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    bound: float = BOUND,
    noise: float | None = None,
    identity_spread: float = 0.0,
    refine_pose: bool = False,
) -> Fit:
    """Solves eq. (2) for m faces; points at weight 0 may hold anything, NaN included.

    points float [m, 68, 2] px of the image, iBUG order; shape float [m, 68, 3] or [68, 3] mm, the neutral face's
    landmarks in the head frame (model.landmarks(identity)). pose float [m, 6]: with camera float [m, 3] or [3]
    (f, cx, cy in px), rotation vector and translation in mm of the pinhole in camera.py; with camera None,
    rotation vector, scale (px per mm), tx, ty of scaled orthography (project_orthographic in views.py).
    weights float [m, 68] or [68], >= 0: 0 masks a point, as it should jaw points 0-16 of a turned head.

    noise: standard deviation of a landmark coordinate in px. Given, it adds the Gaussian prior of the model's
    stored variances, noise^2 sum z_j^2 / expression_variance_j, to the sum of squares.
    identity_spread: how far, in sigma, the true identity may lie from `shape`; above 0 it is solved for too, with
    a Gaussian prior around `shape` (this needs noise). refine_pose: solve for the pose too, starting at `pose`.

    Raises ValueError for arrays of a wrong shape (68 landmarks it must be) and for parameters out of range.
    """
    if not bound > 0:
        raise ValueError(f"bound is {bound}, a number above 0 is needed")
    if noise is not None and not 0 < noise < np.inf:
        raise ValueError(f"noise is {noise}, a number of px above 0 is needed")
    if not 0 <= identity_spread < np.inf or (identity_spread and noise is None):
        raise ValueError(f"identity_spread is {identity_spread}, 0 or more is needed, and noise when it is above 0")
    views, reason = _views(points, shape, weights, camera)
    given = _rows(pose, (6,), len(reason), "pose")
    _mark(reason, ~_usable(given), "the pose is not a number, or out of range")

    e = len(model.expression_basis)
    basis, limit = model.expression_basis[:, model.landmark_ids], np.full(e, float(bound))
    precision = np.zeros(e) if noise is None else noise**2 / model.expression_variance
    if identity_spread and noise is not None:
        basis = np.concatenate([basis, model.identity_basis[:, model.landmark_ids]])
        limit = np.concatenate([limit, np.full(len(basis) - e, np.inf)])
        change = noise**2 / (identity_spread**2 * model.identity_variance)
        precision = np.concatenate([precision, change])

    usable = np.flatnonzero(reason == "")
    chosen = views.take(usable)
    chosen.rotation, chosen.offset = rotation_matrix(given[usable, :3]), given[usable, 3:].copy()
    found = minimise(chosen, Unknowns(basis, precision, limit, refine_pose))
    rms, solved = _report(found, chosen.weights, usable, reason)

    x = np.full((len(reason), len(basis)), np.nan)
    x[usable[solved]] = found.x[solved]
    change = np.zeros((len(reason), len(model.identity_basis)))
    if identity_spread:
        change = x[:, e:]
    out = given.copy()
    if refine_pose:
        out[usable] = _pose(found)
    active = (np.abs(x[:, :e]) == bound).sum(1)
    return Fit(x[:, :e], change, out, rms, active, reason == "", reason)


def solve_pose(
    points: ArrayLike, shape: ArrayLike, camera: ArrayLike | None = None, *, weights: ArrayLike | None = None
) -> PoseFit:
    """Poses of m faces from 68 landmarks of known 3D shapes; arguments as in fit().

    Scaled orthography in closed form (least-squares 2 x 3 matrix, then the nearest scaled rotation), brought to the
    pinhole where there is one, then Gauss-Newton to the least-squares pose of the camera in question. With the
    shape of a neutral face, expressions bias the pose; fit(refine_pose=True) takes that out again.

    Raises ValueError for arrays of a wrong shape.
    """
    views, reason = _views(points, shape, weights, camera)
    _mark(reason, (views.weights > 0).sum(1) < 4, "fewer than 4 landmarks have weight")
    usable = np.flatnonzero(reason == "")
    chosen = views.take(usable)
    flat = _start(chosen)
    reason[usable[flat]] = "the landmarks determine no pose"
    usable, chosen = usable[~flat], chosen.take(~flat)
    nothing = np.zeros((0, LANDMARKS, 3))
    found = minimise(chosen, Unknowns(nothing, np.zeros(0), np.zeros(0), True))
    rms, solved = _report(found, chosen.weights, usable, reason)
    pose = np.full((len(reason), 6), np.nan)
    pose[usable[solved]] = _pose(found)[solved]
    return PoseFit(pose, rms, reason == "", reason)


def _start(views: Views) -> np.ndarray:
    """Fills in rotation and offset in closed form; bool [m], True where the points show no scaled rotation."""
    share = views.weights / views.weights.sum(1, keepdims=True)
    middle, center = (share[:, None] @ views.points)[:, 0], (share[:, None] @ views.shape)[:, 0]
    seen = (views.points - middle[:, None]) * [1.0, -1.0]
    solid = views.shape - center[:, None]
    weighted = (share[..., None] * solid).swapaxes(1, 2)
    linear = (np.linalg.pinv(weighted @ solid, hermitian=True) @ (weighted @ seen)).swapaxes(1, 2)  # [m, 2, 3]
    left, size, right = np.linalg.svd(linear, full_matrices=False)
    rows = left @ right
    views.rotation = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    scale = size.mean(1, keepdims=True)
    flat = ~(size[:, 1] > 1e-6 * size[:, 0])
    turned = (views.rotation @ center[..., None])[..., 0]
    if views.camera is None:
        views.offset = np.concatenate([scale, middle - scale * turned[:, :2] * [1.0, -1.0]], 1)
    else:
        depth = views.camera[:, :1] / np.where(flat[:, None], 1.0, scale)
        across = (middle - views.camera[:, 1:]) * [1.0, -1.0] * depth / views.camera[:, :1]
        views.offset = np.concatenate([across, -depth], 1) - turned
    return flat


def _views(points, shape, weights, camera) -> tuple[Views, np.ndarray]:
    """The checked inputs, rotation and offset still empty, and the reason [m] for which each cannot be used."""
    points = np.array(points, np.float64)
    if points.ndim != 3 or points.shape[1:] != (LANDMARKS, 2):
        raise ValueError(
            f"points has shape {points.shape}, [m, {LANDMARKS}, 2] is needed; give landmarks that are "
            f"missing the weight 0"
        )
    count = len(points)
    shape = _rows(shape, (LANDMARKS, 3), count, "shape")
    weights = _rows(1.0 if weights is None else weights, (LANDMARKS,), count, "weights")
    if camera is not None:
        camera = _rows(camera, (3,), count, "camera")

    reason = np.full(count, "", dtype="U64")
    _mark(reason, ~(_usable(weights) & (weights >= 0).all(1)), "a weight is negative, not a number, or out of range")
    _mark(reason, ~(weights > 0).any(1), "no landmark has weight")
    unused = ~(weights > 0)
    points[unused] = 0.0
    _mark(reason, ~_usable(points), "a landmark is not a number, or out of range")
    _mark(reason, ~_usable(shape), "the shape is not a number, or out of range")
    if camera is not None:
        _mark(reason, ~(_usable(camera) & (camera[:, 0] > 0)), "the camera is not a number, or f is not above 0")
    low = np.where(unused[..., None], np.inf, points).min(1)
    high = np.where(unused[..., None], -np.inf, points).max(1)
    _mark(reason, (low == high).all(1), "all landmarks are in one place")
    empty = np.zeros((count, 3))
    return Views(points, weights, shape, np.zeros((count, 3, 3)), empty, camera), reason


def _rows(values: ArrayLike, width: tuple[int, ...], count: int, name: str) -> np.ndarray:
    """The values as float64 [count, *width]; one row serves all faces. Raises ValueError."""
    array = np.asarray(values, np.float64)
    if array.shape not in ((), width, (count, *width)) or (array.ndim == 0 and name != "weights"):
        raise ValueError(f"{name} has shape {array.shape}, {list(width)} or {[count, *width]} is needed")
    return np.broadcast_to(array, (count, *width))


def _usable(array: np.ndarray) -> np.ndarray:
    """bool [m]: all values are numbers that can be squared and summed."""
    return (np.abs(array) < LARGEST).all(tuple(range(1, array.ndim)))


def _mark(reason: np.ndarray, where: np.ndarray, words: str) -> None:
    """Notes the first thing that is wrong with a face."""
    reason[where & (reason == "")] = words


def _report(
    found: Minimum, weights: np.ndarray, usable: np.ndarray, reason: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """rms [m] px over all faces, bool over the usable ones: a solution exists; fills in their reasons."""
    solved = np.isfinite(found.squares)
    words = np.where(found.converged, "", "no convergence")
    words = np.where(found.determined, words, "the landmarks do not determine all unknowns")
    reason[usable] = np.where(solved, words, "the face reaches behind the camera, or the scale is not above 0")
    rms = np.full(len(reason), np.nan)
    rms[usable[solved]] = np.sqrt(found.squares[solved] / weights[solved].sum(1))
    return rms, solved


def _pose(found: Minimum) -> np.ndarray:
    return np.concatenate([rotation_vector(found.rotation), found.offset], 1)
