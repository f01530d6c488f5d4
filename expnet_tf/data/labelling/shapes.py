"""Where the shape of a face comes from, and the one shape that all images of a person share.

The paper takes 3DMM-CNN's estimates and averages them over a person's images. `mean` is that, and the default. The
authors of 3DMM-CNN weigh each image by the landmark detector's confidence (Tran et al., CVPR 2017, section 3.1):
that is `confidence`, for landmarks that come with one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from expnet_tf.data.labelling.tables import Table, TableError, TrueLabels, digest
from expnet_tf.models import DEFAULT

ACCEPTED = "network[:MODEL], npz:FILE, or labels (synthetic faces)"
POOLS = ("mean", "confidence")
Heads = Mapping[str, np.ndarray]
"""{head: values} of a network for one face."""


class Shapes(Protocol):
    """Identity codes of single images."""

    network: str | None  # the model whose identity head it is; None: no network is asked

    def find(self, key: str, heads: Heads | None) -> np.ndarray | None:
        """Identity float [k], sigma units; None where there is none. heads: of `network`, None for no face."""
        ...

    def describe(self) -> dict:
        """JSON-able: kind, and the file's sha256 (a network's is stated with the networks)."""
        ...


class FromNetwork:
    """The identity head of one of our networks."""

    def __init__(self, model: str) -> None:
        self.network: str | None = model

    def find(self, key: str, heads: Heads | None) -> np.ndarray | None:
        return None if heads is None else np.asarray(heads["identity"], np.float64)

    def describe(self) -> dict:
        return {"kind": "network", "model": self.network}


class FromTable:
    """An npz file with key, text [n], and identity, float [n, k] in the face model's sigma units."""

    network: str | None = None

    def __init__(self, path: Path, width: int) -> None:
        self._table = Table(path, {"identity": (width,)}, {})

    def find(self, key: str, heads: Heads | None) -> np.ndarray | None:
        row = self._table.row(key)
        # A file may leave NaN where its program found no face.
        return row["identity"] if row is not None and np.isfinite(row["identity"]).all() else None

    def describe(self) -> dict:
        return {"kind": "npz", "file": self._table.path.name, "sha256": digest(self._table.path)}


class FromTruth:
    """The identity that a synthetic face was rendered with."""

    network: str | None = None

    def __init__(self, truth: TrueLabels) -> None:
        self._truth = truth

    def find(self, key: str, heads: Heads | None) -> np.ndarray | None:
        row = self._truth.row(key)
        return None if row is None else row["identity"]

    def describe(self) -> dict:
        return {"kind": "labels"}


def open_shapes(text: str, truth: TrueLabels | None, width: int) -> Shapes:
    """The shapes named by text, one of ACCEPTED, `width` coefficients each. Raises TableError."""
    kind, _, rest = text.partition(":")
    if kind == "network":
        return FromNetwork(rest or DEFAULT)
    if kind == "npz" and rest:
        return FromTable(Path(rest), width)
    if kind == "labels" and not rest:
        if truth is None:
            raise TableError("--shape labels needs a folder of expnet synth; this source has no true shapes")
        return FromTruth(truth)
    raise TableError(f"--shape is {text!r}; accepted: {ACCEPTED}")


def pool(
    subjects: Sequence[str], estimates: Sequence[np.ndarray | None], weights: Sequence[float] | None = None
) -> dict[str, np.ndarray]:
    """{subject: mean of the estimates float64 [k]} over a subject's images; parallel sequences, one entry an image.

    weights: of the images; None: all alike. A subject without an estimate, or without weight, is left out.
    """
    sums: dict[str, np.ndarray] = {}
    totals: dict[str, float] = {}
    shares = [1.0] * len(subjects) if weights is None else weights
    for subject, estimate, weight in zip(subjects, estimates, shares, strict=True):
        if estimate is not None and weight > 0:
            sums[subject] = sums.get(subject, 0.0) + weight * estimate
            totals[subject] = totals.get(subject, 0.0) + weight
    return {subject: total / totals[subject] for subject, total in sums.items()}
