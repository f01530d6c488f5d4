"""Crops of which an expression should not be read: faces that hardly show, and pictures without a face."""

from __future__ import annotations

import cv2
import numpy as np

from expnet_tf.data.scenes.surroundings import background


def spoiled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop, uint8 RGB [S, S, 3], badly: much of it covered, a few pixels wide, moved while it was taken, or dark.

    The face in it is still there, and so its labels are true.
    """
    size = image.shape[0]
    kind = rng.integers(0, 5)
    if kind < 2:
        return _hidden(image, rng)
    if kind == 2:
        side = int(np.exp(rng.uniform(np.log(4), np.log(16))))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    if kind == 3:
        length = int(size * rng.uniform(0.08, 0.3))
        trace = np.zeros((length, length), np.float32)
        middle, angle = (length - 1) / 2, rng.uniform(0, np.pi)
        reach = np.array([np.cos(angle), np.sin(angle)]) * middle
        ends = [tuple(np.rint(middle + sign * reach).astype(int).tolist()) for sign in (-1, 1)]
        cv2.line(trace, ends[0], ends[1], 1.0)
        return cv2.filter2D(image, -1, trace / trace.sum(), borderType=cv2.BORDER_REPLICATE)
    level = image * rng.uniform(0.03, 0.2) + rng.normal(0, rng.uniform(2, 10), image.shape)
    return np.clip(np.rint(level), 0, 255).astype(np.uint8)


def _hidden(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With a third to all of the face behind something: a straight edge, or a round thing before its middle."""
    size = image.shape[0]
    ys, xs = np.mgrid[:size, :size] / size - 0.5
    if rng.random() < 0.6:
        angle = rng.uniform(0, 2 * np.pi)
        mask = xs * np.cos(angle) + ys * np.sin(angle) > rng.uniform(-0.35, 0.2)
    else:
        x, y, half = *rng.uniform(-0.15, 0.15, 2), rng.uniform(0.2, 0.5)
        mask = np.hypot(xs - x, ys - y) < half
    return np.where(mask[..., None], background(rng, size), image)


def faceless(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture uint8 RGB [S, S, 3] without a face, of the colours of a crop with one, or of none that it knows."""
    size = image.shape[0]
    kind = rng.integers(0, 5)
    if kind == 0:
        return background(rng, size)
    if kind == 1:  # its own pieces in another order, no two of them turned alike
        parts = int(rng.integers(3, 7))
        step = -(-size // parts)
        grid = cv2.resize(image, (step * parts, step * parts))
        pieces = grid.reshape(parts, step, parts, step, 3).swapaxes(1, 2).reshape(-1, step, step, 3)
        pieces = [np.rot90(pieces[i], int(rng.integers(0, 4))) for i in rng.permutation(len(pieces))]
        rows = [np.hstack(pieces[i * parts : (i + 1) * parts]) for i in range(parts)]
        return cv2.resize(np.ascontiguousarray(np.vstack(rows)), (size, size))
    if kind == 2:  # a corner, with perhaps an ear and a shoulder, filling the frame
        side = int(size * rng.uniform(0.2, 0.32))
        y, x = (int(rng.integers(0, 2)) * (size - side) for _ in range(2))
        return cv2.resize(image[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_LINEAR)
    if kind == 3:  # a piece of skin
        side = int(size * rng.uniform(0.06, 0.16))
        y, x = rng.integers(size // 4, 3 * size // 4 - side, 2)
        return cv2.resize(image[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(rng.uniform(20, 235), rng.uniform(0, 80), (size, size, rng.choice([1, 3])))
    return np.clip(np.rint(noise + np.zeros((1, 1, 3))), 0, 255).astype(np.uint8)
