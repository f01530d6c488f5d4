"""Colour of the pixels that the z-buffer found: lighting, and the kernels that shade and blend a surface.

Lighting is second-order spherical harmonics (Ramamoorthi and Hanrahan 2001) plus one lamp with a wrapped diffuse and
a Blinn-Phong highlight. Textures are sRGB, taken as the square root of linear light.
"""

import numpy as np

from expnet_tf.raster import bounds
from expnet_tf.texture import inlined, kernel, place, texel_at

SHEET = 3.0  # mm: samples of one surface that lie further apart in a pixel are shaded apart (a nose before a cheek)
CLEAR = 0.02  # texels of less alpha are not there


@inlined
def weights(screen, i, j, m, px, py):
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


@inlined
def light(a, texel, vx, vy, vz, detail, cells, area, right, u, v, sh, direction, lamp, specular, shininess, out):
    """Linear reflected light into out [3]. a: interpolated normal, colour, shares of ambient and lamp [8]."""
    nx, ny, nz = a[0], a[1], a[2]
    gloss, tint = 1.0, 1.0
    if detail and area[0] < u < area[2] and area[1] < v < area[3]:
        xi, yi, xj, yj, fx, fy = place((u - area[0]) / (area[2] - area[0]), (v - area[1]) / (area[3] - area[1]),
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


@kernel
def shade(first, pixel, focal, center, screen, triangles, attributes, uvs, uv_triangles, texels, levels, level, detail,
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
                            w0, w1, w2 = weights(screen, i, j, m, px, py)
                            a, b, c = uv_triangles[k]
                            u = w0 * uvs[a, 0] + w1 * uvs[b, 0] + w2 * uvs[c, 0]
                            v = w0 * uvs[a, 1] + w1 * uvs[b, 1] + w2 * uvs[c, 1]
                            step = level[k]
                        else:
                            for q in range(8):
                                mean[q] += repeats * (w0 * attributes[i, q] + w1 * attributes[j, q]
                                                      + w2 * attributes[m, q])
                            i, j, m = triangles[k]
                            w0, w1, w2 = weights(screen, i, j, m, px, py)
                        last, repeats = k, 1
                if own == 0:
                    continue
                for q in range(8):
                    mean[q] += repeats * (w0 * attributes[i, q] + w1 * attributes[j, q] + w2 * attributes[m, q])
                    mean[q] /= own
                scale = 1.0 / (np.sqrt(mean[0] * mean[0] + mean[1] * mean[1] + mean[2] * mean[2]) + 1e-12)
                mean[0], mean[1], mean[2] = mean[0] * scale, mean[1] * scale, mean[2] * scale
                texel_at(texels, levels, step, u, v, texel)
                light(mean, texel, vx, vy, vz, detail, cells, area, right, u, v, sh, direction, lamp, specular,
                       shininess, out)
                share = own / samples
                for q in range(3):
                    image[y, x, q] += out[q] * share
                image[y, x, 3] += share


@kernel
def blend(pixel, focal, center, screen, triangles, attributes, uvs, uv_triangles, texels, levels, level, detail, cells,
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
        xa, xb = bounds(x0 / pixel, (x0 + x1) / pixel, (x0 + x2) / pixel, width)
        ya, yb = bounds(y0 / pixel, (y0 + y1) / pixel, (y0 + y2) / pixel, height)
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
                texel_at(texels, levels, level[k], u, v, texel)
                alpha = texel[3]
                if alpha < CLEAR:
                    continue
                alpha *= free / (pixel * pixel)
                for q in range(8):
                    mean[q] = w0 * attributes[i, q] + w1 * attributes[j, q] + w2 * attributes[m, q]
                vx, vy = (center[0] - px) / focal, (py - center[1]) / focal
                scale = 1.0 / np.sqrt(vx * vx + vy * vy + 1.0)
                light(mean, texel, vx * scale, vy * scale, scale, detail, cells, area, right, u, v, sh, direction,
                       lamp, specular, shininess, out)
                for q in range(3):
                    image[y, x, q] = out[q] * alpha + image[y, x, q] * (1 - alpha)
                image[y, x, 3] = alpha + image[y, x, 3] * (1 - alpha)


@kernel
def developed(image):
    """Linear premultiplied light -> uint8 display values."""
    out = np.empty(image.shape, np.uint8)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            for c in range(3):
                out[y, x, c] = int(np.sqrt(min(max(float(image[y, x, c]), 0.0), 1.0)) * 255 + 0.5)
            out[y, x, 3] = int(min(float(image[y, x, 3]), 1.0) * 255 + 0.5)
    return out


@kernel
def composed(foreground, background):
    out = np.empty(background.shape, np.uint8)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            rest = 1.0 - foreground[y, x, 3] / 255.0
            for c in range(3):
                front, back = float(foreground[y, x, c]), float(background[y, x, c])
                out[y, x, c] = int(min(np.sqrt(front * front + back * back * rest), 255.0) + 0.5)
    return out
