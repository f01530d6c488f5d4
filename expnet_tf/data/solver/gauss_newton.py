"""Batched bounded Gauss-Newton over linear shape coefficients and, if asked, the pose, from landmarks.

minimise  sum_k w_k |p_k - project(S_k + B_k x)|^2 + sum_j precision_j x_j^2  over  |x_j| <= limit_j

Each step solves a quadratic programme in the box (boxqp.py) for the linearised camera.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from expnet_tf.data.solver.boxqp import solve_box
from expnet_tf.data.solver.landmark_fits import enough_equations
from expnet_tf.data.solver.normal_equations import matrix_of_one_slope, normal_equations
from expnet_tf.data.solver.tolerances import EXACT, HALVINGS, RENEWED, STEPS, TOLERANCE
from expnet_tf.data.views import Views, move, pose_columns, see, slopes

CHUNK = 128  # faces at once: the work space stays in the cache, and small with an identity update


@dataclass(frozen=True)
class Unknowns:
    """d shape coefficients, and whether the pose is unknown as well."""

    basis: np.ndarray  # float64 [d, 68, 3] mm
    precision: np.ndarray  # float64 [d] px^2 per squared coefficient
    limit: np.ndarray  # float64 [d]
    pose: bool


@dataclass
class Minimum:
    """What minimise() found for m faces."""

    x: np.ndarray  # float64 [m, d], within the limits
    rotation: np.ndarray  # float64 [m, 3, 3]
    offset: np.ndarray  # float64 [m, 3]
    squares: np.ndarray  # float64 [m] weighted sum of squared distances, px^2; not finite: seen from nowhere
    converged: np.ndarray  # bool [m]
    determined: np.ndarray  # bool [m]: the equations fix every unknown


def minimise(views: Views, unknowns: Unknowns) -> Minimum:
    """Solves m independent problems; all inputs finite. Start: x = 0 and the given pose."""
    starts = range(0, max(len(views.points), 1), CHUNK)
    parts = [_chunk(views.take(slice(i, i + CHUNK)), unknowns) for i in starts]
    return Minimum(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Minimum)))


@dataclass
class _State:
    """Where the m faces of a chunk have got to."""

    views: Views  # with the present pose
    x: np.ndarray  # [m, d]
    squares: np.ndarray  # [m] px^2
    residual: np.ndarray  # [m, 68, 2] px
    turned: np.ndarray  # [m, 68, 3] mm, R times the head-frame points

    def take(self, rows: np.ndarray) -> "_State":
        return _State(self.views.take(rows), self.x[rows], self.squares[rows], self.residual[rows], self.turned[rows])

    def put(self, rows: np.ndarray, new: "_State") -> None:
        self.views.rotation[rows], self.views.offset[rows] = new.views.rotation, new.views.offset
        self.x[rows], self.squares[rows] = new.x, new.squares
        self.residual[rows], self.turned[rows] = new.residual, new.turned


def _state(views: Views, x: np.ndarray, basis: np.ndarray) -> _State:
    # One small product a face, not one large one: BLAS would start threads, which costs more than it brings.
    moved = (x[:, None] @ basis.reshape(len(basis), 3 * basis.shape[1])).reshape(views.shape.shape)
    turned = (views.shape + moved) @ views.rotation.transpose(0, 2, 1)
    seen, possible = see(turned, views.offset, views.camera)
    residual = views.points - seen
    squares = (views.weights * (residual**2).sum(2)).sum(1)
    return _State(views, x, np.where(possible, squares, np.inf), residual, turned)


def _chunk(views: Views, unknowns: Unknowns) -> Minimum:
    count, d = len(views.points), len(unknowns.basis)
    views = replace(views, rotation=views.rotation.copy(), offset=views.offset.copy())
    rows = np.ascontiguousarray(unknowns.basis.transpose(1, 2, 0))  # [68, 3, d]
    state = _state(views, np.zeros((count, d)), unknowns.basis)
    converged = np.zeros(count, bool)
    determined = enough_equations(views.weights, unknowns.precision, d + 6 * unknowns.pose)
    live = np.flatnonzero(np.isfinite(state.squares))
    hessian = np.empty(0)
    for iteration in range(STEPS):
        if not live.size:
            break
        now = state.take(live)
        # With a known pose a pinhole's slopes hardly change after the first step (those of scaled orthography not
        # at all), and the old matrix with the new gradient ends at the same point. A face next to the camera, or one
        # that fits badly, would take too many steps with it.
        again = views.camera is not None and (iteration == 1 or iteration % RENEWED == 0)
        afresh = unknowns.pose or iteration == 0 or again
        matrix, curved, gradient = _linearise(now, unknowns, rows, afresh)
        hessian = matrix if afresh else hessian
        lower, upper = np.full((2, *gradient.shape), [[[-np.inf]], [[np.inf]]])
        lower[:, :d], upper[:, :d] = -unknowns.limit - now.x, unknowns.limit - now.x
        step, solved, full_rank = solve_box(hessian if curved is None else curved, gradient, lower, upper)
        if curved is not None:
            bad = np.flatnonzero(~full_rank)  # far from the minimum the curvature may be negative
            step[bad], solved[bad], full_rank[bad] = solve_box(hessian[bad], gradient[bad], lower[bad], upper[bad])
        determined[live] &= full_rank
        # On the bound to the last bit: x + (limit - x) may miss it by a rounding.
        target = np.clip(now.x + step[:, :d], -unknowns.limit, unknowns.limit)
        target = np.where(step[:, :d] == upper[:, :d], unknowns.limit, target)
        target = np.where(step[:, :d] == lower[:, :d], -unknowns.limit, target)
        moved = _advance(state, unknowns, live, target, step[:, d:])
        small = np.abs(step).max(1, initial=0.0) <= TOLERANCE
        converged[live] = small & solved & moved
        live, hessian = live[moved & ~small], hessian[moved & ~small]
    return Minimum(state.x, views.rotation, views.offset, state.squares, converged & determined, determined)


def _advance(
    state: _State, unknowns: Unknowns, live: np.ndarray, target: np.ndarray, pose_step: np.ndarray
) -> np.ndarray:
    """Moves the live faces to their targets, or a half, a quarter .. of the way where that makes things worse.

    Returns bool [live]: False where no part of the way was good.
    """
    now = state.take(live)
    size = EXACT * (now.views.weights[..., None] * now.views.points**2).sum((1, 2))
    worst = (now.squares + (unknowns.precision * now.x**2).sum(1)) * (1 + 1e-9) + size
    moved = np.zeros(live.size, bool)
    todo = np.arange(live.size)
    for share in 0.5 ** np.arange(HALVINGS):
        views, x = now.views.take(todo), target[todo]
        if share < 1:
            x = now.x[todo] + share * (x - now.x[todo])
        if unknowns.pose:
            views.rotation, views.offset = move(views.rotation, views.offset, share * pose_step[todo], views.camera)
        new = _state(views, x, unknowns.basis)
        good = new.squares + (unknowns.precision * x**2).sum(1) <= worst[todo]
        state.put(live[todo[good]], new.take(np.flatnonzero(good)))
        moved[todo[good]] = True
        todo = todo[~good]
        if not todo.size:
            break
    return moved


def _linearise(
    now: _State, unknowns: Unknowns, rows: np.ndarray, with_matrix: bool
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """The Gauss-Newton matrix [m, n, n], that of Newton's method if the pose is unknown, minus half the gradient."""
    d, views = rows.shape[2], now.views
    slope = slopes(now.turned, views.offset, views.camera)
    if unknowns.pose:
        columns = pose_columns(slope, now.turned, views.offset, views.camera)
    else:
        columns = np.zeros((*now.turned.shape[:2], 2, 0))
    head = slope @ views.rotation[:, None]
    simple = views.camera is None and not unknowns.pose and bool((views.weights == views.weights[0]).all())
    matrix, along = normal_equations(head, columns, views.weights, now.residual, rows, with_matrix and not simple)
    if simple and with_matrix:
        matrix = matrix_of_one_slope(head[:, 0], views.weights[0], rows)
    matrix[:, range(d), range(d)] += unknowns.precision
    along[:, :d] -= unknowns.precision * now.x
    return matrix, _bend(matrix, slope, now, rows) if unknowns.pose else None, along


