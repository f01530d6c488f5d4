"""The one rasteriser: a numba z-buffer for training images and for every picture people look at.

Surfaces are given in camera coordinates (mm; x right, y up, camera at the origin looking down -z). What is seen is
found at `supersample` squared samples a pixel; colour is found once a pixel for each sheet of a surface that its
samples see, so edges are smooth at the price of one shading. Texels that are nearly opaque hide what is behind them like
an opaque surface; the clearer ones are blended over it afterwards. Textures are read from the level of a pyramid
whose texels are about as large as the pixel.

Lighting is second-order spherical harmonics (Ramamoorthi and Hanrahan 2001) plus one lamp with a wrapped diffuse and
a Blinn-Phong highlight; shadows come with the surfaces, see shadow.py. Textures are sRGB, taken as the square root
of linear light. No fastmath, no library calls and a fixed order of every sum in the kernels: the same input gives the
same bytes, whatever vector instructions a machine has.
"""

from dataclasses import dataclass, field

import numba
import numpy as np
from numpy.typing import ArrayLike

NEAR = 10.0  # mm: triangles that reach closer to the camera are left out
SHEET = 3.0  # mm: samples of one surface that lie further apart in a pixel are shaded apart (a nose before a cheek)
CLEAR = 0.02  # texels of less alpha are not there
# Alpha from which a texel fills a sample, by the sample's place among 2 x 2: hair ends are soft, not cut.
SOLID = np.array([0.6, 0.8, 0.9, 0.7])


@dataclass(frozen=True, eq=False)
class Texture:
    """An image with its pyramid. texels uint8 RGBA [k, 4]; levels int64 [l, 3]: first texel, height, width."""

    texels: np.ndarray
    levels: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray) -> "Texture":
        """uint8 RGBA [h, w, 4] -> levels of half the size down to 1 px; colours weighted by alpha."""
        images = [np.ascontiguousarray(image)]
        while max(images[-1].shape[:2]) > 1:
            images.append(_halved(images[-1]))
        firsts = np.cumsum([0] + [im.shape[0] * im.shape[1] for im in images[:-1]])
        levels = np.array([(first, *im.shape[:2]) for first, im in zip(firsts, images, strict=True)], np.int64)
        return cls(np.concatenate([im.reshape(-1, 4) for im in images]), levels)


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


def _kernel(function):
    return numba.njit(cache=True, error_model="numpy")(function)


def _inlined(function):
    return numba.njit(cache=True, error_model="numpy", inline="always")(function)


