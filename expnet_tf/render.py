"""The one rasteriser: a numba z-buffer for training images and for every picture people look at.

Surfaces are given in camera coordinates (mm; x right, y up, camera at the origin looking down -z). Opaque
surfaces are rasterised first and shaded once a pixel; transparent ones (hair, brows, lashes) follow: texels of
alpha >= 1/2 count as solid, the rest are blended. Lighting is second-order spherical harmonics (Ramamoorthi and
Hanrahan 2001) plus one directional light with a wrapped diffuse and a Blinn-Phong highlight. Textures are sRGB,
taken as the square root of linear light. No fastmath and no library calls in the kernels: the same input gives
the same bytes.
"""

from dataclasses import dataclass, field

import cv2
import numba
import numpy as np
from numpy.typing import ArrayLike

WHITE = np.full((1, 1, 4), 255, np.uint8)
NEAR = 10.0  # mm: triangles that reach closer to the camera are left out


@dataclass
class Surface:
    """A textured triangle mesh in camera coordinates.

    vertices float [n, 3] mm; triangles int [t, 3]; colors float [n, 3], linear light, multiplies the texture;
    texture uint8 RGBA [h, w, 4] with uvs float [m, 2] (origin lower left) and uv_triangles int [t, 3];
    specular strength, shininess (power of two exponent of the highlight), transparent: alpha counts,
    two_sided: no back-face culling.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colors: np.ndarray | None = None
    texture: np.ndarray | None = None
    uvs: np.ndarray | None = None
    uv_triangles: np.ndarray | None = None
    specular: float = 0.2
    shininess: int = 4
    transparent: bool = False
    two_sided: bool = False
    normals: np.ndarray | None = None


@dataclass
class Light:
    """Ambient light and one lamp.

    sh float [9, 3] ambient (order 1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2), direction [3] to the lamp, color [3].
    """

    sh: np.ndarray = field(default_factory=lambda: np.vstack([np.full((1, 3), 0.45), np.zeros((8, 3))]))
    direction: np.ndarray = field(default_factory=lambda: np.array([-0.4, 0.5, 0.77]))
    color: np.ndarray = field(default_factory=lambda: np.full(3, 0.55))


@numba.njit(cache=True, error_model="numpy")
def _vertex_normals(vertices, triangles):
    normals = np.zeros_like(vertices)
    for k in range(len(triangles)):
        i, j, m = triangles[k]
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        ax, ay, az = vertices[j, 0] - x, vertices[j, 1] - y, vertices[j, 2] - z
        bx, by, bz = vertices[m, 0] - x, vertices[m, 1] - y, vertices[m, 2] - z
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, m):
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz
    for v in range(len(normals)):
        length = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2) + 1e-12
        normals[v] /= length
    return normals


@numba.njit(cache=True, error_model="numpy", inline="always")
def _bounds(a, b, c, limit):
    low, high = min(a, b, c), max(a, b, c)
    return max(0, int(np.ceil(low - 0.5))), min(limit - 1, int(np.floor(high - 0.5)))


@numba.njit(cache=True, error_model="numpy")
def _raster(screen, triangles, cull, first, depth, face, b0, b1):
    """Fills depth, face (number of the triangle from `first` on) and perspective-correct barycentrics."""
    height, width = depth.shape
    for k in range(len(triangles)):
        i, j, m = triangles[k]
        z0, z1, z2 = screen[i, 2], screen[j, 2], screen[m, 2]  # 1 / distance
        if z0 <= 0 or z1 <= 0 or z2 <= 0:
            continue
        x0, y0, x1, y1 = screen[i, 0], screen[i, 1], screen[j, 0], screen[j, 1]
        x2, y2 = screen[m, 0], screen[m, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        # v points down: counter-clockwise faces have negative area.
        if abs(area) < 1e-9 or (cull and area > 0):
            continue
        xa, xb = _bounds(x0, x1, x2, width)
        ya, yb = _bounds(y0, y1, y2, height)
        inverse = 1.0 / area
        for y in range(ya, yb + 1):
            for x in range(xa, xb + 1):
                px, py = x + 0.5, y + 0.5
                w2 = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) * inverse
                w1 = ((px - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) * inverse
                w0 = 1.0 - w1 - w2
                if w0 >= 0 and w1 >= 0 and w2 >= 0:
                    z = w0 * z0 + w1 * z1 + w2 * z2
                    if z > depth[y, x]:
                        depth[y, x] = z
                        face[y, x] = first + k
                        b0[y, x] = w0 * z0 / z
                        b1[y, x] = w1 * z1 / z


@numba.njit(cache=True, error_model="numpy", inline="always")
def _texel(texture, u, v, out):
    """Bilinear sample of an RGBA texture at (u, v), origin lower left, into out [4] (0..1)."""
    height, width = texture.shape[0], texture.shape[1]
    x = min(max(u * width - 0.5, 0.0), width - 1.0)
    y = min(max((1.0 - v) * height - 0.5, 0.0), height - 1.0)
    xi, yi = int(x), int(y)
    xj, yj = min(xi + 1, width - 1), min(yi + 1, height - 1)
    fx, fy = x - xi, y - yi
    for c in range(4):
        top = texture[yi, xi, c] * (1 - fx) + texture[yi, xj, c] * fx
        bottom = texture[yj, xi, c] * (1 - fx) + texture[yj, xj, c] * fx
        out[c] = (top * (1 - fy) + bottom * fy) / 255.0


@numba.njit(cache=True, error_model="numpy", inline="always")
def _shade(albedo, n, p, sh, direction, light, specular, shininess, out):
    """Linear reflected light into out [3]; n unit normal turned to the viewer, p position."""
    nx, ny, nz = n[0], n[1], n[2]
    length = np.sqrt(p[0] * p[0] + p[1] * p[1] + p[2] * p[2])
    vx, vy, vz = -p[0] / length, -p[1] / length, -p[2] / length
    facing = nx * vx + ny * vy + nz * vz
    if facing < 0:
        nx, ny, nz, facing = -nx, -ny, -nz, -facing
    lambert = max(0.0, (nx * direction[0] + ny * direction[1] + nz * direction[2] + 0.25) / 1.25)
    hx, hy, hz = direction[0] + vx, direction[1] + vy, direction[2] + vz
    h = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-12
    lobe = max(0.0, (nx * hx + ny * hy + nz * hz) / h)
    for _ in range(shininess):
        lobe *= lobe
    grazing = (1 - facing) * (1 - facing)
    highlight = specular * lobe * (0.08 + 0.5 * grazing * grazing)
    for c in range(3):
        ambient = (sh[0, c] + sh[1, c] * ny + sh[2, c] * nz + sh[3, c] * nx + sh[4, c] * nx * ny
                   + sh[5, c] * ny * nz + sh[6, c] * (3 * nz * nz - 1) + sh[7, c] * nx * nz
                   + sh[8, c] * (nx * nx - ny * ny))
        out[c] = albedo[c] * (max(ambient, 0.02) + light[c] * lambert) + highlight * light[c]


@numba.njit(cache=True, error_model="numpy")
def _shade_pixels(first, triangles, vertices, normals, colors, uvs, uv_triangles, texture, sh, direction,
                  light, specular, shininess, face, b0, b1, image):
    """Shades the pixels that belong to one opaque surface, triangles numbered from `first`."""
    texel, albedo, n, p, out = np.empty(4), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for y in range(face.shape[0]):
        for x in range(face.shape[1]):
            k = face[y, x] - first
            if k < 0 or k >= len(triangles):
                continue
            w0, w1 = b0[y, x], b1[y, x]
            w2 = 1 - w0 - w1
            i, j, m = triangles[k]
            a, b, c = uv_triangles[k]
            _texel(texture, w0 * uvs[a, 0] + w1 * uvs[b, 0] + w2 * uvs[c, 0],
                   w0 * uvs[a, 1] + w1 * uvs[b, 1] + w2 * uvs[c, 1], texel)
            for q in range(3):
                albedo[q] = texel[q] * texel[q] * (w0 * colors[i, q] + w1 * colors[j, q] + w2 * colors[m, q])
                n[q] = w0 * normals[i, q] + w1 * normals[j, q] + w2 * normals[m, q]
                p[q] = w0 * vertices[i, q] + w1 * vertices[j, q] + w2 * vertices[m, q]
            n /= np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-12
            _shade(albedo, n, p, sh, direction, light, specular, shininess, out)
            for q in range(3):
                image[y, x, q] = out[q]
            image[y, x, 3] = 1.0


@numba.njit(cache=True, error_model="numpy")
def _blend(screen, triangles, vertices, normals, colors, uvs, uv_triangles, texture, sh, direction, light,
           specular, shininess, solid, depth, image):
    """One pass over a transparent surface: texels of alpha >= 1/2 (solid; writes depth) or the rest (blended)."""
    height, width = depth.shape
    texel, albedo, n, p, out = np.empty(4), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for k in range(len(triangles)):
        i, j, m = triangles[k]
        z0, z1, z2 = screen[i, 2], screen[j, 2], screen[m, 2]
        if z0 <= 0 or z1 <= 0 or z2 <= 0:
            continue
        x0, y0, x1, y1 = screen[i, 0], screen[i, 1], screen[j, 0], screen[j, 1]
        x2, y2 = screen[m, 0], screen[m, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if abs(area) < 1e-9:
            continue
        xa, xb = _bounds(x0, x1, x2, width)
        ya, yb = _bounds(y0, y1, y2, height)
        inverse = 1.0 / area
        a, b, c = uv_triangles[k]
        for y in range(ya, yb + 1):
            for x in range(xa, xb + 1):
                px, py = x + 0.5, y + 0.5
                w2 = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) * inverse
                w1 = ((px - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) * inverse
                w0 = 1.0 - w1 - w2
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                z = w0 * z0 + w1 * z1 + w2 * z2
                if z <= depth[y, x]:
                    continue
                w0, w1 = w0 * z0 / z, w1 * z1 / z
                w2 = 1 - w0 - w1
                _texel(texture, w0 * uvs[a, 0] + w1 * uvs[b, 0] + w2 * uvs[c, 0],
                       w0 * uvs[a, 1] + w1 * uvs[b, 1] + w2 * uvs[c, 1], texel)
                alpha = texel[3]
                if alpha < 0.02 or (solid != (alpha >= 0.5)):
                    continue
                for q in range(3):
                    color = w0 * colors[i, q] + w1 * colors[j, q] + w2 * colors[m, q]
                    albedo[q] = texel[q] * texel[q] * color
                    n[q] = w0 * normals[i, q] + w1 * normals[j, q] + w2 * normals[m, q]
                    p[q] = w0 * vertices[i, q] + w1 * vertices[j, q] + w2 * vertices[m, q]
                n /= np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-12
                _shade(albedo, n, p, sh, direction, light, specular, shininess, out)
                for q in range(3):
                    image[y, x, q] = out[q] * alpha + image[y, x, q] * (1 - alpha)
                image[y, x, 3] = alpha + image[y, x, 3] * (1 - alpha)
                if solid:
                    depth[y, x] = z


def render(surfaces: list[Surface], focal: float, center: ArrayLike, size: tuple[int, int],
           light: Light | None = None, supersample: int = 2) -> np.ndarray:
    """Renders surfaces with a pinhole camera -> uint8 RGBA [h, w, 4], colours premultiplied by coverage alpha.

    focal and center (cx, cy) in px of the output, size (h, w). Anti-aliased by `supersample` squared samples a
    pixel.
    """
    height, width = size[0] * supersample, size[1] * supersample
    light = light or Light()
    sh = np.ascontiguousarray(light.sh, np.float64)
    direction = np.asarray(light.direction, np.float64) / np.linalg.norm(light.direction)
    color = np.broadcast_to(np.asarray(light.color, np.float64), 3).copy()
    depth = np.zeros((height, width), np.float32)
    face = np.full((height, width), -1, np.int32)
    b0, b1 = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    image = np.zeros((height, width, 4), np.float32)
    prepared = [_prepare(s, focal * supersample, np.asarray(center) * supersample) for s in surfaces]
    first = 0
    for surface, (screen, mesh, _) in zip(surfaces, prepared, strict=True):
        if not surface.transparent:
            _raster(screen, mesh[0], not surface.two_sided, first, depth, face, b0, b1)
            first += len(mesh[0])
    first = 0
    for surface, (_, mesh, material) in zip(surfaces, prepared, strict=True):
        if not surface.transparent:
            _shade_pixels(first, *mesh, sh, direction, color, *material, face, b0, b1, image)
            first += len(mesh[0])
    for solid in (True, False):
        for surface, (screen, mesh, material) in zip(surfaces, prepared, strict=True):
            if surface.transparent:
                _blend(screen, *mesh, sh, direction, color, *material, solid, depth, image)
    # Premultiplied linear light is averaged, then taken to display values.
    if supersample > 1:
        image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    image[..., :3] = np.sqrt(np.clip(image[..., :3], 0, 1))
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _prepare(surface: Surface, focal: float, center: np.ndarray):
    """(screen float32 [n, 3]: x, y px and 1 / distance; the mesh arrays; specular and shininess)."""
    vertices = np.ascontiguousarray(surface.vertices, np.float32)
    distance = -vertices[:, 2]
    scale = focal / np.maximum(distance, NEAR)
    screen = np.empty_like(vertices)
    screen[:, 0] = center[0] + vertices[:, 0] * scale
    screen[:, 1] = center[1] - vertices[:, 1] * scale
    screen[:, 2] = np.where(distance > NEAR, 1 / np.maximum(distance, NEAR), 0)
    triangles = np.ascontiguousarray(surface.triangles, np.int32)
    normals = _vertex_normals(vertices, triangles) if surface.normals is None else surface.normals
    colors = np.ones_like(vertices)
    if surface.colors is not None:
        colors = np.ascontiguousarray(surface.colors, np.float32)
    if surface.texture is None:
        texture, uvs, uv_triangles = WHITE, np.zeros((1, 2), np.float32), np.zeros_like(triangles)
    else:
        texture = np.ascontiguousarray(surface.texture)
        uvs = np.ascontiguousarray(surface.uvs, np.float32)
        uv_triangles = np.ascontiguousarray(surface.uv_triangles, np.int32)
    return screen, (triangles, vertices, normals, colors, uvs, uv_triangles, texture), (surface.specular,
                                                                                        surface.shininess)


def over(foreground: np.ndarray, background: np.ndarray, opacity: float = 1.0) -> np.ndarray:
    """Premultiplied uint8 RGBA [h, w, 4] over uint8 RGB [h, w, 3] -> uint8 RGB [h, w, 3]."""
    alpha = foreground[..., 3:].astype(np.float32) / 255 * opacity
    out = foreground[..., :3] * opacity + background * (1 - alpha)
    return np.rint(np.clip(out, 0, 255)).astype(np.uint8)
