"""Batched quadratic programmes in a box for JAX: block principal pivoting.

J. J. Judice and F. M. Pires, "A block principal pivoting algorithm for large-scale strictly monotone linear
complementarity problems", Computers & Operations Research 21(5), 1994: guess which unknowns are at which bound, solve
for the others, and exchange all that turn out on the wrong side; when that stops helping exchange one at a time, by
Murty's rule, which is sure to end. Every turn is one Cholesky factor and no line search, so that many faces can take
their turns together; boxqp.py's projected Newton steps would wait for the face with the longest search.
"""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

BLOCKS = 3  # exchanges of all that did not lower their number before single ones


def solve_box(
    hessian: jax.Array, slope: jax.Array, lower: jax.Array, upper: jax.Array, side: jax.Array, turns: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Minimises x' H x / 2 - slope' x over lower <= x <= upper, for m problems of d unknowns.

    hessian float64 [m, d, d] symmetric, positive definite; slope, lower, upper float64 [m, d], where the bounds may
    be infinite; side int [m, d] the start: -1 at the lower, 1 at the upper bound, 0 between; turns int, the limit.
    Returns x float64 [m, d], the sides at the end, and solved bool [m]: False where the turns were used up; x may
    then lie outside the box, and the sides are a start for more turns.
    """
    count, d = slope.shape
    diagonal = jnp.eye(d, dtype=bool)
    size = jnp.abs(hessian)

    def turn(state):
        _, side, fewest, left, _, taken = state
        free = side == 0
        fixed = jnp.where(side < 0, lower, jnp.where(side > 0, upper, 0.0))
        pull = slope - _product(hessian, fixed)
        inner = jnp.where(free[:, :, None] & free[:, None], hessian, jnp.where(diagonal, 1.0, 0.0))
        factor = jax.lax.linalg.cholesky(inner, symmetrize_input=False)
        x = fixed + cho_solve((factor, True), jnp.where(free, pull, 0.0)[..., None])[..., 0]

        gradient = _product(hessian, x) - slope
        rounding = 1e-14 * (jnp.abs(slope) + _product(size, jnp.abs(x)))
        below, above = free & (x < lower), free & (x > upper)
        inward = ((side < 0) & (gradient < -rounding)) | ((side > 0) & (gradient > rounding))
        wrong = below | above | inward
        number = wrong.sum(1)
        better = number < fewest
        whole = better | (left > 0)
        last = d - 1 - jnp.argmax(wrong[:, ::-1], 1)
        exchanged = wrong & (whole[:, None] | (jnp.arange(d) == last[:, None]))
        new = jnp.where(exchanged, jnp.where(below, -1, jnp.where(above, 1, 0)), side)
        fewest = jnp.minimum(number, fewest)
        left = jnp.where(better, BLOCKS, jnp.maximum(left - 1, 0))
        return x, new.astype(side.dtype), fewest, left, number == 0, taken + 1

    def unfinished(state):
        *_, solved, taken = state
        return ~solved.all() & (taken < turns)

    start = (
        jnp.zeros_like(slope),
        side,
        jnp.full(count, d + 1),
        jnp.full(count, BLOCKS),
        jnp.zeros(count, bool),
        jnp.asarray(0),
    )
    x, side, _, _, solved, _ = jax.lax.while_loop(unfinished, turn, start)
    return x, side, solved


def _product(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    """[m, d, d] times [m, d]."""
    return jnp.einsum("mij,mj->mi", matrix, vector)
