"""The paper's protocol: how well the nearest neighbours of a code tell its emotion. numpy only.

K = 5 neighbours by Euclidean distance, majority vote. A tied vote goes to that of the tied classes which has the
nearest neighbour; of neighbours at equal distances the one that comes first in the order of clips counts as nearer.
A clip without a code is wrong, and nobody's neighbour. (Chang et al., ExpNet, FG 2018, section IV-A.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

NEIGHBOURS = 5
ABSTAINED = -1
RESAMPLES = 2000
SEED = 20180215  # of every bootstrap


@dataclass(frozen=True)
class Votes:
    """What the neighbours said."""

    predicted: np.ndarray  # int [n], a class number or ABSTAINED
    own: np.ndarray  # int [n]: neighbours of the true class


def vote(
    codes: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    neighbours: int = NEIGHBOURS,
    standardise: bool = False,
) -> Votes:
    """Classify each clip by its nearest neighbours among the clips of other groups.

    Args:
        codes: float [n, d]; a row with a NaN is an abstention.
        labels: int [n], class numbers from 0 on.
        groups: int [n]; clips of one group are never each other's neighbours. Leave one clip out: all
            different. Leave one subject out: the subject's number.
        standardise: divide each dimension by its standard deviation over the clips of the other groups.
    """
    codes = np.asarray(codes, np.float64)
    present = ~np.isnan(codes).any(axis=1)
    predicted, own = np.full(len(codes), ABSTAINED), np.zeros(len(codes), int)
    for group in np.unique(groups[present]):
        others = np.flatnonzero(present & (groups != group))
        if not len(others):
            continue
        scale = np.ones(codes.shape[1])
        if standardise:
            spread = codes[others].std(axis=0)
            scale[spread > 0] = 1 / spread[spread > 0]
        for one in np.flatnonzero(present & (groups == group)):
            distance = (np.square(codes[others] - codes[one]) * np.square(scale)).sum(axis=1)
            nearest = labels[others[np.argsort(distance, kind="stable")[:neighbours]]]
            count = np.bincount(nearest)
            # The first of the nearest whose class no other outvotes.
            predicted[one] = next(label for label in nearest if count[label] == count.max())
            own[one] = int((nearest == labels[one]).sum())
    return Votes(predicted, own)


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Counts int [classes, classes + 1]: true class by predicted class; the last column is abstentions."""
    counts = np.zeros((classes, classes + 1), int)
    np.add.at(counts, (labels, np.where(predicted == ABSTAINED, classes, predicted)), 1)
    return counts


def draws(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap over units: (number of each row's unit int [n], times that each unit is drawn int [RESAMPLES, u])."""
    found, numbers = np.unique(units, return_inverse=True)
    return numbers, _drawn(len(found))


@lru_cache(maxsize=8)
def _drawn(count: int) -> np.ndarray:
    drawn = np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))
    times = np.stack([np.bincount(row, minlength=count) for row in drawn])
    times.setflags(write=False)  # shared by all callers
    return times


def interval(values: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """95% interval of the mean of `values` float [n]: percentile bootstrap over `units` int [n] (subjects).

    What is drawn is each clip's result; its neighbours stay those of the whole set.
    """
    numbers, times = draws(units)
    sums = np.bincount(numbers, np.asarray(values, np.float64))
    counts = np.bincount(numbers)
    means = (times @ sums) / (times @ counts)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Exact two-sided McNemar test of two methods on the same clips; bool [n] each: was it right?

    The probability, were both equally good, of at least so uneven a split of the clips on which one alone is
    right (McNemar 1947; a binomial test).
    """
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
    return min(1.0, 2 * tail / 2 ** (b + c))
