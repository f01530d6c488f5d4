"""What a camera does to a picture: blur, low resolution, noise, colours, contrast, JPEG.

All at the camera's own resolution, before the picture is brought to the size asked for: the ways in which snapshots
differ from renders. Pixels are worked on in 8 bits, so that vector instructions do not show.
"""

from functools import cache

import cv2
import numba
import numpy as np

NOISE = 1024  # px of the stored noise, which every image takes a window of


def resolution(rng: np.random.Generator, size: int) -> int:
    """Side, px, of the picture that the camera takes: half are sharp, the others down to faces of 16 px."""
    if rng.random() < 0.6:
        return size
    return max(26, int(np.exp(rng.uniform(np.log(size * 0.13), np.log(size)))))


def camera(image: np.ndarray, side: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 RGB [s, s, 3] -> [size, size, 3] as a camera of `side` px, a scanner or a web page would have left it."""
    scale = image.shape[0] / 104
    kind = rng.random()
    if kind < 0.22:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.25, 1.1) * scale)
    elif kind < 0.26:
        image = _shaken(image, rng.uniform(1, 6) * scale, rng.uniform(0, np.pi))
    if side < image.shape[0]:
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.35:  # sharpened by the camera
        soft = cv2.GaussianBlur(image, (0, 0), max(0.6, side / 130))
        share = rng.uniform(0.3, 1.3)
        image = cv2.addWeighted(image, 1 + share, soft, -share, 0)
    side = image.shape[0]
    image = _developed(image, rng)
    if rng.random() < 0.55:
        quality = int(rng.integers(25, 96))
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]  # red and blue swapped, and back
        decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        assert decoded is not None  # coded a line above
        image = decoded
    if side != size:
        way = cv2.INTER_LINEAR if rng.random() < 0.6 else cv2.INTER_CUBIC
        image = cv2.resize(image, (size, size), interpolation=way if side < size else cv2.INTER_AREA)
    return image


def _developed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of the sensor, then saturation, white balance, gamma and contrast."""
    side = image.shape[0]
    saturation = 0.0 if rng.random() < 0.12 else rng.uniform(0.65, 1.25)
    warm = rng.normal(0, 0.07)
    gains = np.exp(np.array([warm, rng.normal(0, 0.02), -warm])) if saturation else np.ones(3)
    gamma = np.exp(rng.normal(0, 0.13)) if rng.random() < 0.7 else 1.0
    contrast, lift = (np.exp(rng.normal(0.16, 0.15)), rng.normal(0, 0.03)) if rng.random() < 0.8 else (1.1, 0.0)
    mean = image[::4, ::4].mean() / 255
    ramp = np.arange(256) / 255
    curves = np.stack([((np.clip(ramp * gain, 0, 1) ** gamma) - mean) * contrast + mean + lift for gain in gains])
    curves = np.rint(np.clip(curves, 0, 1) * 255).astype(np.uint8)
    noisy = rng.random() < 0.6
    strength = int(np.exp(rng.uniform(np.log(6), np.log(130)))) if noisy else 0
    y, x = rng.integers(0, NOISE - side, 2)
    coloured = 0 if saturation == 0 else int(rng.integers(0, 257))
    return _exposed(image, noise_field(), int(y), int(x), strength, coloured, int(256 * saturation), curves)


@cache
def noise_field() -> np.ndarray:
    """int8 [NOISE, NOISE]: 32 is one standard deviation; the same in every process."""
    field = np.random.default_rng(1024).normal(0, 32, (NOISE, NOISE))
    return np.rint(np.clip(field, -127, 127)).astype(np.int8)


@numba.njit(cache=True, error_model="numpy")
def _exposed(image, noise, y0, x0, strength, coloured, saturation, curves):
    """strength: standard deviation of the noise in 1/16 levels at middle grey; coloured, saturation: of 256."""
    height, width = image.shape[0], image.shape[1]
    out = np.empty(image.shape, np.uint8)
    last = noise.shape[0] - 1
    for y in range(height):
        for x in range(width):
            r, g, b = int(image[y, x, 0]), int(image[y, x, 1]), int(image[y, x, 2])
            grey = (77 * r + 150 * g + 29 * b) >> 8
            if strength:
                # More light is more noise, but relatively less.
                share = strength * (96 + grey)
                common = int(noise[y0 + y, x0 + x]) * (256 - coloured // 2)
                one, two = int(noise[last - y0 - y, x0 + x]), int(noise[y0 + y, last - x0 - x])
                r += ((common + one * coloured) * share) >> 25
                g += ((common - ((one + two) >> 1) * coloured) * share) >> 25
                b += ((common + two * coloured) * share) >> 25
                grey = (77 * r + 150 * g + 29 * b) >> 8
            r, g = grey + (((r - grey) * saturation) >> 8), grey + (((g - grey) * saturation) >> 8)
            b = grey + (((b - grey) * saturation) >> 8)
            out[y, x, 0] = curves[0, min(max(r, 0), 255)]
            out[y, x, 1] = curves[1, min(max(g, 0), 255)]
            out[y, x, 2] = curves[2, min(max(b, 0), 255)]
    return out


@numba.njit(cache=True, error_model="numpy")
def _mean_of_moved(image, dx, dy):
    height, width = image.shape[0], image.shape[1]
    out = np.empty(image.shape, np.uint8)
    count = len(dx)
    for y in range(height):
        for x in range(width):
            r = g = b = 0
            for k in range(count):
                yy, xx = min(max(y + dy[k], 0), height - 1), min(max(x + dx[k], 0), width - 1)
                r += image[yy, xx, 0]
                g += image[yy, xx, 1]
                b += image[yy, xx, 2]
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = r // count, g // count, b // count
    return out


def _shaken(image: np.ndarray, length: float, angle: float) -> np.ndarray:
    """Blurred along a line of `length` px."""
    steps = np.linspace(-0.5, 0.5, max(3, int(length) + 1)) * length
    dx, dy = np.rint(steps * np.cos(angle)).astype(np.int64), np.rint(steps * np.sin(angle)).astype(np.int64)
    return _mean_of_moved(image, dx, dy)
