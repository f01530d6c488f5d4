"""Sums in a fixed order: a matrix product of BLAS differs in its last bits from machine to machine, these do not."""

import numba
import numpy as np


@numba.njit(cache=True, error_model="numpy")
def combined(weights, basis):
    """sum of weights [k] times basis [k, m], float32, always in the same order: the same on every machine."""
    out = np.zeros(basis.shape[1], np.float32)
    for k in range(len(weights)):
        w = weights[k]
        if w != 0:
            row = basis[k]
            for i in range(len(out)):
                out[i] += w * row[i]
    return out


@numba.njit(cache=True, error_model="numpy")
def moved_by(points, rotation, translation):
    """float32 [n, 3]: rotated and moved, in a fixed order of sums."""
    out = np.empty((len(points), 3), np.float32)
    for i in range(len(points)):
        for c in range(3):
            out[i, c] = (rotation[c, 0] * points[i, 0] + rotation[c, 1] * points[i, 1]
                         + rotation[c, 2] * points[i, 2] + translation[c])
    return out


@numba.njit(cache=True, error_model="numpy")
def mixed(first, second, share):
    """uint8 images: share of 256 of the first, the rest of the second."""
    a, b = first.reshape(-1), second.reshape(-1)
    out = np.empty(a.shape, np.uint8)
    for i in range(len(a)):
        out[i] = (a[i] * share + b[i] * (256 - share) + 128) >> 8
    return out.reshape(first.shape)