def _bend(matrix: np.ndarray, slope: np.ndarray, now: _State, rows: np.ndarray) -> np.ndarray:
    """The matrix with the curvature of the rotation: what Newton's method has and Gauss-Newton leaves out.

    Without it, noisy landmarks and a near frontal view take hundreds of steps: a small turn hardly moves them.
    exp(w) y = y + w x y + (w (w'y) - y (w'w)) / 2 + ...
    """
    d = rows.shape[2]
    views = now.views
    out = matrix.copy()
    lever = (slope * (views.weights[..., None] * now.residual)[..., None]).sum(2)  # [m, 68, 3] in camera axes
    moment = lever.swapaxes(1, 2) @ now.turned
    trace = np.trace(moment, axis1=1, axis2=2)[:, None, None]
    out[:, d : d + 3, d : d + 3] += trace * np.eye(3) - (moment + moment.swapaxes(1, 2)) / 2
    # Turning what a coefficient moves: lever . (w x R B) = w . R (B x R' lever).
    moments = (lever @ views.rotation).swapaxes(1, 2) @ rows.reshape(len(rows), 3 * d)
    (_, xy, xz), (yx, _, yz), (zx, zy, _) = moments.reshape(len(moments), 3, 3, d).transpose(1, 2, 0, 3)
    mixed = views.rotation @ np.stack([zy - yz, xz - zx, yx - xy], 1)
    out[:, d : d + 3, :d] -= mixed
    out[:, :d, d : d + 3] -= mixed.swapaxes(1, 2)
    return out
