"""Pyramids of textures: means are kept, colours are weighted by alpha, and far textures do not flicker."""

import numpy as np

from expnet_tf.render import Light, Surface, render
from expnet_tf.texture import Texture

PLAIN = Light(sh=np.vstack([np.ones((1, 3)), np.zeros((8, 3))]), color=np.zeros(3))


def level(texture: Texture, number: int) -> np.ndarray:
    first, height, width = texture.levels[number]
    return texture.texels[first : first + height * width].reshape(height, width, 4)


def test_levels_halve_down_to_one_px():
    texture = Texture.of(np.random.default_rng(0).integers(0, 256, (12, 40, 4), dtype=np.uint8))
    assert texture.levels[:, 1:].tolist() == [[12, 40], [6, 20], [3, 10], [1, 5], [1, 2], [1, 1]]
    assert len(texture.texels) == 12 * 40 + 6 * 20 + 30 + 5 + 2 + 1


def test_an_opaque_level_is_the_mean_of_four():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    image[..., 3] = 255
    expected = image.reshape(8, 2, 8, 2, 4).mean((1, 3))
    np.testing.assert_allclose(level(Texture.of(image), 1), expected, atol=0.51)


def test_clear_texels_do_not_colour_their_neighbours():
    """White hair beside clear black: half as solid, and still white."""
    image = np.zeros((8, 8, 4), np.uint8)
    image[:, ::2] = 255
    small = level(Texture.of(image), 1)
    assert (small[..., :3] == 255).all()
    assert (small[..., 3] == 128).all()


def test_a_far_texture_is_read_from_its_mean():
    """A checkerboard of 256 fields across 32 px is grey; without a pyramid it would be a random pattern."""
    fields = np.indices((256, 256)).sum(0) % 2 * 255
    image = np.dstack([fields] * 3 + [np.full((256, 256), 255)]).astype(np.uint8)
    corners = np.array([[-16.0, -16, -100], [16, -16, -100], [16, 16, -100], [-16, 16, -100]])
    surface = Surface(corners, np.array([[0, 1, 2], [0, 2, 3]]), texture=image, specular=0.0,
                      uvs=np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]), uv_triangles=np.array([[0, 1, 2], [0, 2, 3]]))
    seen = render([surface], 100.0, (16.0, 16.0), (32, 32), PLAIN)[..., 0].astype(int)
    assert np.abs(seen - 128).max() <= 2
