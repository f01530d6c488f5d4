"""What lies behind a rendered face, and what comes between it and the camera; all procedural."""

import cv2
import numba
import numpy as np

from expnet_tf.data.scenes.photo import NOISE, noise_field

SMALL = 96  # px: backgrounds are made at this size; they are out of focus anyway


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """uint8 RGB [size, size, 3]: a wall, a street, leaves, a crowd, more or less out of focus."""
    canvas = np.empty((SMALL, SMALL, 3), np.uint8)
    kind = rng.random()
    first, second = _colour(rng), _colour(rng)
    ramp = np.linspace(0, 1, SMALL)[:, None] if rng.random() < 0.5 else np.linspace(0, 1, SMALL)[None]
    ramp = np.broadcast_to(ramp, (SMALL, SMALL))[..., None]
    near = 0.25 if kind < 0.4 else 1.0  # a wall has one colour, more or less
    canvas[:] = np.clip(first + (second - first) * near * ramp, 0, 255)
    if 0.25 < kind < 0.62:
        _shapes(canvas, rng)
    elif 0.62 <= kind < 0.8:
        _crowd(canvas, rng)
    elif kind >= 0.8:
        _leaves(canvas, rng)
    blur = np.exp(rng.uniform(np.log(0.3), np.log(7)))
    canvas = cv2.GaussianBlur(canvas, (0, 0), blur)
    grain = rng.integers(0, NOISE - SMALL, 2)
    window = noise_field()[grain[0] : grain[0] + SMALL, grain[1] : grain[1] + SMALL]
    strength = int(rng.integers(0, 7))
    canvas = _grained(canvas, window, strength, int(256 * (rng.uniform(0.3, 1) if rng.random() < 0.4 else 1)))
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_LINEAR)


def _colour(rng: np.random.Generator) -> np.ndarray:
    """sRGB [3] as photographs have them: mostly muted, of any brightness."""
    value = rng.uniform(15, 245)
    strength = rng.beta(1.1, 3.2)
    hue = rng.uniform(0, 2 * np.pi) + np.array([0, 2.094, 4.189])
    return value * (1 - strength * (0.5 - 0.5 * np.cos(hue)))


