"""Normal equations of a batch of landmark fits: J' W J and J' W r, without ever holding J.

J has two rows for each landmark k, (head_k B_k, columns_k): head = d(u, v) / d(head-frame point) in px per mm,
B the basis in mm, columns the derivatives for unknowns that are not coefficients of the basis. `rows` is the basis
with the landmarks first, contiguous. Compiled with numba; J itself would be 31 kB a face.
"""

import numpy as np
from numba import njit


def matrix_of_one_slope(head: np.ndarray, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """What normal_equations() gives for one slope [m, 2, 3] at all landmarks and weights [68] common to all faces.

    The sums over the landmarks are then the same for all faces, which makes a tenth of the work.
    """
    d = rows.shape[2]
    pairs = (rows.transpose(1, 2, 0) * weights)[:, None] @ rows.transpose(1, 0, 2)  # [3, 3, d, d]
    squares = (head.swapaxes(1, 2) @ head).reshape(-1, 1, 9)
    return (squares @ pairs.reshape(9, d * d)).reshape(-1, d, d)


@njit(cache=True, nogil=True, error_model="numpy")
def normal_equations(head, columns, weights, residual, rows, with_matrix):
    """J' W J float64 [m, d + q, d + q] (zeros unless asked for) and J' W r [m, d + q].

    head float64 [m, 68 or 1, 2, 3], columns [m, 68, 2, q], weights [m, 68], residual [m, 68, 2] px, rows [68, 3, d].
    """
    count, landmarks = weights.shape
    d, q = rows.shape[2], columns.shape[3]
    matrix, right = np.zeros((count, d + q, d + q)), np.zeros((count, d + q))
    four = np.zeros((4, d + q))  # rows of J, four at a time: the matrix is read and written a quarter as often
    for face in range(count):
        h, g = matrix[face], right[face]
        filled = 0
        for k in range(landmarks):
            weight = weights[face, k]
            if weight == 0.0:
                continue
            b, a = rows[k], head[face, min(k, head.shape[1] - 1)]
            pull_u, pull_v = weight * residual[face, k, 0], weight * residual[face, k, 1]
            x = a[0, 0] * pull_u + a[1, 0] * pull_v
            y = a[0, 1] * pull_u + a[1, 1] * pull_v
            z = a[0, 2] * pull_u + a[1, 2] * pull_v
            for i in range(d):
                g[i] += x * b[0, i] + y * b[1, i] + z * b[2, i]
            for i in range(q):
                g[d + i] += columns[face, k, 0, i] * pull_u + columns[face, k, 1, i] * pull_v
            if not with_matrix:
                continue
            root = np.sqrt(weight)
            for axis in range(2):
                x, y, z = root * a[axis, 0], root * a[axis, 1], root * a[axis, 2]
                row = four[filled]
                for i in range(d):
                    row[i] = x * b[0, i] + y * b[1, i] + z * b[2, i]
                for i in range(q):
                    row[d + i] = root * columns[face, k, axis, i]
                filled += 1
            if filled == 4:
                _add_squares(four, h)
                filled = 0
        if filled:
            four[filled:] = 0.0
            _add_squares(four, h)
        for i in range(d + q):
            for j in range(i):
                h[i, j] = h[j, i]
    return matrix, right


@njit(cache=True, nogil=True, error_model="numpy")
def _add_squares(four, h):
    """Adds four' four to the upper triangle of h."""
    n = h.shape[0]
    for i in range(n):
        p, q, r, s = four[0, i], four[1, i], four[2, i], four[3, i]
        for j in range(i, n):
            h[i, j] += p * four[0, j] + q * four[1, j] + r * four[2, j] + s * four[3, j]
