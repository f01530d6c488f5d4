"""A small face of plausible size, and codes: what the tests write into files of each family's layout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.facemodels import FaceModelError, load

SIDE = 12  # vertices of a side of the grid


class Toy:
    """A dome 140 mm wide and 180 mm high, its nose towards the viewer; sigma in mm for columns of unit length."""

    def __init__(self, identity: int = 5, expression: int = 4, texture: int = 3):
        rng = np.random.default_rng(0)
        x, y = np.meshgrid(np.linspace(-70, 70, SIDE), np.linspace(90, -90, SIDE))
        z = 60 - x**2 / 120 - y**2 / 220
        self.mean = np.stack([x, y, z], axis=-1).reshape(-1, 3)
        self.n = n = len(self.mean)
        corner = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).ravel()
        # Rows run downwards: counter-clockwise from the front is first down, then right.
        self.quads = np.stack([corner, corner + SIDE, corner + SIDE + 1, corner + 1], axis=1)
        self.triangles = np.concatenate([self.quads[:, [0, 1, 2]], self.quads[:, [0, 2, 3]]]).astype(np.int32)
        self.sigma_i, self.sigma_e, self.sigma_t = (
            np.linspace(3, 1, count) * scale for count, scale in ((identity, 40), (expression, 20), (texture, 70))
        )

        def columns(count: int) -> np.ndarray:
            """[3n, count] of unit length in float32, as the real files keep them."""
            basis = rng.normal(size=(3 * n, count))
            return (basis / np.linalg.norm(basis, axis=0)).astype(np.float32)

        self.identity, self.expression, self.tint = columns(identity), columns(expression), columns(texture)
        self.offset = rng.normal(size=3 * n)  # the mean of the expressions
        self.colors = rng.uniform(40, 200, 3 * n)
        self.landmarks = rng.permutation(n)[:68]
        self.codes_i, self.codes_e = rng.normal(size=identity), rng.normal(size=expression)
        self.codes_t = rng.normal(size=texture)

    @property
    def decoded(self) -> np.ndarray:
        """[n, 3]: eq. (1) by the formula of the papers, on flat vectors, without the mean of the expressions."""
        flat = self.mean.ravel() + self.identity.astype(float) @ (self.sigma_i * self.codes_i)
        return (flat + self.expression.astype(float) @ (self.sigma_e * self.codes_e)).reshape(-1, 3)

    def fronts(self, triangles: np.ndarray) -> np.ndarray:
        """z of each triangle's normal on the mean face: above 0 when it runs counter-clockwise."""
        a, b, c = (self.mean[triangles[:, corner]] for corner in range(3))
        return np.cross(b - a, c - a)[:, 2]


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="session")
def cut_toy() -> Toy:
    """As many components as 3DDFA_V2 has."""
    return Toy(identity=40, expression=10)


@pytest.fixture(scope="session")
def wide_toy() -> Toy:
    """As many components of identity as FLAME has."""
    return Toy(identity=300, expression=7)


@pytest.fixture
def refused() -> Callable[..., None]:
    """Loading raises one sentence that names a file and says these words."""

    def check(path: Path, *words: str, named: Path | None = None, **options: Path) -> None:
        with pytest.raises(FaceModelError) as caught:
            load(path, **options)
        message = str(caught.value)
        assert message.startswith(f"{named or path}: ")
        assert "\n" not in message
        for word in words:
            assert word in message

    return check
