"""Equation (2) of ExpNet on JAX: fitting.fit() for the paper's problem, on whatever device JAX has.

The same minimum as fitting.py to 1e-9 sigma for scaled orthography, 1e-8 for the pinhole, and the same reasons for
faces that cannot be fitted. It takes weights and the Gaussian prior; it has no update of the identity or the pose,
and no solve_pose(). Needs the package jax (the extra `jax`) and neither numba nor TensorFlow. All is computed in
float64, which is switched on for the call and not for the caller's own JAX code.

Faces are solved in lock step, a chunk at a time, until most are done; those that need more turns are put together
and go on. Two sizes of chunk exist, so that two programs are compiled, at the first call, for each camera.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from expnet_tf.camera import rotation_matrix
from expnet_tf.data.solver.boxqp_jax import solve_box
from expnet_tf.data.solver.landmark_fits import (
    BOUND,
    Fit,
    check_settings,
    checked_poses,
    checked_views,
    enough_equations,
    prior,
    report,
)
from expnet_tf.data.solver.tolerances import EXACT, HALVINGS, RENEWED, RIDGE, STEPS, TOLERANCE, WEAK_PIVOT
from expnet_tf.data.views import NEAREST, Views
from expnet_tf.morphable import MorphableModel

FEW, MANY = 64, 4096  # faces in a chunk, the last of which is filled up
CACHED = 256  # instead of MANY on a CPU: the matrices stay in its cache
PASSES = ((5, 8), (10, 10), (1000, STEPS))
"""Turns for one quadratic programme and Gauss-Newton steps: all faces, those not done by then, and the last few."""


class _Scene(NamedTuple):
    """n faces and where they are seen from, as Views."""

    points: jax.Array  # [n, 68, 2] px
    weights: jax.Array  # [n, 68], or [68] where all faces have the same
    shape: jax.Array  # [n, 68, 3] mm
    rotation: jax.Array  # [n, 3, 3]
    offset: jax.Array  # [n, 3]
    camera: jax.Array | None  # [n, 3]


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
) -> Fit:
    """Solves eq. (2) for m faces with known shape and pose; arguments, result and errors as in fitting.fit()."""
    check_settings(bound, noise)
    views, reason = checked_views(points, shape, weights, camera)
    given = checked_poses(pose, reason)
    precision = prior(noise, 1.0, model.expression_variance)
    basis = model.expression_basis[:, model.landmark_ids]

    chosen = np.flatnonzero(reason == "")
    views = views.take(chosen)
    views.rotation, views.offset = rotation_matrix(given[chosen, :3]), given[chosen, 3:]
    x, squares, converged, determined = _minimise(views, basis, precision, float(bound))
    determined &= enough_equations(views.weights, precision, len(basis))
    rms, solved = report(squares, converged, determined, views.weights, chosen, reason)

    expression = np.full((len(reason), len(basis)), np.nan)
    expression[chosen[solved]] = x[solved]
    active = (np.abs(expression) == bound).sum(1)
    change = np.zeros((len(reason), len(model.identity_basis)))
    return Fit(expression, change, given.copy(), rms, active, reason == "", reason)


def _minimise(
    views: Views, basis: np.ndarray, precision: np.ndarray, bound: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x float64 [m, d], squares [m] px^2 (infinite: seen from nowhere), converged and determined bool [m]."""
    count, d = len(views.points), len(basis)
    x, side = np.zeros((count, d)), np.zeros((count, d), np.int8)
    squares, converged, determined = np.zeros(count), np.zeros(count, bool), np.ones(count, bool)
    same = count > 0 and bool((views.weights == views.weights[0]).all())
    rows = np.ascontiguousarray(basis.transpose(1, 2, 0))
    many = CACHED if jax.default_backend() == "cpu" else MANY
    with _float64():
        for turns, steps in PASSES:
            todo = np.flatnonzero(~converged & np.isfinite(squares))
            running = []
            for begin in range(0, len(todo), many):
                part = todo[begin : begin + many]
                size = FEW if len(part) <= FEW else many
                padded = np.resize(part, size)
                chosen = views.take(padded)
                weights = chosen.weights[0] if same else chosen.weights
                scene = _Scene(chosen.points, weights, chosen.shape, chosen.rotation, chosen.offset, chosen.camera)
                live = np.arange(size) < len(part)
                # Not waited for: the next chunk can run beside it.
                start = x[padded], side[padded], live
                running.append((part, _solve(scene, rows, precision, bound, *start, turns, steps)))
            for part, result in running:
                state = [np.asarray(array)[: len(part)] for array in result]
                x[part], side[part], squares[part], converged[part] = state[:4]
                determined[part] &= state[4]
    return x, squares, converged & determined, determined


def _float64():
    """A context of 64-bit arrays; its name changed with jax 0.8."""
    switch = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    return switch(True)


