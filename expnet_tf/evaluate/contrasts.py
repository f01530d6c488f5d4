"""Do the named blendshapes mean what their names say? Areas under the curve, and mean weights of posed classes.

Of a contrast the score is the sum of the named weights before clipping, and the area is the chance that a clip of
the class scores above a clip of the others, a tie counting half (Mann and Whitney 1947). 95% intervals are the
bootstrap's over subjects, as in knn.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from expnet_tf.evaluate import knn
from expnet_tf.evaluate.methods import Blendshapes
from expnet_tf.morphable import open_face

CHUNK = 200  # resamples at a time


class Contrast(NamedTuple):
    """A class, what it should show more of, and than whom."""

    name: str
    blendshapes: tuple[str, ...]  # their weights are summed
    of: str  # class
    against: str | None  # class; None: all other classes


CONTRASTS = (
    Contrast("smile", ("mouthSmileLeft", "mouthSmileRight"), "happiness", None),
    Contrast("jaw open", ("jawOpen",), "surprise", "neutral"),
    Contrast("brows up", ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), "surprise", None),
    Contrast("brows down", ("browDownLeft", "browDownRight"), "anger", "neutral"),
    Contrast("frown", ("mouthFrownLeft", "mouthFrownRight"), "sadness", "neutral"),
)

# What data sets call the classes of the contrasts, in lower case.
SYNONYMS = {
    "happiness": ("happiness", "happy", "joy", "smile", "smiling"),
    "surprise": ("surprise", "surprised"),
    "anger": ("anger", "angry"),
    "sadness": ("sadness", "sad"),
    "neutral": ("neutral", "neutrality", "no emotion"),
}


def meaning(label: str) -> str:
    """A data set's class name -> the contrasts' name for it, or itself in lower case."""
    plain = label.strip().lower()
    return next((name for name, words in SYNONYMS.items() if plain in words), plain)


def areas(codes: np.ndarray, labels: Sequence[str], units: np.ndarray, blendshapes: Blendshapes) -> list[dict]:
    """A row a contrast that the classes allow: contrast, blendshapes, of, against, clips of both, area, interval.

    codes float [n, d], rows of NaN are left out and counted; labels [n] class names; units int [n]: subjects, which
    the bootstrap draws; blendshapes: the method's map from codes to 52 weights before clipping.
    """
    present = ~np.isnan(codes).any(axis=1)
    weights = blendshapes(codes[present])
    names = [str(name) for name in open_face().blendshape_names]
    said = np.array([meaning(label) for label in labels])
    units = np.asarray(units)[present]
    rows: list[dict[str, Any]] = []
    for contrast in CONTRASTS:
        positive = said == contrast.of
        negative = ~positive if contrast.against is None else said == contrast.against
        inside = (positive | negative)[present]
        score = weights[:, [names.index(name) for name in contrast.blendshapes]].sum(1)
        which = positive[present][inside]
        if not which.any() or which.all() or np.isnan(score[inside]).any():
            continue
        low, high = area_interval(score[inside], which, units[inside])
        rows.append(
            {
                "contrast": contrast.name,
                "blendshapes": list(contrast.blendshapes),
                "of": contrast.of,
                "against": contrast.against or "the rest",
                "clips": [int(which.sum()), int((~which).sum())],
                "abstained": int((positive | negative).sum() - inside.sum()),
                "area": round(area(score[inside], which), 4),
                "interval": [round(low, 4), round(high, 4)],
            }
        )
    return rows


def area(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: scores float [n], positive bool [n], some True and some False."""
    return float(_areas(scores, positive, np.ones((1, len(scores))))[0])


def area_interval(scores: np.ndarray, positive: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """95% interval of `area`, percentile bootstrap over units int [n]; resamples without both classes are left out."""
    numbers, times = knn.draws(units)
    found = [_areas(scores, positive, times[i : i + CHUNK, numbers]) for i in range(0, len(times), CHUNK)]
    low, high = np.nanpercentile(np.concatenate(found), [2.5, 97.5])
    return float(low), float(high)


def _areas(scores: np.ndarray, positive: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Areas float [b] of samples in which row i is there times[b, i] times; NaN for those of one class."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)  # of each group of equal scores
    weights = times[:, order].astype(np.float64)
    above = np.add.reduceat(weights * positive[order], starts, axis=1)
    below = np.add.reduceat(weights * ~positive[order], starts, axis=1)
    won = (above * (np.cumsum(below, axis=1) - below / 2)).sum(1)
    pairs = above.sum(1) * below.sum(1)
    return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)


def class_means(codes: np.ndarray, labels: Sequence[str], blendshapes: Blendshapes) -> dict[str, dict[str, float]]:
    """Calibration on posed photos: {class: {blendshape: mean weight, clipped to 0..1}}, abstentions left out.

    A neutral class should read near 0 everywhere, a posed one near 1 where the pose is.
    """
    present = ~np.isnan(codes).any(axis=1)
    weights = np.clip(blendshapes(codes[present]), 0, 1)
    said = np.array(labels)[present]
    known = [(number, str(name)) for number, name in enumerate(open_face().blendshape_names)]
    # A file of codes may lack some of the names.
    known = [(number, name) for number, name in known if not np.isnan(weights[:, number]).any()]
    return {
        label: {name: round(float(weights[said == label, number].mean()), 4) for number, name in known}
        for label in sorted(set(said.tolist()))
    }