def _shapes(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Doors, windows, furniture, letters, lamps."""
    for _ in range(rng.integers(3, 14)):
        color = _colour(rng).tolist()
        x, y = rng.integers(-20, SMALL + 20, 2).tolist()
        w, h = np.exp(rng.uniform(np.log(3), np.log(70), 2)).astype(int).tolist()
        what = rng.random()
        if what < 0.6:
            cv2.rectangle(canvas, (x, y), (x + w, y + h), color, -1 if rng.random() < 0.8 else 2)
        elif what < 0.8:
            far = rng.integers(-20, SMALL + 20, 2).tolist()
            cv2.line(canvas, (x, y), far, color, int(rng.integers(1, 7)), cv2.LINE_AA)
        elif what < 0.9:
            cv2.circle(canvas, (x, y), max(2, w // 3), color, -1, cv2.LINE_AA)
        else:
            for k in range(rng.integers(2, 9)):
                cv2.rectangle(canvas, (x + 6 * k, y), (x + 6 * k + int(rng.integers(1, 5)), y + 8), color, -1)


def _crowd(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Other people, far behind: clothes, faces, hair."""
    for _ in range(rng.integers(1, 9)):
        x, y = rng.integers(-10, SMALL + 10), rng.integers(10, SMALL)
        r = float(np.exp(rng.uniform(np.log(5), np.log(22))))
        skin = (np.array([215, 165, 140]) * rng.uniform(0.25, 1.1)).clip(0, 255).tolist()
        hair = (np.array([70, 50, 40]) * rng.uniform(0.2, 2.5)).clip(0, 255).tolist()
        cloth = _colour(rng).tolist()
        cv2.ellipse(canvas, (int(x), int(y + 2.9 * r)), (int(2.2 * r), int(1.9 * r)), 0, 0, 360, cloth, -1)
        cv2.ellipse(canvas, (int(x), int(y - 0.25 * r)), (int(0.95 * r), int(1.2 * r)), 0, 0, 360, hair, -1)
        cv2.ellipse(canvas, (int(x), int(y + 0.1 * r)), (int(0.75 * r), int(r)), 0, 0, 360, skin, -1)


def _leaves(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Plants, water, stone: noise of several sizes in two colours."""
    total = np.zeros((SMALL, SMALL), np.float32)
    for cells, strength in ((5, 1.0), (12, 0.8), (30, 0.7), (SMALL, 0.4)):
        noise = rng.normal(0, strength, (cells, cells)).astype(np.float32)
        total += cv2.resize(noise, (SMALL, SMALL), interpolation=cv2.INTER_LINEAR)
    share = np.clip(0.5 + 0.4 * total, 0, 1)[..., None]
    dark, light = (_colour(rng) for _ in range(2))
    if rng.random() < 0.5:
        dark, light = np.array([30.0, 50, 20]), np.array([130.0, 160, 80]) * rng.uniform(0.6, 1.3)
    canvas[:] = np.clip(dark + (light - dark) * share, 0, 255)


def occluder(image: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hand, a microphone or somebody else's shoulder before the face: uint8 RGB, landmarks [68, 2] px."""
    out = image.copy()
    size = image.shape[0]
    span = float(np.linalg.norm(points[8] - points[27]))
    kind = rng.random()
    mask = np.zeros((size, size), np.uint8)
    if kind < 0.45:  # fingers from below or from a side, their tips on the lower face
        color = np.array([205, 155, 130]) * rng.uniform(0.25, 1.2)
        tip = points[rng.integers(0, 17)] + rng.normal(0, 0.12 * span, 2)
        back = np.array([rng.normal(0, 0.8), 1.0])
        back /= np.linalg.norm(back)
        across = np.array([back[1], -back[0]])
        wide = span * rng.uniform(0.12, 0.19)
        for k in range(rng.integers(1, 5)):
            start = tip + across * wide * 1.05 * k + back * rng.uniform(0, 0.25) * span
            end = tip + across * wide * 1.5 + back * span * 1.6 + across * wide * 0.35 * k
            _thick_line(mask, start, end, wide)
        _thick_line(mask, tip + across * wide * 1.6 + back * span * 1.5, tip + back * span * 4, 3.8 * wide)
    elif kind < 0.65:  # a microphone
        color = np.full(3, rng.uniform(5, 90))
        head = points[8] + np.array([rng.normal(0, 0.3), rng.uniform(-0.3, 0.5)]) * span
        cv2.circle(mask, (int(head[0]), int(head[1])), max(2, int(span * rng.uniform(0.1, 0.2))), 255, -1, cv2.LINE_AA)
        _thick_line(mask, head, head + np.array([rng.normal(0, 0.5), 1.5]) * span, span * 0.12)
    else:
        color = _colour(rng)
        x, y = rng.uniform(0, size), rng.uniform(0.35, 1) * size
        axes = (np.exp(rng.uniform(np.log(0.08), np.log(0.35), 2)) * size).astype(int).tolist()
        cv2.ellipse(mask, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)
    # Round things are darker at their edge.
    inner = cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.05 * span))
    return _laid(out, mask, inner, np.clip(color, 0, 255))


def _thick_line(mask: np.ndarray, start: np.ndarray, end: np.ndarray, width: float) -> None:
    ends = [tuple(int(v) for v in np.rint(np.clip(p, -4000, 4000) * 8)) for p in (start, end)]
    cv2.line(mask, ends[0], ends[1], 255, max(1, round(width)), cv2.LINE_AA, 3)


@numba.njit(cache=True, error_model="numpy")
def _grained(image, noise, strength, brightness):
    out = np.empty(image.shape, np.uint8)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            grain = (noise[y, x] * strength) >> 6
            for c in range(3):
                out[y, x, c] = min(max(((image[y, x, c] + grain) * brightness) >> 8, 0), 255)
    return out


@numba.njit(cache=True, error_model="numpy")
def _laid(image, mask, inner, color):
    """Lays a colour over the image, shaded from 1/2 at the edge of the mask to 1 inside."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if mask[y, x]:
                for c in range(3):
                    shade = color[c] * (0.45 + 0.55 * inner[y, x] / 255.0)
                    image[y, x, c] = int(image[y, x, c] + (shade - image[y, x, c]) * mask[y, x] / 255.0 + 0.5)
    return image