@_kernel
def _halved(image):
    height, width = max(image.shape[0] // 2, 1), max(image.shape[1] // 2, 1)
    out = np.empty((height, width, 4), np.uint8)
    for y in range(height):
        ya, yb = min(2 * y, image.shape[0] - 1), min(2 * y + 1, image.shape[0] - 1)
        for x in range(width):
            xa, xb = min(2 * x, image.shape[1] - 1), min(2 * x + 1, image.shape[1] - 1)
            wa, wb = np.int32(image[ya, xa, 3]), np.int32(image[ya, xb, 3])
            wc, wd = np.int32(image[yb, xa, 3]), np.int32(image[yb, xb, 3])
            out[y, x, 3] = (wa + wb + wc + wd + 2) >> 2
            if wa == wb == wc == wd:
                for c in range(3):
                    out[y, x, c] = (np.int32(image[ya, xa, c]) + image[ya, xb, c] + image[yb, xa, c] + image[yb, xb, c]
                                    + 2) >> 2
                continue
            total = wa + wb + wc + wd
            for c in range(3):
                color = wa * image[ya, xa, c] + wb * image[ya, xb, c] + wc * image[yb, xa, c] + wd * image[yb, xb, c]
                out[y, x, c] = (color + total // 2) // total
    return out


@_kernel
def vertex_normals(vertices, triangles):
    """Unit normals float32 [n, 3] of a float32 mesh, each triangle weighted by its area."""
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


@_inlined
def _bounds(a, b, c, limit):
    low, high = min(a, b, c), max(a, b, c)
    return max(0, int(np.ceil(low - 0.5))), min(limit - 1, int(np.floor(high - 0.5)))


@_inlined
def _clipped(start, slope, over, low, high):
    """The part of low..high where start + slope * x is not negative; a hair more, so that neighbours overlap."""
    if slope > 0:
        return max(low, -start * over - 1e-7), high
    if slope < 0:
        return low, min(high, -start * over + 1e-7)
    return low, (high if start >= 0 else low - 1.0)


@_inlined
def _place(u, v, height, width):
    """Texel column and row left above (u, v), and how far beyond them it lies."""
    x = min(max(u * width - 0.5, 0.0), width - 1.0)
    y = min(max((1.0 - v) * height - 0.5, 0.0), height - 1.0)
    xi, yi = int(x), int(y)
    return xi, yi, min(xi + 1, width - 1), min(yi + 1, height - 1), x - xi, y - yi


@_inlined
def _alpha(texels, levels, level, u, v):
    """Bilinear sample of the alpha at (u, v), in 0..1."""
    first, width = levels[level, 0], levels[level, 2]
    xi, yi, xj, yj, fx, fy = _place(u, v, levels[level, 1], width)
    top = texels[first + yi * width + xi, 3] * (1 - fx) + texels[first + yi * width + xj, 3] * fx
    bottom = texels[first + yj * width + xi, 3] * (1 - fx) + texels[first + yj * width + xj, 3] * fx
    return (top * (1 - fy) + bottom * fy) / 255.0


@_inlined
def _texel(texels, levels, level, u, v, out):
    """Bilinear sample of the texture at (u, v), origin lower left, into out [4] (0..1)."""
    first, width = levels[level, 0], levels[level, 2]
    xi, yi, xj, yj, fx, fy = _place(u, v, levels[level, 1], width)
    a, b = first + yi * width + xi, first + yi * width + xj
    c, d = first + yj * width + xi, first + yj * width + xj
    wa, wb = (1 - fx) * (1 - fy) / 255.0, fx * (1 - fy) / 255.0
    wc, wd = (1 - fx) * fy / 255.0, fx * fy / 255.0
    for q in range(4):
        out[q] = wa * texels[a, q] + wb * texels[b, q] + wc * texels[c, q] + wd * texels[d, q]


@_kernel
def raster(screen, triangles, cull, first, pixel, transparent, uvs, uv_triangles, texels, levels, depth, face, level):
    """Fills depth and face (number of the triangle, from `first` on) where this mesh is nearest.

    screen float32 [n, 3]: x, y in samples and nearness; level uint8 [t]: each triangle's level of the texture, for
    pixels of `pixel` squared samples. Of a transparent mesh only texels that are nearly opaque count.
    """
    height, width = depth.shape
    for k in range(len(triangles)):
        i, j, m = triangles[k]
        z0, z1, z2 = float(screen[i, 2]), float(screen[j, 2]), float(screen[m, 2])
        if not (z0 > 0 and z1 > 0 and z2 > 0):
            continue
        x0, y0 = float(screen[i, 0]), float(screen[i, 1])
        x1, y1 = float(screen[j, 0]) - x0, float(screen[j, 1]) - y0
        x2, y2 = float(screen[m, 0]) - x0, float(screen[m, 1]) - y0
        area = x1 * y2 - x2 * y1
        # v points down: counter-clockwise faces have negative area.
        if not abs(area) >= 1e-9 or (cull and area > 0):
            continue
        xa, xb = _bounds(x0, x0 + x1, x0 + x2, width)
        ya, yb = _bounds(y0, y0 + y1, y0 + y2, height)
        if xa > xb or ya > yb:
            continue
        a, b, c = uv_triangles[k]
        u0, v0 = float(uvs[a, 0]), float(uvs[a, 1])
        u1, v1, u2, v2 = uvs[b, 0] - u0, uvs[b, 1] - v0, uvs[c, 0] - u0, uvs[c, 1] - v0
        # Texels to a pixel; a level takes over half way to the next, which has a quarter of the texels.
        ratio = abs((u1 * v2 - u2 * v1) / area) * levels[0, 1] * levels[0, 2] * pixel * pixel
        step = 0
        while ratio > 2.0 and step < len(levels) - 1:
            ratio *= 0.25
            step += 1
        level[k] = step
        inverse = 1.0 / area
        a1, b1, a2, b2 = y2 * inverse, -x2 * inverse, -y1 * inverse, x1 * inverse
        dz1, dz2 = z1 - z0, z2 - z0
        a0, b0 = -a1 - a2, -b1 - b2
        over0, over1, over2 = 1.0 / a0, 1.0 / a1, 1.0 / a2  # infinite for an edge along the row
        for y in range(ya, yb + 1):
            py = y + 0.5 - y0
            r0, r1, r2 = 1.0 + py * b0, py * b1, py * b2
            low, high = xa + 0.5 - x0, xb + 0.5 - x0
            low, high = _clipped(r0, a0, over0, low, high)
            low, high = _clipped(r1, a1, over1, low, high)
            low, high = _clipped(r2, a2, over2, low, high)
            if not low <= high:
                continue
            dz, z_row = dz1 * a1 + dz2 * a2, z0 + r1 * dz1 + r2 * dz2
            for x in range(int(np.ceil(low + x0 - 0.5)), int(np.floor(high + x0 - 0.5)) + 1):
                px = x + 0.5 - x0
                z = z_row + px * dz
                if z > depth[y, x]:
                    if transparent:
                        s1, s2 = (r1 + px * a1) * z1 / z, (r2 + px * a2) * z2 / z
                        alpha = _alpha(texels, levels, step, u0 + s1 * u1 + s2 * u2, v0 + s1 * v1 + s2 * v2)
                        if alpha < SOLID[(y & 1) * 2 + (x & 1)]:
                            continue
                    depth[y, x] = z
                    face[y, x] = first + k


@_inlined
def _weights(screen, i, j, m, px, py):
    """Perspective-correct barycentric weights of the point of a triangle nearest to (px, py), roughly."""
    x0, y0 = float(screen[i, 0]), float(screen[i, 1])
    x1, y1 = screen[j, 0] - x0, screen[j, 1] - y0
    x2, y2 = screen[m, 0] - x0, screen[m, 1] - y0
    inverse = 1.0 / (x1 * y2 - x2 * y1)
    w1 = max(((px - x0) * y2 - x2 * (py - y0)) * inverse, 0.0)
    w2 = max((x1 * (py - y0) - (px - x0) * y1) * inverse, 0.0)
    w0 = max(1.0 - w1 - w2, 0.0)
    w0, w1, w2 = w0 * screen[i, 2], w1 * screen[j, 2], w2 * screen[m, 2]
    total = 1.0 / (w0 + w1 + w2)
    return w0 * total, w1 * total, w2 * total


@_inlined
def _light(a, texel, vx, vy, vz, detail, cells, area, right, u, v, sh, direction, lamp, specular, shininess, out):
    """Linear reflected light into out [3]. a: interpolated normal, colour, shares of ambient and lamp [8]."""
    nx, ny, nz = a[0], a[1], a[2]
    gloss, tint = 1.0, 1.0
    if detail and area[0] < u < area[2] and area[1] < v < area[3]:
        xi, yi, xj, yj, fx, fy = _place((u - area[0]) / (area[2] - area[0]), (v - area[1]) / (area[3] - area[1]),
                                        cells.shape[0], cells.shape[1])
        wa, wb, wc, wd = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
        along = wa * cells[yi, xi, 0] + wb * cells[yi, xj, 0] + wc * cells[yj, xi, 0] + wd * cells[yj, xj, 0]
        up = wa * cells[yi, xi, 1] + wb * cells[yi, xj, 1] + wc * cells[yj, xi, 1] + wd * cells[yj, xj, 1]
        gloss = wa * cells[yi, xi, 2] + wb * cells[yi, xj, 2] + wc * cells[yj, xi, 2] + wd * cells[yj, xj, 2]
        tint = wa * cells[yi, xi, 3] + wb * cells[yi, xj, 3] + wc * cells[yj, xi, 3] + wd * cells[yj, xj, 3]
        # A slope turns the normal away from the direction in which the surface rises.
        dot = nx * right[0] + ny * right[1] + nz * right[2]
        tx, ty, tz = right[0] - dot * nx, right[1] - dot * ny, right[2] - dot * nz
        bx, by, bz = ny * tz - nz * ty, nz * tx - nx * tz, nx * ty - ny * tx
        nx, ny, nz = nx - along * tx - up * bx, ny - along * ty - up * by, nz - along * tz - up * bz
    scale = 1.0 / (np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12)
    nx, ny, nz = nx * scale, ny * scale, nz * scale
    facing = nx * vx + ny * vy + nz * vz
    if facing < 0:
        nx, ny, nz, facing = -nx, -ny, -nz, -facing
    lambert = max(0.0, (nx * direction[0] + ny * direction[1] + nz * direction[2] + 0.25) / 1.25) * a[7]
    hx, hy, hz = direction[0] + vx, direction[1] + vy, direction[2] + vz
    h = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-12
    lobe = max(0.0, (nx * hx + ny * hy + nz * hz) / h)
    for _ in range(shininess):
        lobe *= lobe
    grazing = (1 - facing) * (1 - facing)
    highlight = specular * gloss * lobe * (0.08 + 0.5 * grazing * grazing) * a[7]
    for c in range(3):
        ambient = (sh[0, c] + sh[1, c] * ny + sh[2, c] * nz + sh[3, c] * nx + sh[4, c] * nx * ny
                   + sh[5, c] * ny * nz + sh[6, c] * (3 * nz * nz - 1) + sh[7, c] * nx * nz
                   + sh[8, c] * (nx * nx - ny * ny))
        albedo = texel[c] * texel[c] * a[3 + c] * tint
        out[c] = albedo * (max(ambient, 0.02) * a[6] + lamp[c] * lambert) + highlight * lamp[c]


@_kernel
def _shade(first, pixel, focal, center, screen, triangles, attributes, uvs, uv_triangles, texels, levels, level, detail,
           cells, area, right, specular, shininess, sh, direction, lamp, depth, face, image):
    """Adds the light of one surface, triangles numbered from `first`, to the pixels whose samples see it."""
    texel, out, mean = np.empty(4), np.empty(3), np.empty(8)
    count, samples = len(triangles), pixel * pixel
    left, right_, top, bottom = np.inf, -np.inf, np.inf, -np.inf
    for i in range(len(screen)):
        left, right_ = min(left, screen[i, 0]), max(right_, screen[i, 0])
        top, bottom = min(top, screen[i, 1]), max(bottom, screen[i, 1])
    height, width = image.shape[0], image.shape[1]
    xa, xb = int(max(left / pixel - 1, 0)), int(min(right_ / pixel + 2, width))
    ya, yb = int(max(top / pixel - 1, 0)), int(min(bottom / pixel + 2, height))
    for y in range(ya, yb):
        for x in range(xa, xb):
            seen = 0
            near, far = 0.0, np.inf
            for sy in range(y * pixel, (y + 1) * pixel):
                for sx in range(x * pixel, (x + 1) * pixel):
                    if first <= face[sy, sx] < first + count:
                        seen += 1
                        near, far = max(near, depth[sy, sx]), min(far, depth[sy, sx])
            if seen == 0:
                continue
            px, py = (x + 0.5) * pixel, (y + 0.5) * pixel
            vx, vy = (center[0] - px) / focal, (py - center[1]) / focal
            scale = 1.0 / np.sqrt(vx * vx + vy * vy + 1.0)
            vx, vy, vz = vx * scale, vy * scale, scale
            sheets = 2 if near - far > SHEET * near * far else 1
            for sheet in range(sheets):
                mean[:] = 0.0
                own, repeats, last, u, v, step = 0, 0, -1, 0.0, 0.0, 0
                w0, w1, w2 = 0.0, 0.0, 0.0
                i = j = m = 0
                for sy in range(y * pixel, (y + 1) * pixel):
                    for sx in range(x * pixel, (x + 1) * pixel):
                        k = face[sy, sx] - first
                        if k < 0 or k >= count:
                            continue
                        if sheets == 2 and (sheet == 0) != (near - depth[sy, sx] <= depth[sy, sx] - far):
                            continue
                        own += 1
                        if k == last:
                            repeats += 1
                            continue
                        if last < 0:
                            i, j, m = triangles[k]
                            w0, w1, w2 = _weights(screen, i, j, m, px, py)
                            a, b, c = uv_triangles[k]
                            u = w0 * uvs[a, 0] + w1 * uvs[b, 0] + w2 * uvs[c, 0]
                            v = w0 * uvs[a, 1] + w1 * uvs[b, 1] + w2 * uvs[c, 1]
                            step = level[k]
                        else:
                            for q in range(8):
                                mean[q] += repeats * (w0 * attributes[i, q] + w1 * attributes[j, q]
                                                      + w2 * attributes[m, q])
                            i, j, m = triangles[k]
                            w0, w1, w2 = _weights(screen, i, j, m, px, py)
                        last, repeats = k, 1
                if own == 0:
                    continue
                for q in range(8):
                    mean[q] += repeats * (w0 * attributes[i, q] + w1 * attributes[j, q] + w2 * attributes[m, q])
                    mean[q] /= own
                scale = 1.0 / (np.sqrt(mean[0] * mean[0] + mean[1] * mean[1] + mean[2] * mean[2]) + 1e-12)
                mean[0], mean[1], mean[2] = mean[0] * scale, mean[1] * scale, mean[2] * scale
                _texel(texels, levels, step, u, v, texel)
                _light(mean, texel, vx, vy, vz, detail, cells, area, right, u, v, sh, direction, lamp, specular,
                       shininess, out)
                share = own / samples
                for q in range(3):
                    image[y, x, q] += out[q] * share
                image[y, x, 3] += share


@_kernel
def _blend(pixel, focal, center, screen, triangles, attributes, uvs, uv_triangles, texels, levels, level, detail, cells,
           area, right, specular, shininess, sh, direction, lamp, depth, image):
    """Blends a transparent surface over the samples of each pixel that nothing nearer fills."""
    height, width = image.shape[0], image.shape[1]
    texel, out, mean = np.empty(4), np.empty(3), np.empty(8)
    for k in range(len(triangles)):
        i, j, m = triangles[k]
        z0, z1, z2 = float(screen[i, 2]), float(screen[j, 2]), float(screen[m, 2])
        if not (z0 > 0 and z1 > 0 and z2 > 0):
            continue
        x0, y0 = float(screen[i, 0]), float(screen[i, 1])
        x1, y1 = float(screen[j, 0]) - x0, float(screen[j, 1]) - y0
        x2, y2 = float(screen[m, 0]) - x0, float(screen[m, 1]) - y0
        area_ = x1 * y2 - x2 * y1
        if not abs(area_) >= 1e-9:
            continue
        xa, xb = _bounds(x0 / pixel, (x0 + x1) / pixel, (x0 + x2) / pixel, width)
        ya, yb = _bounds(y0 / pixel, (y0 + y1) / pixel, (y0 + y2) / pixel, height)
        if xa > xb or ya > yb:
            continue
        inverse = 1.0 / area_
        a1, b1, a2, b2 = y2 * inverse, -x2 * inverse, -y1 * inverse, x1 * inverse
        dz1, dz2 = z1 - z0, z2 - z0
        across, down = a1 * dz1 + a2 * dz2, b1 * dz1 + b2 * dz2
        a, b, c = uv_triangles[k]
        for y in range(ya, yb + 1):
            py = (y + 0.5) * pixel
            for x in range(xa, xb + 1):
                px = (x + 0.5) * pixel
                w1, w2 = (py - y0) * b1 + (px - x0) * a1, (py - y0) * b2 + (px - x0) * a2
                w0 = 1.0 - w1 - w2
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                z = z0 + w1 * dz1 + w2 * dz2
                free = 0
                for sy in range(y * pixel, (y + 1) * pixel):
                    for sx in range(x * pixel, (x + 1) * pixel):
                        # A little further than what is there, or a solid texel would be blended over itself.
                        if z + (sx + 0.5 - px) * across + (sy + 0.5 - py) * down > depth[sy, sx] * (1 + 1e-6):
                            free += 1
                if free == 0:
                    continue
                w0, w1, w2 = w0 * z0 / z, w1 * z1 / z, w2 * z2 / z
                u = w0 * uvs[a, 0] + w1 * uvs[b, 0] + w2 * uvs[c, 0]
                v = w0 * uvs[a, 1] + w1 * uvs[b, 1] + w2 * uvs[c, 1]
                _texel(texels, levels, level[k], u, v, texel)
                alpha = texel[3]
                if alpha < CLEAR:
                    continue
                alpha *= free / (pixel * pixel)
                for q in range(8):
                    mean[q] = w0 * attributes[i, q] + w1 * attributes[j, q] + w2 * attributes[m, q]
                vx, vy = (center[0] - px) / focal, (py - center[1]) / focal
                scale = 1.0 / np.sqrt(vx * vx + vy * vy + 1.0)
                _light(mean, texel, vx * scale, vy * scale, scale, detail, cells, area, right, u, v, sh, direction,
                       lamp, specular, shininess, out)
                for q in range(3):
                    image[y, x, q] = out[q] * alpha + image[y, x, q] * (1 - alpha)
                image[y, x, 3] = alpha + image[y, x, 3] * (1 - alpha)


@_kernel
def _developed(image):
    """Linear premultiplied light -> uint8 display values."""
    out = np.empty(image.shape, np.uint8)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            for c in range(3):
                out[y, x, c] = int(np.sqrt(min(max(float(image[y, x, c]), 0.0), 1.0)) * 255 + 0.5)
            out[y, x, 3] = int(min(float(image[y, x, 3]), 1.0) * 255 + 0.5)
    return out


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
        _shade(start, supersample, scale, middle, *mesh.arguments, sh, direction, lamp, depth, face, image)
    for surface, mesh in zip(surfaces, meshes, strict=True):
        if surface.transparent:
            _blend(supersample, scale, middle, *mesh.arguments, sh, direction, lamp, depth, image)
    # Premultiplied linear light is averaged, then taken to display values.
    return _developed(image)


WHITE = Texture.of(np.full((1, 1, 4), 255, np.uint8))
FLAT = Relief(np.zeros((1, 1, 4), np.float32), (0.0, 0.0, 0.0, 0.0), np.zeros(3))


class _Mesh:
    """A surface as the kernels take it."""

    def __init__(self, surface: Surface, focal: float, center: np.ndarray) -> None:
        vertices = np.ascontiguousarray(surface.vertices, np.float32)
        self.triangles = triangles = np.ascontiguousarray(surface.triangles, np.int32)
        self.screen = _project(vertices, focal, center)
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


@_kernel
def _project(vertices, focal, center):
    """float32 [n, 3]: x, y px and 1 / distance; 0 where a vertex is too near or behind."""
    screen = np.empty_like(vertices)
    for i in range(len(vertices)):
        distance = max(-float(vertices[i, 2]), NEAR)
        screen[i, 0] = center[0] + vertices[i, 0] * (focal / distance)
        screen[i, 1] = center[1] - vertices[i, 1] * (focal / distance)
        screen[i, 2] = 1.0 / distance if -vertices[i, 2] > NEAR else 0.0
    return screen


@_kernel
def _composed(foreground, background):
    out = np.empty(background.shape, np.uint8)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            rest = 1.0 - foreground[y, x, 3] / 255.0
            for c in range(3):
                front, back = float(foreground[y, x, c]), float(background[y, x, c])
                out[y, x, c] = int(min(np.sqrt(front * front + back * back * rest), 255.0) + 0.5)
    return out


def over(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Premultiplied uint8 RGBA [h, w, 4], as of render(), over uint8 RGB [h, w, 3] -> uint8 RGB [h, w, 3].

    Light is added, not display values: a half covered edge keeps its brightness.
    """
    return _composed(np.ascontiguousarray(foreground), np.ascontiguousarray(background))
