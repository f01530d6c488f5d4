"""The atlas: a face upright in the middle of the texture, and MakeHuman's textures brought onto it."""

import numpy as np
import pytest

from expnet_tf.data.scenes.atlas import CELL, CELLS, HEIGHT, WIDTH, atlas_uvs, bake, on_atlas, on_patch, source_map
from expnet_tf.morphable import open_face


@pytest.fixture(scope="module")
def face():
    return open_face()


@pytest.fixture(scope="module")
def uvs(face) -> np.ndarray:
    return atlas_uvs(face)


def test_a_face_as_seen_from_the_front(face, uvs):
    p = on_atlas(uvs[face.landmark_ids].astype(float))
    assert p[36, 0] < p[27, 0] < p[45, 0]  # the person's right eye is on the left
    assert p[27, 1] < p[30, 1] < p[57, 1] < p[8, 1]  # y points down
    assert p[27, 0] == pytest.approx(WIDTH / 2, abs=1)
    assert p[36, 0] + p[45, 0] == pytest.approx(WIDTH, abs=1)


def test_the_patch_holds_the_face_in_mm(face, uvs):
    p = on_patch(uvs[face.landmark_ids].astype(float))
    assert (p[17:] > 0).all()  # the jaw reaches beyond
    assert (p[17:] < CELLS).all()
    nose = face.landmarks()[[27, 33]]
    assert (p[33, 1] - p[27, 1]) * CELL == pytest.approx(nose[0, 1] - nose[1, 1], rel=0.1)


def test_baking_brings_texels_to_their_place(face, uvs):
    """A texture that holds its own coordinates: at a vertex of the face the atlas shows that vertex's."""
    size = 256
    v, u = np.mgrid[:size, :size] + 0.5
    image = np.dstack([u, size - v, np.zeros_like(u), np.full_like(u, 255)]).astype(np.uint8)
    baked = bake(source_map(face, uvs), image)
    assert baked.shape == (HEIGHT, WIDTH, 4)
    assert (baked[..., 3] == 255).all()
    of_vertex = np.zeros((face.n_vertices, 2))
    of_vertex[face.triangles.ravel()] = face.uvs[face.uv_triangles.ravel()]
    ids = face.landmark_ids[[17, 21, 26, 30, 33]]
    x, y = np.floor(on_atlas(uvs[ids].astype(float))).astype(int).T
    np.testing.assert_allclose(baked[y, x, :2], of_vertex[ids] * size, atol=4)
