"""Equation (2) of ExpNet: expression codes of many faces from 68 landmarks, with known shape and pose.

minimise  sum_k w_k |p_k - project(S_k + E_k z)|^2  over  |z_j| <= 3

where p are landmarks in px, S the landmarks of the neutral face in mm and E the expression basis. Both cameras:
scaled orthography, for which this is a box-constrained linear least-squares problem, and the pinhole. Three things
go beyond the paper and are off by default: a Gaussian prior, an update of the identity, an update of the pose.

A face that cannot be fitted does not stop the others. `reason` says in words why it is not `converged`:
  values not finite, negative weights, no weight at all, all landmarks in one place or on one line,
  a face that reaches behind the camera, a scale that is not positive            -> expression NaN
  too few landmarks (or too special a view) to determine all unknowns            -> finite, one of many solutions
  no convergence                                                                 -> finite, the best point found
Labels must be taken where `converged` holds and nowhere else. A fit that converged can still be a poor one, to
landmarks that are no face for instance: that is what `rms` and `active` tell.

The kernels are compiled at the first call after an installation, which takes some seconds.
"""

import numpy as np
from numpy.typing import ArrayLike

from expnet_tf.camera import rotation_matrix, rotation_vector
from expnet_tf.data.solver.gauss_newton import Minimum, Unknowns, minimise
from expnet_tf.data.solver.landmark_fits import (
    BOUND,
    LANDMARKS,
    Fit,
    PoseFit,
    check_settings,
    checked_poses,
    checked_views,
    mark,
    prior,
    report,
)
from expnet_tf.data.views import Views
from expnet_tf.morphable import MorphableModel


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
    check_settings(bound, noise)
    if not 0 <= identity_spread < np.inf or (identity_spread and noise is None):
        raise ValueError(f"identity_spread is {identity_spread}, 0 or more is needed, and noise when it is above 0")
    views, reason = checked_views(points, shape, weights, camera)
    given = checked_poses(pose, reason)

    e = len(model.expression_basis)
    basis, limit = model.expression_basis[:, model.landmark_ids], np.full(e, float(bound))
    precision = prior(noise, 1.0, model.expression_variance)
    if identity_spread:
        basis = np.concatenate([basis, model.identity_basis[:, model.landmark_ids]])
        limit = np.concatenate([limit, np.full(len(basis) - e, np.inf)])
        precision = np.concatenate([precision, prior(noise, identity_spread, model.identity_variance)])

    usable = np.flatnonzero(reason == "")
    chosen = views.take(usable)
    chosen.rotation, chosen.offset = rotation_matrix(given[usable, :3]), given[usable, 3:].copy()
    found = minimise(chosen, Unknowns(basis, precision, limit, refine_pose))
    rms, solved = report(found.squares, found.converged, found.determined, chosen.weights, usable, reason)

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
    views, reason = checked_views(points, shape, weights, camera)
    mark(reason, (views.weights > 0).sum(1) < 4, "fewer than 4 landmarks have weight")
    usable = np.flatnonzero(reason == "")
    chosen = views.take(usable)
    flat = _start(chosen)
    reason[usable[flat]] = "the landmarks determine no pose"
    usable, chosen = usable[~flat], chosen.take(~flat)
    nothing = np.zeros((0, LANDMARKS, 3))
    found = minimise(chosen, Unknowns(nothing, np.zeros(0), np.zeros(0), True))
    rms, solved = report(found.squares, found.converged, found.determined, chosen.weights, usable, reason)
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


def _pose(found: Minimum) -> np.ndarray:
    return np.concatenate([rotation_vector(found.rotation), found.offset], 1)
