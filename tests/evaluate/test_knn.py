"""The protocol's votes, intervals and tests against scikit-learn, scipy and counting by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from expnet_tf.evaluate import knn


@pytest.fixture(scope="module")
def blobs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of three overlapping classes, labels, people: 90 clips of 30 people."""
    random = np.random.default_rng(4)
    labels = random.integers(0, 3, 90)
    codes = random.normal(size=(90, 6)) * [1, 2, 0.5, 1, 3, 1] + labels[:, None] * [1, 0, 0.4, 0, 0, -0.7]
    return codes, labels, np.arange(90) % 30


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("by_person", [False, True])
@pytest.mark.parametrize("neighbours", [1, 5])
def test_votes_are_those_of_scikit_learn(
    blobs: tuple[np.ndarray, np.ndarray, np.ndarray], standardise: bool, by_person: bool, neighbours: int
) -> None:
    codes, labels, people = blobs
    groups = people if by_person else np.arange(len(codes))
    said = knn.vote(codes, labels, groups, neighbours, standardise)
    compared = 0
    for row in range(len(codes)):
        others = groups != groups[row]
        scaler = StandardScaler(with_mean=False).fit(codes[others]) if standardise else None
        train, test = (scaler.transform(x) if scaler else x for x in (codes[others], codes[row : row + 1]))
        oracle = KNeighborsClassifier(neighbours).fit(train, labels[others])
        share = np.sort(oracle.predict_proba(test)[0])
        if len(share) > 1 and share[-1] == share[-2]:
            continue  # a tie: scikit-learn takes the smaller class number
        assert said.predicted[row] == oracle.predict(test)[0]
        compared += 1
    assert compared > 70


def test_tied_votes_go_to_the_nearest_of_the_tied() -> None:
    # At 0; neighbours by distance: b, a, a, b, c. a and b tie, b is nearer.
    codes = np.array([[0.0], [1.0], [1.1], [1.2], [1.3], [1.4], [9.0]])
    labels = np.array([2, 1, 0, 0, 1, 2, 0])
    said = knn.vote(codes, labels, np.arange(7))
    assert said.predicted[0] == 1
    assert said.own[0] == 1


def test_equal_distances_go_by_order() -> None:
    codes = np.array([[0.0], [1.0], [-1.0], [1.0]])
    assert knn.vote(codes, np.array([0, 1, 2, 2]), np.arange(4), 1).predicted[0] == 1
    assert knn.vote(codes, np.array([0, 2, 1, 1]), np.arange(4), 1).predicted[0] == 2


def test_abstentions_are_wrong_and_nobodys_neighbour() -> None:
    codes = np.array([[0.0], [np.nan], [0.2], [5.0], [5.1]])
    labels = np.array([0, 1, 0, 1, 1])
    said = knn.vote(codes, labels, np.arange(5), 1)
    assert said.predicted.tolist() == [0, knn.ABSTAINED, 0, 1, 1]
    assert knn.confusion(said.predicted, labels, 2).tolist() == [[2, 0, 0], [0, 2, 1]]


def test_own_photos_are_no_neighbours() -> None:
    codes = np.array([[0.0], [0.1], [3.0], [3.1]])
    labels = np.array([0, 0, 1, 1])
    assert knn.vote(codes, labels, np.arange(4), 1).predicted.tolist() == [0, 0, 1, 1]
    assert knn.vote(codes, labels, np.array([7, 7, 8, 8]), 1).predicted.tolist() == [1, 1, 0, 0]
    alone = knn.vote(codes, labels, np.zeros(4, int), 1)
    assert (alone.predicted == knn.ABSTAINED).all()


def test_interval_covers_as_often_as_it_says() -> None:
    """Shares of successes of 100 people, two clips each, that succeed or fail together: the truth is 0.6."""
    hits = 0
    for seed in range(200):
        person = np.random.default_rng(seed).random(100) < 0.6
        low, high = knn.interval(np.repeat(person, 2), np.repeat(np.arange(100), 2))
        hits += low <= 0.6 <= high
    assert 0.90 <= hits / 200 <= 0.985


def test_interval_widens_when_clips_hang_together() -> None:
    right = np.repeat(np.arange(40) % 2, 4)
    narrow, wide = (knn.interval(right, units) for units in (np.arange(160), np.repeat(np.arange(40), 4)))
    assert 1.6 < (wide[1] - wide[0]) / (narrow[1] - narrow[0]) < 2.4  # sqrt(4)
    assert knn.interval(right, np.arange(160)) == narrow  # the seed is fixed


@pytest.mark.parametrize(("b", "c"), [(0, 0), (3, 3), (1, 8), (30, 12), (70, 101)])
def test_mcnemar_is_the_binomial_test(b: int, c: int) -> None:
    first = np.array([True] * b + [False] * c + [True] * 5 + [False] * 4)
    second = np.array([False] * b + [True] * c + [True] * 5 + [False] * 4)
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    assert knn.mcnemar(first, second) == pytest.approx(expected, abs=1e-12)
