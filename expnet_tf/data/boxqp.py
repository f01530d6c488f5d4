"""Batched quadratic programmes in a box, by the projected Newton method.

D. P. Bertsekas, "Projected Newton methods for optimization problems with simple constraints",
SIAM J. Control and Optimization 20(2), 1982. Compiled with numba: at 29 unknowns a batch of LAPACK calls from
numpy spends most of its time between the calls.
"""

import numpy as np
from numba import njit

ITERATIONS = 100  # a dozen is the most that was seen on faces
NEAR = 0.05  # bounds closer than this (and than the last step) count as reached where the gradient points there
WEAK_PIVOT = 1e-11  # relative; below it a column of the least-squares problem depends on the others


def solve_box(
    hessian: np.ndarray, slope: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minimises x' H x / 2 - slope' x over lower <= x <= upper, for m problems of d unknowns.

    hessian float64 [m, d, d] symmetric, positive semidefinite; slope, lower, upper float64 [m, d], finite but
    for infinite bounds, with lower <= 0 <= upper (x is a step from a feasible point).
    Returns x float64 [m, d]; solved bool [m]; and full_rank bool [m], False where H is singular to working
    precision. Such an H gets a small multiple of the unit matrix: x is finite, and one of many solutions.
    """
    arrays = (np.ascontiguousarray(a, np.float64) for a in (hessian, slope, lower, upper))
    return _solve(*arrays)


@njit(cache=True, nogil=True)
def _factor(u: np.ndarray, n: int) -> float:
    """Upper triangle of u [:n, :n] -> its Cholesky factor U (H = U' U), in place; the smallest relative pivot.

    Stops at the first pivot below WEAK_PIVOT of its diagonal.
    """
    least = 1.0
    diagonal = np.empty(n)
    for k in range(n):
        diagonal[k] = u[k, k]
    for k in range(n):
        share = u[k, k] / diagonal[k] if diagonal[k] > 0 else 0.0
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _solve(hessians, slopes, lowers, uppers):  # type: ignore[no-untyped-def]
    count, d = slopes.shape
    x_all = np.zeros((count, d))
    solved = np.zeros(count, np.bool_)
    full_rank = np.ones(count, np.bool_)
    u, right = np.empty((d, d)), np.empty(d)
    step, new, curve = np.empty(d), np.empty(d), np.empty(d)
    free = np.empty(d, np.int64)
    held, held_before = np.empty(d, np.bool_), np.empty(d, np.bool_)
    for face in range(count):
        h, lower, upper, x = hessians[face], lowers[face], uppers[face], x_all[face]
        gradient = -slopes[face]
        for i in range(d):
            u[i, i:] = h[i, i:]
        ridge = 0.0
        factored = _factor(u, d) > WEAK_PIVOT  # u holds the factor for the case that all are free
        if not factored:
            full_rank[face] = False
            for i in range(d):
                ridge = max(ridge, 1e-7 * h[i, i])
            if ridge == 0.0:
                ridge = 1.0
        exact = False  # the last step ended at the minimum over the free unknowns, the others at their bounds
        for _ in range(ITERATIONS):
            width = 0.0
            for i in range(d):
                moved = min(max(x[i] - gradient[i] / (h[i, i] + ridge), lower[i]), upper[i])
                width = max(width, abs(moved - x[i]))
            near = min(NEAR, width)
            n = 0
            same = True
            for i in range(d):
                held[i] = (x[i] <= lower[i] + near and gradient[i] > 0) or (
                    x[i] >= upper[i] - near and gradient[i] < 0
                )
                same = same and held[i] == held_before[i]
                if not held[i]:
                    free[n] = i
                    n += 1
            if exact and same:
                solved[face] = True
                break
            held_before[:] = held
            for a in range(n):
                right[a] = -gradient[free[a]]
            if n < d or not factored:
                for a in range(n):
                    for b in range(a, n):
                        u[a, b] = h[free[a], free[b]]
                    u[a, a] += ridge
                _factor(u, n)  # goes through: no principal block has a smaller pivot than the whole
                factored = n == d
            _substitute(u, right, n)
            for i in range(d):
                step[i] = -gradient[i] / (h[i, i] + ridge)
            longest = 0.0
            for a in range(n):
                step[free[a]] = right[a]
            for i in range(d):
                longest = max(longest, abs(min(max(x[i] + step[i], lower[i]), upper[i]) - x[i]))
            if longest == 0.0:
                solved[face] = True
                break
            share = 1.0
            for _ in range(40):
                exact = share == 1.0
                for i in range(d):
                    new[i] = x[i] + share * step[i]
                    inside = min(max(new[i], lower[i]), upper[i])
                    if held[i]:
                        exact = exact and (inside == lower[i] or inside == upper[i])
                    else:
                        exact = exact and inside == new[i]
                    new[i] = inside - x[i]
                descent, bend = 0.0, 0.0
                for i in range(d):
                    curve[i] = ridge * new[i]
                    for j in range(d):
                        curve[i] += h[j, i] * new[j]
                    descent += gradient[i] * new[i]
                    bend += new[i] * curve[i]
                if descent + bend / 2 <= 1e-4 * descent:
                    break
                share /= 2
            for i in range(d):
                # Re-clipped: x + (bound - x) may miss the bound by a rounding.
                x[i] = min(max(x[i] + share * step[i], lower[i]), upper[i])
                gradient[i] += curve[i]
            if share < 1e-9:  # nothing left to gain in this arithmetic
                solved[face] = True
                break
    return x_all, solved, full_rank
