"""Identity leak: how much of the expression that is read tells who it is, and not what the face does."""

from __future__ import annotations

from typing import Any

import numpy as np

from expnet_tf.morphable import open_face
from expnet_tf.train.losses import displacement_root, vertex_weights

FOLDS = 5
RIDGE = 99.0  # on codes of unit variance: as much as the identity has components
LEAST = 20  # people


def identity_leak(read: np.ndarray, truth: dict[str, np.ndarray], neutral: np.ndarray) -> dict[str, Any]:
    """R^2 with which the true identity predicts what is read beyond the true expression, on people left out.

    Ridge regression from the identity code [99] to the error of the expression in mm on the mesh, five folds of
    people, the same for every method. 0 or less: identity tells nothing. `neutral`: on (nearly) neutral faces, where
    whatever is read is error; `all`: on all faces. `by person`: share of the error's variance that is a person's own,
    from whatever in the pictures (see `person_share`). None with fewer than 20 people.

    read float [n, 29]; truth: label columns (expression, identity, subject) of the same faces; neutral bool [n].
    """
    model = open_face()
    root = displacement_root(model.expression_basis, vertex_weights(model)).astype(np.float64)
    wrong = (read - truth["expression"]) @ root
    found: dict[str, Any] = {}
    for name, rows in (("neutral", neutral), ("all", np.full(len(read), True))):
        people = np.unique(truth["subject"][rows])
        r2 = person = None
        if len(people) >= LEAST:
            subject = truth["subject"][rows]
            r2 = round(left_out_r2(truth["identity"][rows].astype(np.float64), wrong[rows], subject), 4)
            person = person_share(wrong[rows], subject)
        found[name] = {
            "images": int(rows.sum()),
            "people": len(people),
            "r2": r2,
            "by person": None if person is None else round(person, 4),
        }
    return found


def left_out_r2(inputs: np.ndarray, outputs: np.ndarray, groups: np.ndarray) -> float:
    """R^2 over all columns of ridge regression on groups left out: inputs float [n, p], outputs float [n, q].

    Groups go to the folds in turn, in the order of their names. The mean that R^2 compares with is that of the other
    folds, so that a useless regression has an R^2 of about 0 or less.
    """
    fold = np.unique(groups, return_inverse=True)[1] % FOLDS
    left = spread = 0.0
    for number in range(FOLDS):
        here = fold == number
        x, y = inputs[~here], outputs[~here]
        centre, level = x.mean(0), y.mean(0)
        gram = (x - centre).T @ (x - centre) + RIDGE * np.eye(x.shape[1])
        slopes = np.linalg.solve(gram, (x - centre).T @ (y - level))
        said = level + (inputs[here] - centre) @ slopes
        left += float(((outputs[here] - said) ** 2).sum())
        spread += float(((outputs[here] - level) ** 2).sum())
    return 1 - left / spread if spread else 0.0


def person_share(values: np.ndarray, groups: np.ndarray) -> float | None:
    """Share of the variance of values float [n, q] that lies between groups (intraclass correlation, one way).

    The analysis of variance's estimate, summed over columns, at least 0; None where every group has one row alone.
    """
    number = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(number)
    count, rows = len(sizes), len(values)
    if rows == count or count < 2:
        return None
    means = np.stack([np.bincount(number, column) / sizes for column in values.T], axis=1)
    within = float(((values - means[number]) ** 2).sum()) / (rows - count)
    between = float((sizes[:, None] * (means - values.mean(0)) ** 2).sum()) / (count - 1)
    usual = (rows - float((sizes**2).sum()) / rows) / (count - 1)
    own = max(0.0, (between - within) / usual)
    return own / (own + within) if own + within else 0.0
