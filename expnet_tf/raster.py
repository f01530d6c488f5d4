"""What a camera sees of triangle meshes: projection, normals, and the z-buffer's kernel."""

import numpy as np

from expnet_tf.texture import alpha_at, inlined, kernel

NEAR = 10.0  # mm: triangles that reach closer to the camera are left out
# Alpha from which a texel fills a sample, by the sample's place among 2 x 2: hair ends are soft, not cut.
SOLID = np.array([0.6, 0.8, 0.9, 0.7])


@kernel
def project(vertices, focal, center):
    """float32 [n, 3]: x, y px and 1 / distance; 0 where a vertex is too near or behind."""
    screen = np.empty_like(vertices)
    for i in range(len(vertices)):
        distance = max(-float(vertices[i, 2]), NEAR)
        screen[i, 0] = center[0] + vertices[i, 0] * (focal / distance)
        screen[i, 1] = center[1] - vertices[i, 1] * (focal / distance)
        screen[i, 2] = 1.0 / distance if -vertices[i, 2] > NEAR else 0.0
    return screen


@kernel
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


@inlined
def bounds(a, b, c, limit):
    low, high = min(a, b, c), max(a, b, c)
    return max(0, int(np.ceil(low - 0.5))), min(limit - 1, int(np.floor(high - 0.5)))


@inlined
def clipped(start, slope, over, low, high):
    """The part of low..high where start + slope * x is not negative; a hair more, so that neighbours overlap."""
    if slope > 0:
        return max(low, -start * over - 1e-7), high
    if slope < 0:
        return low, min(high, -start * over + 1e-7)
    return low, (high if start >= 0 else low - 1.0)


@kernel
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
        xa, xb = bounds(x0, x0 + x1, x0 + x2, width)
        ya, yb = bounds(y0, y0 + y1, y0 + y2, height)
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
            low, high = clipped(r0, a0, over0, low, high)
            low, high = clipped(r1, a1, over1, low, high)
            low, high = clipped(r2, a2, over2, low, high)
            if not low <= high:
                continue
            dz, z_row = dz1 * a1 + dz2 * a2, z0 + r1 * dz1 + r2 * dz2
            for x in range(int(np.ceil(low + x0 - 0.5)), int(np.floor(high + x0 - 0.5)) + 1):
                px = x + 0.5 - x0
                z = z_row + px * dz
                if z > depth[y, x]:
                    if transparent:
                        s1, s2 = (r1 + px * a1) * z1 / z, (r2 + px * a2) * z2 / z
                        alpha = alpha_at(texels, levels, step, u0 + s1 * u1 + s2 * u2, v0 + s1 * v1 + s2 * v2)
                        if alpha < SOLID[(y & 1) * 2 + (x & 1)]:
                            continue
                    depth[y, x] = z
                    face[y, x] = first + k
