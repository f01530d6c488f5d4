"""Shadows and open sky, on walls and pits whose answers are plain."""

import numpy as np

from expnet_tf.data.scenes.shadow import Shadow, openness
from expnet_tf.render import Surface


def plate(side: float, z: float, count: int = 9) -> Surface:
    """A square of `side` mm that faces +z."""
    line = np.linspace(-side / 2, side / 2, count)
    x, y = np.meshgrid(line, line)
    vertices = np.stack([x.ravel(), y.ravel(), np.full(count**2, z)], 1).astype(np.float32)
    ids = np.arange(count**2).reshape(count, count)
    a, b, c, d = ids[:-1, :-1].ravel(), ids[:-1, 1:].ravel(), ids[1:, 1:].ravel(), ids[1:, :-1].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return Surface(vertices, triangles)


def test_a_wall_shades_what_lies_behind_it():
    wall, ground = plate(60, 50), plate(200, 0, 41)
    x, y = np.abs(ground.vertices[:, 0]), np.abs(ground.vertices[:, 1])
    share = Shadow([wall, ground], np.array([0.0, 0, 1]), np.zeros(3)).share(ground.vertices)
    assert (share[(x < 22) & (y < 22)] == 0).all()
    assert (share[(x > 38) | (y > 38)] == 1).all()
    # From the left: the shadow falls to the right, by the wall's height.
    slanted = Shadow([wall, ground], np.array([-1.0, 0, 1]), np.zeros(3)).share(ground.vertices)
    right = (np.abs(ground.vertices[:, 0] - 50) < 20) & (y < 20)
    assert (slanted[right] == 0).all()
    assert (slanted[ground.vertices[:, 0] < 10] == 1).all()


def test_nothing_shades_itself():
    ground = plate(200, 0, 41)
    for direction in ([0, 0, 1.0], [0.6, 0.3, 0.8]):
        assert (Shadow([ground], np.array(direction), np.zeros(3)).share(ground.vertices) == 1).all()
    # Grazing light, of which skin takes little, may lose some: the cells are coarse.
    grazed = Shadow([ground], np.array([0.8, 0, 0.6]), np.zeros(3)).share(ground.vertices)
    assert grazed.mean() > 0.8


def test_beyond_the_map_there_is_light():
    far = np.array([[1000.0, 0, 0], [0, -1000, 0]], np.float32)
    assert (Shadow([plate(60, 50)], np.array([0, 0, 1.0]), np.zeros(3)).share(far) == 1).all()


def test_openness():
    """A plain sees the whole sky, a pit's ground little of it."""
    (plain,) = openness([plate(100, 0)], [plate(100, 0)], np.zeros(3))
    assert plain.mean() > 0.9
    ground, lid = plate(40, 0), plate(120, 15)
    (covered,) = openness([ground], [ground, lid], np.zeros(3))
    assert covered.mean() < 0.3
