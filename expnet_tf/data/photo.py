"""What lies around and before a rendered face, and what a camera does to it.

Backgrounds are procedural (gradients, blurred shapes, texture patches); occluders are glasses and blobs; the
camera adds blur, low resolution, noise, grey and colour casts, contrast, JPEG: the ways in which snapshots
differ from renders.
"""

import cv2
import numpy as np

from expnet_tf.render import Light


def background(rng: np.random.Generator, size: int, patches: list[np.ndarray]) -> np.ndarray:
    """uint8 RGB [size, size, 3]; patches are textures uint8 [h, w, >=3] to cut pieces from."""
    if patches and rng.random() < 0.25:
        patch = patches[rng.integers(len(patches))]
        side = int(rng.integers(48, min(patch.shape[:2])))
        y, x = (int(rng.integers(0, n - side + 1)) for n in patch.shape[:2])
        image = cv2.resize(patch[y : y + side, x : x + side, :3], (size, size)).astype(np.float32)
    else:
        image = np.zeros((size, size, 3), np.float32)
        for cells in (2, 4, 8, 24):
            noise = rng.normal(0, rng.uniform(2, 40), (cells, cells, 3)).astype(np.float32)
            image += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
        image += rng.uniform(0, 255, 3)
        scale = size / 104
        for _ in range(rng.integers(0, 9)):
            color = rng.uniform(0, 255, 3).tolist()
            a, b, c, d = (int(v) for v in rng.integers(int(-20 * scale), int(size + 20 * scale), 4))
            kind = rng.integers(3)
            if kind == 0:
                cv2.rectangle(image, (a, b), (c, d), color, -1)
            elif kind == 1:
                cv2.line(image, (a, b), (c, d), color, max(1, int(rng.integers(1, 12) * scale)))
            else:
                cv2.circle(image, (a, b), int(rng.integers(4, 60) * scale), color, -1)
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 8) * scale)
    if rng.random() < 0.4:
        image *= rng.uniform(0.1, 1)
    return np.clip(image, 0, 255).astype(np.uint8)


def long_hair(image: np.ndarray, points: np.ndarray, color: np.ndarray, light: Light,
              rng: np.random.Generator) -> np.ndarray:
    """Hair that falls behind the head, which no mesh at hand has: a streaked oval over uint8 RGB, around
    landmarks [68, 2] px; color linear [3]."""
    size = image.shape[0]
    centre = points[[0, 16, 27]].mean(0)
    half = np.linalg.norm(points[27] - points[8]) * rng.uniform(0.8, 1.15)
    top = centre + (points[27] - points[8]) * rng.uniform(0.2, 0.5)
    end = centre - (points[27] - points[8]) * rng.uniform(0.3, 1.6)
    mask = np.zeros((size, size), np.float32)
    first, last = tuple(int(v) for v in top), tuple(int(v) for v in end)
    cv2.line(mask, first, last, 1.0, max(2, int(2 * half)), cv2.LINE_AA)
    mask = cv2.GaussianBlur(mask, (0, 0), size / 100)[..., None]
    streaks = cv2.resize(rng.normal(1, 0.3, (3, size // 3)).astype(np.float32), (size, size))[..., None]
    lit = color * np.clip(streaks, 0.2, 2) * (light.sh[0] + 0.3 * light.color)
    strands = np.sqrt(np.clip(lit, 0, 1)) * 255
    return np.rint(image * (1 - mask) + strands * mask).astype(np.uint8)


def glasses(image: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws spectacles or, now and then, sunglasses over uint8 RGB at landmarks [68, 2] px."""
    out = image.copy()
    color = (rng.uniform(0, 110) * np.exp(rng.normal(0, 0.15, 3))).tolist()
    span = np.linalg.norm(points[45] - points[36])
    thick = max(1, round(span * rng.uniform(0.02, 0.07)))
    angle = np.degrees(np.arctan2(*(points[45] - points[36])[::-1]))
    dark = rng.random() < 0.2
    centres = []
    for first in (36, 42):
        eye = points[first : first + 6]
        centre = eye.mean(0)
        width = max(float(np.linalg.norm(eye[3] - eye[0])), 2.0)
        axes = (max(2, int(width * rng.uniform(0.75, 1.0))), max(2, int(width * rng.uniform(0.5, 0.85))))
        place = (int(centre[0]), int(centre[1]))
        if dark:
            lens = out.copy()
            cv2.ellipse(lens, place, axes, angle, 0, 360, [12, 12, 12], -1)
            out = cv2.addWeighted(lens, 0.85, out, 0.15, 0)
        cv2.ellipse(out, place, axes, angle, 0, 360, color, thick, cv2.LINE_AA)
        centres.append(centre)
    bridge = [tuple(int(t) for t in centres[0] * a + centres[1] * (1 - a)) for a in (0.62, 0.38)]
    cv2.line(out, bridge[0], bridge[1], color, thick, cv2.LINE_AA)
    return out


def occluder(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A blob of one colour somewhere over uint8 RGB: a hand, a microphone, another head."""
    out, size = image.copy(), image.shape[0]
    x, y = (int(v) for v in rng.integers(0, size, 2))
    axes = tuple(int(v) for v in rng.integers(max(2, size // 14), size // 3, 2))
    skin = np.array([200, 150, 125]) * rng.uniform(0.2, 1.2)
    color = skin if rng.random() < 0.5 else rng.uniform(0, 255, 3)
    paint = np.clip(color, 0, 255).tolist()
    cv2.ellipse(out, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, paint, -1, cv2.LINE_AA)
    return out


def camera(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 RGB -> uint8 RGB as a camera, a scanner or a web page would have left it."""
    size = image.shape[0]
    im = image.astype(np.float32)
    grey = im @ np.array([0.299, 0.587, 0.114], np.float32)
    if rng.random() < 0.2:
        im = np.repeat(grey[..., None], 3, 2)
    else:
        im = grey[..., None] + (im - grey[..., None]) * rng.uniform(0.4, 1.35)
        im *= np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)
    kind = rng.random()
    if kind < 0.3:
        # A small face in a big photo: log-uniform, down to about 18 px of face in a 128 px frame.
        small = int(np.exp(rng.uniform(np.log(size * 0.22), np.log(size))))
        im = cv2.resize(im, (small, small), interpolation=cv2.INTER_AREA)
        im = cv2.resize(im, (size, size), interpolation=int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC])))
    elif kind < 0.5:
        im = cv2.GaussianBlur(im, (0, 0), rng.uniform(0.3, 1.8) * size / 104)
    elif kind < 0.6:
        im += (im - cv2.GaussianBlur(im, (0, 0), size / 104)) * rng.uniform(0.3, 1.5)  # sharpened
    im = np.clip(im / 255, 0, 1)
    if rng.random() < 0.7:
        im = im ** np.float32(np.exp(rng.normal(0, 0.25)))
    if rng.random() < 0.7:
        mean = im.mean()
        im = (im - mean) * np.float32(np.exp(rng.normal(0, 0.28))) + mean + np.float32(rng.normal(0, 0.07))
    if rng.random() < 0.5:
        channels = 3 if rng.random() < 0.5 else 1
        im = im + rng.standard_normal((size, size, channels), np.float32) * np.float32(rng.uniform(0, 0.035))
    out = np.rint(np.clip(im, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.5:
        coded = cv2.imencode(".jpg", out[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 95))])[1]
        decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        assert decoded is not None  # coded a line above
        out = np.ascontiguousarray(decoded[..., ::-1])
    return out
