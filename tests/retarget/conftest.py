"""Two toy models whose relation is known: the second is the first, moved, with mixed components and other vertices."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from expnet_tf.morphable import MorphableModel, open_face
from expnet_tf.retarget.correspondence import between
from expnet_tf.retarget.maps import Map, fit
from expnet_tf.retarget.spaces import arkit_space, expression_space


@dataclass
class Pair:
    """target.decode(z @ mixing) == similarity(source.decode(z))[order]"""

    source: MorphableModel
    target: MorphableModel
    mixing: np.ndarray  # [6, 6] z of the source -> z of the target
    order: np.ndarray  # [n] the source's vertex that each vertex of the target is
    scale: float
    rotation: np.ndarray


def toy(rng: np.random.Generator, vertices: int = 120, components: int = 6) -> MorphableModel:
    """A model with landmarks and without blendshapes or regions."""
    triangles = rng.permuted(np.tile(np.arange(vertices), (vertices, 1)), axis=1)[:, :3].astype(np.int32)
    return MorphableModel(
        mean=rng.normal(size=(vertices, 3)) * [40.0, 60.0, 30.0],
        identity_basis=rng.normal(size=(2, vertices, 3)),
        expression_basis=rng.normal(size=(components, vertices, 3)),
        identity_variance=np.ones(2),
        expression_variance=np.ones(components),
        triangles=triangles,
        landmark_ids=rng.choice(vertices, 68, replace=False).astype(np.int32),
        provenance={"name": "toy", "version": 1},
    )


@pytest.fixture(scope="session")
def pair() -> Pair:
    rng = np.random.default_rng(7)
    source = toy(rng)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    scale, order = 1.3, rng.permutation(source.n_vertices)
    mixing = np.linalg.qr(rng.normal(size=(6, 6)))[0] * 0.5
    # z @ mixing @ B = scale * R (z @ A), so B = mixing^-1 (scale R A).
    moved = scale * source.expression_basis @ rotation.T
    target = replace(
        source,
        mean=(scale * source.mean @ rotation.T + [5.0, -7.0, 100.0])[order],
        expression_basis=np.tensordot(np.linalg.inv(mixing), moved, 1)[:, order],
        triangles=np.argsort(order)[source.triangles].astype(np.int32),
        landmark_ids=np.argsort(order)[source.landmark_ids].astype(np.int32),
        provenance={"name": "other", "version": 2},
    )
    return Pair(source, target, mixing, order, scale, rotation)


@pytest.fixture(scope="session")
def face() -> MorphableModel:
    return open_face()


@pytest.fixture(scope="session")
def to_arkit(face: MorphableModel) -> Map:
    return fit(expression_space(face), arkit_space(), between(face, face))


@pytest.fixture(scope="session")
def from_arkit(face: MorphableModel) -> Map:
    return fit(arkit_space(), expression_space(face), between(face, face))


@pytest.fixture
def codes() -> np.ndarray:
    """float64 [40, 6] within 1.5 sigma: their images in the other toy are within 3."""
    return np.random.default_rng(1).uniform(-1.5, 1.5, (40, 6))
