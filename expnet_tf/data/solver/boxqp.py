"""Batched quadratic programmes in a box: projected Newton steps, and an active set where those jam.

D. P. Bertsekas, "Projected Newton methods for optimization problems with simple constraints",
SIAM J. Control and Optimization 20(2), 1982: many bounds change in one step, so faces take three or four. On
ill-conditioned problems its line search can need steps of 1e-8; then bounds are taken and released one by one
(Stark and Parker 1995, as scipy's bvls). Compiled with numba: at 29 unknowns a batch of LAPACK calls from numpy
spends most of its time between the calls.
"""

import numpy as np
from numba import njit

from expnet_tf.data.solver.tolerances import RIDGE, WEAK_PIVOT

PROJECTED = 12  # projected Newton steps before the active set takes over
NEAR = 0.05  # bounds closer than this (and than the last step) count as reached where the gradient points there


def solve_box(
    hessian: np.ndarray, slope: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minimises x' H x / 2 - slope' x over lower <= x <= upper, for m problems of d unknowns.

    hessian float64 [m, d, d] symmetric, positive semidefinite; slope, lower, upper float64 [m, d], finite but
    for infinite bounds, with lower <= 0 <= upper (x is a step from a feasible point).
    Returns x float64 [m, d]; solved bool [m]; and full_rank bool [m], False where the part of H between the
    unknowns that are not at a bound is singular to working precision. Such an H gets a small multiple of the unit
    matrix: x is finite, and one of many solutions. An H with negative eigenvalues may be seen, and ends unsolved.
    """
    arrays = (np.ascontiguousarray(a, np.float64) for a in (hessian, slope, lower, upper))
    return _solve(*arrays)


@njit(cache=True, nogil=True, error_model="numpy")
def _factor(h: np.ndarray, chosen: np.ndarray, n: int, ridge: float, u: np.ndarray) -> float:
    """Cholesky factor of h + ridge, at the rows and columns chosen[:n], in the upper triangle of u (h = u' u).

    Returns the smallest pivot relative to its diagonal entry; stops at the first one below WEAK_PIVOT.
    """
    least = 1.0
    for a in range(n):
        for b in range(a, n):
            u[a, b] = h[chosen[a], chosen[b]]
        u[a, a] += ridge
    for k in range(n):
        full = h[chosen[k], chosen[k]] + ridge
        share = u[k, k] / full if full > 0 else 0.0
        least = min(least, share)
        if not share > WEAK_PIVOT:
            return least
        root = np.sqrt(u[k, k])
        for j in range(k, n):
            u[k, j] /= root
        for i in range(k + 1, n):
            factor = u[k, i]
            for j in range(i, n):
                u[i, j] -= factor * u[k, j]
    return least


@njit(cache=True, nogil=True, error_model="numpy")
def _substitute(u: np.ndarray, b: np.ndarray, n: int) -> None:
    """Solves U' U x = b in place of b[:n]."""
    for k in range(n):
        b[k] /= u[k, k]
        for j in range(k + 1, n):
            b[j] -= u[k, j] * b[k]
    for k in range(n - 1, -1, -1):
        total = b[k]
        for j in range(k + 1, n):
            total -= u[k, j] * b[j]
        b[k] = total / u[k, k]


@njit(cache=True, nogil=True, error_model="numpy")
def _newton(h, gradient, held, ridge, u, free, step):
    """Step to the minimum over the unknowns that are not held: fills step with it, 0 for the held ones.

    Returns the smallest relative pivot of the matrix; the step is undefined if that is not above 0.
    """
    n = 0
    for i in range(len(held)):
        if not held[i]:
            free[n] = i
            n += 1
    least = _factor(h, free, n, ridge, u)
    if least > WEAK_PIVOT:
        right = np.empty(n)
        for a in range(n):
            right[a] = -gradient[free[a]]
        _substitute(u, right, n)
        step[:] = 0.0
        for a in range(n):
            step[free[a]] = right[a]
    return least


@njit(cache=True, nogil=True, error_model="numpy")
def _regular(h, gradient, held, ridge, u, free, step):
    """_newton() with a ridge where the matrix asks for one; returns the ridge, below 0 for an indefinite matrix."""
    if _newton(h, gradient, held, ridge, u, free, step) <= WEAK_PIVOT:
        for i in range(len(held)):
            ridge = max(ridge, RIDGE * h[i, i])
        if ridge == 0.0:
            ridge = 1.0
        if _newton(h, gradient, held, ridge, u, free, step) <= WEAK_PIVOT:
            return -1.0
    return ridge


@njit(cache=True, nogil=True, error_model="numpy")
def _projected_newton(h, gradient, lower, upper, x, ridge, u, free, held, step):
    """Bertsekas' method while whole steps succeed: moves x and gradient. Returns (solved, ridge)."""
    d = len(x)
    before, curve, new = np.zeros(d, np.bool_), np.empty(d), np.empty(d)
    exact = False  # the last step ended at the minimum over the free unknowns, with the others at their bounds
    for _ in range(PROJECTED):
        width = 0.0
        for i in range(d):
            moved = min(max(x[i] - gradient[i] / (h[i, i] + ridge), lower[i]), upper[i])
            width = max(width, abs(moved - x[i]))
        same = True
        for i in range(d):
            near = min(NEAR, width, 0.25 * (upper[i] - lower[i]))  # never near both
            held[i] = (x[i] <= lower[i] + near and gradient[i] > 0) or (x[i] >= upper[i] - near and gradient[i] < 0)
            same = same and held[i] == before[i]
        if exact and same:
            return True, ridge
        before[:] = held
        ridge = _regular(h, gradient, held, ridge, u, free, step)
        if ridge < 0:
            return False, ridge
        exact = True
        for i in range(d):
            if held[i]:
                step[i] = -gradient[i] / (h[i, i] + ridge)
            new[i] = min(max(x[i] + step[i], lower[i]), upper[i])
            if held[i]:  # near a bound is not enough: it may move, and the others' minimum with it
                exact = exact and new[i] == x[i] and (x[i] == lower[i] or x[i] == upper[i])
            else:
                exact = exact and new[i] == x[i] + step[i]
        descent, bend = _change(h, gradient, ridge, new, x, curve)
        if not descent + bend / 2 <= 1e-4 * descent:
            break
        x[:] = new
        gradient += curve
    return False, ridge


@njit(cache=True, nogil=True, error_model="numpy")
def _change(h, gradient, ridge, new, x, curve):
    """The linear and twice the quadratic part of what going from x to new changes; fills curve with H (new - x)."""
    descent, bend = 0.0, 0.0
    for i in range(len(x)):
        curve[i] = ridge * (new[i] - x[i])
    for i in range(len(x)):
        way = new[i] - x[i]
        if way != 0.0:
            for j in range(len(x)):
                curve[j] += h[i, j] * way
    for i in range(len(x)):
        descent += gradient[i] * (new[i] - x[i])
        bend += (new[i] - x[i]) * curve[i]
    return descent, bend


@njit(cache=True, nogil=True, error_model="numpy")
def _active_set(h, gradient, lower, upper, x, ridge, u, free, held, step, noise):
    """One bound at a time, from any feasible x: slower, but sure to end. Returns (solved, ridge).

    A bound is kept while the gradient pulls away from it by no more than `noise`, its rounding.
    """
    d = len(x)
    new, curve = np.empty(d), np.empty(d)
    for i in range(d):
        held[i] = (x[i] <= lower[i] and gradient[i] > 0) or (x[i] >= upper[i] and gradient[i] < 0)
    for _ in range(20 * d):
        ridge = _regular(h, gradient, held, ridge, u, free, step)
        if ridge < 0:
            return False, ridge
        share, blocking = 1.0, -1
        for i in range(d):
            if x[i] + step[i] > upper[i] and (upper[i] - x[i]) / step[i] < share:
                share, blocking = (upper[i] - x[i]) / step[i], i
            if x[i] + step[i] < lower[i] and (lower[i] - x[i]) / step[i] < share:
                share, blocking = (lower[i] - x[i]) / step[i], i
        for i in range(d):
            new[i] = min(max(x[i] + share * step[i], lower[i]), upper[i])
        if blocking >= 0:
            new[blocking] = upper[blocking] if step[blocking] > 0 else lower[blocking]
            held[blocking] = True
        _change(h, gradient, ridge, new, x, curve)
        x[:] = new
        gradient += curve
        if blocking >= 0:
            continue
        worst, out = noise, -1
        for i in range(d):
            pull = -gradient[i] if x[i] <= lower[i] else gradient[i]
            if held[i] and pull > worst and lower[i] < upper[i]:
                worst, out = pull, i
        if out < 0:
            return True, ridge
        held[out] = False
    return False, ridge


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(hessians, slopes, lowers, uppers):
    count, d = slopes.shape
    x = np.zeros((count, d))
    solved, full_rank = np.zeros(count, np.bool_), np.ones(count, np.bool_)
    u, step = np.empty((d, d)), np.empty(d)
    free, held = np.empty(d, np.int64), np.empty(d, np.bool_)
    for k in range(count if d else 0):
        gradient = -slopes[k]
        noise = 1e-14 * np.abs(gradient).max()
        problem = (hessians[k], gradient, lowers[k], uppers[k], x[k])
        solved[k], ridge = _projected_newton(*problem, 0.0, u, free, held, step)
        if not solved[k] and ridge >= 0:
            solved[k], ridge = _active_set(*problem, ridge, u, free, held, step, noise)
        full_rank[k] = ridge == 0
    return x, solved, full_rank