@jax.jit
def _solve(scene, rows, precision, bound, x, side, live, turns, steps):
    """Gauss-Newton from x and side for the live faces: x, side, squares, converged, determined.

    A face whose quadratic programme takes more turns is left where it is, with the sides that it has reached.
    """
    common = scene.weights.ndim == 1 and scene.camera is None
    weights = jnp.broadcast_to(scene.weights, scene.points.shape[:2])

    def look(x):
        """Sum of squares px^2 [n], infinite behind the camera; residual [n, 68, 2]; turned points [n, 68, 3]."""
        moved = scene.shape + jnp.tensordot(x, rows, (1, 2))
        turned = (moved[..., None, :] * scene.rotation[:, None]).sum(3)  # 3 x 3 products one by one are slow
        at, front = _see(turned, scene.offset, scene.camera)
        residual = scene.points - at
        squares = (weights * (residual**2).sum(2)).sum(1)
        return jnp.where(front, squares, jnp.inf), residual, turned

    def matrix(head):
        """The Gauss-Newton matrix [n, d, d], regular, and bool [n]: it was so from the start."""
        if common:
            pairs = jnp.einsum("kad,kbe->abde", rows * scene.weights[:, None, None], rows)
            whole = jnp.tensordot((head.swapaxes(2, 3) @ head)[:, 0], pairs, 2)
        else:
            weighted = jnp.sqrt(weights)[..., None, None] * head
            j = sum(weighted[..., axis, None] * rows[:, None, axis] for axis in range(3))
            j = j.reshape(len(x), -1, rows.shape[2])
            whole = j.swapaxes(1, 2) @ j
        whole += jnp.diag(precision)
        diagonal = jnp.diagonal(whole, axis1=1, axis2=2)
        factor = jax.lax.linalg.cholesky(whole, symmetrize_input=False)
        # A factor that does not exist is not a number, and no number is above it.
        regular = ((jnp.diagonal(factor, axis1=1, axis2=2) ** 2) > WEAK_PIVOT * diagonal).all(1)
        ridge = RIDGE * diagonal.max(1)
        ridge = jnp.where(regular, 0.0, jnp.where(ridge > 0, ridge, 1.0))
        return whole + ridge[:, None, None] * jnp.eye(len(precision)), regular

    def step(state):
        x, (squares, residual, turned), side, hessian, live, converged, determined, taken = state
        slopes = _slopes(turned, scene.offset, scene.camera)
        head = (slopes[..., None] * scene.rotation[:, None, None]).sum(3)
        # As in gauss_newton.py: after the second step a new matrix would hardly differ from the old one.
        fresh = taken == 0 if scene.camera is None else (taken == 1) | (taken % RENEWED == 0)
        hessian, regular = jax.lax.cond(fresh, matrix, lambda _: (hessian, determined), head)
        determined &= regular | ~live
        lever = ((weights[..., None] * residual)[..., None] * head).sum(2)
        slope = jnp.tensordot(lever, rows, ((1, 2), (0, 1))) - precision * x
        # The others must not keep the live ones waiting.
        slope = jnp.where(live[:, None], slope, 0.0)
        start = jnp.where(live[:, None], side, 0)
        change, reached, solved = solve_box(hessian, slope, -bound - x, bound - x, start, turns)
        side = jnp.where(live[:, None], reached, side)
        # On the bound to the last bit: x + (bound - x) may miss it by a rounding.
        target = jnp.where(side == 0, jnp.clip(x + change, -bound, bound), side * bound)
        go = live & solved
        x, seen, moved = advance(x, (squares, residual, turned), target, go)
        small = jnp.abs(change).max(1, initial=0.0) <= TOLERANCE
        return x, seen, side, hessian, moved & ~small, converged | (moved & small), determined, taken + 1

    def advance(x, seen, target, go):
        """To the target, or a half, a quarter .. of the way where that makes things worse; bool [n]: it was good."""
        size = EXACT * (weights[..., None] * scene.points**2).sum((1, 2))
        worst = (seen[0] + (precision * x**2).sum(1)) * (1 + 1e-9) + size

        def attempt(trial):
            at, seen, good, share = trial
            new = jnp.where(share < 1, x + share * (target - x), target)
            squares, residual, turned = look(new)
            better = ~good & (squares + (precision * new**2).sum(1) <= worst)
            new = jnp.where(better[:, None], new, at)
            seen = (
                jnp.where(better, squares, seen[0]),
                jnp.where(better[:, None, None], residual, seen[1]),
                jnp.where(better[:, None, None], turned, seen[2]),
            )
            return new, seen, good | better, 0.5 * share

        trial = attempt((x, seen, ~go, jnp.asarray(1.0)))
        least = 0.5 ** (HALVINGS - 0.5)
        x, seen, good, _ = jax.lax.while_loop(lambda trial: ~trial[2].all() & (trial[3] > least), attempt, trial)
        return x, seen, go & good

    n, d = x.shape
    seen = look(x)
    live &= jnp.isfinite(seen[0])
    none = jnp.zeros(n, bool)
    start = x, seen, side, jnp.zeros((n, d, d)), live, none, ~none, jnp.asarray(0)
    x, seen, side, _, _, converged, determined, _ = jax.lax.while_loop(
        lambda state: state[4].any() & (state[-1] < steps), step, start
    )
    return x, side, seen[0], converged, determined


def _see(turned: jax.Array, offset: jax.Array, camera: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """see() of views.py."""
    if camera is None:
        return offset[:, None, 1:] + offset[:, None, :1] * turned[..., :2] * jnp.array([1.0, -1.0]), offset[:, 0] > 0
    at = turned + offset[:, None]
    depth = -at[..., 2:]
    scale = camera[:, None, :1] / jnp.maximum(depth, NEAREST)
    return camera[:, None, 1:] + scale * at[..., :2] * jnp.array([1.0, -1.0]), (depth > NEAREST).all((1, 2))


def _slopes(turned: jax.Array, offset: jax.Array, camera: jax.Array | None) -> jax.Array:
    """slopes() of views.py: [n, 68 or 1, 2, 3]."""
    if camera is None:
        return offset[:, :1, None, None] * jnp.array([[1.0, 0, 0], [0, -1, 0]])
    at = turned + offset[:, None]
    depth = jnp.maximum(-at[..., 2], NEAREST)
    scale, zero = camera[:, :1] / depth, jnp.zeros(depth.shape)
    u = jnp.stack([scale, zero, scale * at[..., 0] / depth], -1)
    v = jnp.stack([zero, -scale, -scale * at[..., 1] / depth], -1)
    return jnp.stack([u, v], 2)
