"""Textures with their pyramids, and how a kernel reads them.

Kernels have no fastmath, no library calls and a fixed order of every sum: the same input gives the same bytes,
whatever vector instructions a machine has.
"""

from dataclasses import dataclass

import numba
import numpy as np


def kernel(function):
    return numba.njit(cache=True, error_model="numpy")(function)


def inlined(function):
    return numba.njit(cache=True, error_model="numpy", inline="always")(function)


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


@kernel
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


@inlined
def place(u, v, height, width):
    """Texel column and row left above (u, v), and how far beyond them it lies."""
    x = min(max(u * width - 0.5, 0.0), width - 1.0)
    y = min(max((1.0 - v) * height - 0.5, 0.0), height - 1.0)
    xi, yi = int(x), int(y)
    return xi, yi, min(xi + 1, width - 1), min(yi + 1, height - 1), x - xi, y - yi


@inlined
def alpha_at(texels, levels, level, u, v):
    """Bilinear sample of the alpha at (u, v), in 0..1."""
    first, width = levels[level, 0], levels[level, 2]
    xi, yi, xj, yj, fx, fy = place(u, v, levels[level, 1], width)
    top = texels[first + yi * width + xi, 3] * (1 - fx) + texels[first + yi * width + xj, 3] * fx
    bottom = texels[first + yj * width + xi, 3] * (1 - fx) + texels[first + yj * width + xj, 3] * fx
    return (top * (1 - fy) + bottom * fy) / 255.0


@inlined
def texel_at(texels, levels, level, u, v, out):
    """Bilinear sample of the texture at (u, v), origin lower left, into out [4] (0..1)."""
    first, width = levels[level, 0], levels[level, 2]
    xi, yi, xj, yj, fx, fy = place(u, v, levels[level, 1], width)
    a, b = first + yi * width + xi, first + yi * width + xj
    c, d = first + yj * width + xi, first + yj * width + xj
    wa, wb = (1 - fx) * (1 - fy) / 255.0, fx * (1 - fy) / 255.0
    wc, wd = (1 - fx) * fy / 255.0, fx * fy / 255.0
    for q in range(4):
        out[q] = wa * texels[a, q] + wb * texels[b, q] + wc * texels[c, q] + wd * texels[d, q]


WHITE = Texture.of(np.full((1, 1, 4), 255, np.uint8))
