"""Which vertices the lamp reaches, and how much of the sky each sees: depth maps seen from the light.

The lamp is far away, so the map is a parallel projection of whatever casts a shadow; shares are found at the vertices,
which are closer together than the edge of a soft shadow is wide.
"""

import numba
import numpy as np

from expnet_tf.raster import raster, vertex_normals
from expnet_tf.render import Surface
from expnet_tf.texture import WHITE, Texture

GRID, CELL = 128, 2.4  # cells, and mm a cell: 30 cm, a head with its hair
FAR = 2000.0  # mm: added to heights above the middle, so that they are positive
BIAS = 4.0  # mm that a caster must be above a vertex: the cells are coarse


class Shadow:
    """The shadow that surfaces in camera coordinates cast in light that comes from `direction` [3]."""

    def __init__(self, casters: list[Surface], direction: np.ndarray, middle: np.ndarray) -> None:
        d = np.asarray(direction, np.float64) / np.linalg.norm(direction)
        right = np.cross([0.0, 1.0, 0.0] if abs(d[1]) < 0.9 else [0.0, 0.0, 1.0], d)
        right /= np.linalg.norm(right)
        self.axes = np.stack([right / CELL, np.cross(d, right) / CELL, d])
        self.offset = np.array([GRID / 2, GRID / 2, FAR]) - self.axes @ middle
        self.depth = np.zeros((GRID, GRID), np.float32)
        face = np.empty((GRID, GRID), np.int32)
        for surface in casters:
            if surface.transparent:
                assert isinstance(surface.texture, Texture)
                skin = (surface.uvs, surface.uv_triangles, surface.texture.texels, surface.texture.levels)
            else:
                skin = (np.zeros((1, 2), np.float32), np.zeros_like(surface.triangles), WHITE.texels, WHITE.levels)
            raster(_placed(surface.vertices, self.axes, self.offset), surface.triangles, False, 0, 1,
                   surface.transparent, *skin, self.depth, face, np.zeros(len(surface.triangles), np.uint8))

    def share(self, vertices: np.ndarray, bias: float = BIAS) -> np.ndarray:
        """float32 [n] in 0..1: how much of the light reaches each vertex."""
        return _share(_placed(vertices, self.axes, self.offset), self.depth, bias)


def openness(surfaces: list[Surface], casters: list[Surface], middle: np.ndarray,
             directions: int = 40) -> list[np.ndarray]:
    """float32 [n] in 0..1 for each surface: the share of the sky, weighted by its slant, that each vertex sees."""
    up = 1 - (2 * np.arange(directions) + 1) / directions
    turn = np.arange(directions) * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - up**2)
    normals = [vertex_normals(np.ascontiguousarray(s.vertices, np.float32), s.triangles) for s in surfaces]
    seen = [np.zeros(len(n)) for n in normals]
    total = [np.full(len(n), 1e-9) for n in normals]
    for direction in np.stack([flat * np.cos(turn), up, flat * np.sin(turn)], 1):
        shadow = Shadow(casters, direction, middle)
        for i, surface in enumerate(surfaces):
            weight = np.maximum(normals[i] @ direction, 0)
            seen[i] += weight * shadow.share(surface.vertices)
            total[i] += weight
    return [(s / t).astype(np.float32) for s, t in zip(seen, total, strict=True)]


@numba.njit(cache=True, error_model="numpy")
def _placed(vertices, axes, offset):
    out = np.empty((len(vertices), 3), np.float32)
    for i in range(len(vertices)):
        x, y, z = float(vertices[i, 0]), float(vertices[i, 1]), float(vertices[i, 2])
        for c in range(3):
            out[i, c] = axes[c, 0] * x + axes[c, 1] * y + axes[c, 2] * z + offset[c]
    return out


@numba.njit(cache=True, error_model="numpy")
def _share(placed, depth, bias):
    """3 x 3 cells vote; outside of the map there is light."""
    out = np.ones(len(placed), np.float32)
    for i in range(len(placed)):
        x, y, z = int(placed[i, 0]), int(placed[i, 1]), placed[i, 2] + bias
        if not (1 <= x < depth.shape[1] - 1 and 1 <= y < depth.shape[0] - 1):
            continue
        lit = 0
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                lit += z >= depth[y + dy, x + dx]
        out[i] = lit / 9.0
    return out
