"""The one rasteriser: a numba z-buffer for training images and for every picture people look at.

Surfaces are given in camera coordinates (mm; x right, y up, camera at the origin looking down -z). What is seen is
found at `supersample` squared samples a pixel; colour is found once a pixel for each sheet of a surface that its
samples see, so edges are smooth at the price of one shading. Texels that are nearly opaque hide what is behind them
like an opaque surface; the clearer ones are blended over it afterwards. Textures are read from the level of a pyramid
whose texels are about as large as the pixel. Kernels are in raster.py and shading.py.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from expnet_tf.raster import project, raster, vertex_normals
from expnet_tf.shading import blend, composed, developed, shade
from expnet_tf.texture import WHITE, Texture


@dataclass(frozen=True, eq=False)
class Relief:
    """Fine shape and finish of a surface, finer than its triangles, over a rectangle of its texture.

    cells float32 [h, w, 4]: slope along u, slope along v (both in mm per mm), factor of the highlight, factor of the
    colour; first row at the top. area (u, v of the lower left corner, u, v of the upper right one). right: the
    direction [3] of growing u, roughly, in camera coordinates. Outside of the area: (0, 0, 1, 1).
    """

    cells: np.ndarray
    area: tuple[float, float, float, float]
    right: np.ndarray


@dataclass
class Surface:
    """A textured triangle mesh in camera coordinates.

    vertices float [n, 3] mm; triangles int [t, 3]; colors float [n, 3], linear light, multiplies the texture;
    texture uint8 RGBA [h, w, 4] (or the Texture made of one, when it is used often) with uvs float [m, 2] (origin
    lower left) and uv_triangles int [t, 3]; specular strength, shininess (power of two exponent of the highlight),
    transparent: alpha counts, two_sided: no back-face culling. ambient and lamp float [n]: shares of the ambient and
    of the lamp's light that arrive at each vertex; none: all of it.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colors: np.ndarray | None = None
    texture: np.ndarray | Texture | None = None
    uvs: np.ndarray | None = None
    uv_triangles: np.ndarray | None = None
    specular: float = 0.2
    shininess: int = 4
    transparent: bool = False
    two_sided: bool = False
    normals: np.ndarray | None = None
    ambient: np.ndarray | None = None
    lamp: np.ndarray | None = None
    relief: Relief | None = None


@dataclass
class Light:
    """Ambient light and one lamp.

    sh float [9, 3] ambient (order 1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2), direction [3] to the lamp, color [3].
    """

    sh: np.ndarray = field(default_factory=lambda: np.vstack([np.full((1, 3), 0.45), np.zeros((8, 3))]))
    direction: np.ndarray = field(default_factory=lambda: np.array([-0.4, 0.5, 0.77]))
    color: np.ndarray = field(default_factory=lambda: np.full(3, 0.55))


def render(surfaces: list[Surface], focal: float, center: ArrayLike, size: tuple[int, int],
           light: Light | None = None, supersample: int = 2) -> np.ndarray:
    """Renders surfaces with a pinhole camera -> uint8 RGBA [h, w, 4], colours premultiplied by coverage alpha.

    focal and center (cx, cy) in px of the output, size (h, w). Edges are anti-aliased by `supersample` squared
    samples a pixel.
    """
    height, width = size[0] * supersample, size[1] * supersample
    light = light or Light()
    sh = np.ascontiguousarray(light.sh, np.float64)
    direction = np.asarray(light.direction, np.float64) / np.linalg.norm(light.direction)
    lamp = np.broadcast_to(np.asarray(light.color, np.float64), 3).copy()
    depth = np.zeros((height, width), np.float32)
    face = np.full((height, width), -1, np.int32)
    image = np.zeros((*size, 4), np.float32)
    middle, scale = np.asarray(center, np.float64) * supersample, float(focal * supersample)
    meshes = [_Mesh(surface, scale, middle) for surface in surfaces]
    first = 0
    firsts = []
    for surface, mesh in zip(surfaces, meshes, strict=True):
        cull = not (surface.two_sided or surface.transparent)
        raster(mesh.screen, mesh.triangles, cull, first, supersample, surface.transparent, *mesh.skin, depth, face,
               mesh.level)
        firsts.append(first)
        first += len(mesh.triangles)
    for start, mesh in zip(firsts, meshes, strict=True):
        shade(start, supersample, scale, middle, *mesh.arguments, sh, direction, lamp, depth, face, image)
    for surface, mesh in zip(surfaces, meshes, strict=True):
        if surface.transparent:
            blend(supersample, scale, middle, *mesh.arguments, sh, direction, lamp, depth, image)
    # Premultiplied linear light is averaged, then taken to display values.
    return developed(image)


FLAT = Relief(np.zeros((1, 1, 4), np.float32), (0.0, 0.0, 0.0, 0.0), np.zeros(3))


class _Mesh:
    """A surface as the kernels take it."""

    def __init__(self, surface: Surface, focal: float, center: np.ndarray) -> None:
        vertices = np.ascontiguousarray(surface.vertices, np.float32)
        self.triangles = triangles = np.ascontiguousarray(surface.triangles, np.int32)
        self.screen = project(vertices, focal, center)
        normals = vertex_normals(vertices, triangles) if surface.normals is None else surface.normals
        attributes = np.ones((len(vertices), 8), np.float32)
        attributes[:, :3] = normals
        if surface.colors is not None:
            attributes[:, 3:6] = surface.colors
        if surface.ambient is not None:
            attributes[:, 6] = surface.ambient
        if surface.lamp is not None:
            attributes[:, 7] = surface.lamp
        if surface.texture is None:
            texture, uvs, uv_triangles = WHITE, np.zeros((1, 2), np.float32), np.zeros_like(triangles)
        else:
            texture = surface.texture if isinstance(surface.texture, Texture) else Texture.of(surface.texture)
            uvs = np.ascontiguousarray(surface.uvs, np.float32)
            uv_triangles = np.ascontiguousarray(surface.uv_triangles, np.int32)
        self.level = np.zeros(len(triangles), np.uint8)
        self.skin = (uvs, uv_triangles, texture.texels, texture.levels)
        relief = surface.relief or FLAT
        finish = (surface.relief is not None, relief.cells, np.array(relief.area), np.asarray(relief.right, np.float64))
        self.arguments = (self.screen, triangles, attributes, *self.skin, self.level, *finish,
                          float(surface.specular), int(surface.shininess))


def over(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Premultiplied uint8 RGBA [h, w, 4], as of render(), over uint8 RGB [h, w, 3] -> uint8 RGB [h, w, 3].

    Light is added, not display values: a half covered edge keeps its brightness.
    """
    return composed(np.ascontiguousarray(foreground), np.ascontiguousarray(background))
