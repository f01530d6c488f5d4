"""Random changes of a crop that leave its labels true: tone, colour, sharpness, something held before the face.

The renderer has its own lights, cameras and hands; these come anew each time an image is seen, and reach further, so
that a network does not learn what renders have in common.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Looks:
    """Spreads and chances of the changes."""

    gamma: float = 0.18  # of the logarithm of the tone curve's exponent
    contrast: float = 0.18  # of its logarithm, about the mean
    lift: float = 12.0  # grey levels
    tint: float = 0.05  # of the logarithm of each channel's gain
    grey: float = 0.08  # chance of no colour at all
    soft: float = 0.25  # chance of a loss of resolution
    softest: float = 0.2  # share of the pixels a side that are left then, at least
    noise: float = 0.2  # chance of noise, up to 8 grey levels
    cover: float = 0.12  # chance that something covers a part


def changed(image: np.ndarray, looks: Looks, rng: np.random.Generator) -> np.ndarray:
    """The crop, uint8 RGB [S, S, 3], with other looks."""
    size = image.shape[0]
    if rng.random() < looks.cover:
        image = _covered(image, rng)
    if rng.random() < looks.soft:
        side = round(size * np.exp(rng.uniform(np.log(looks.softest), 0)))
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (size, size), interpolation=rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    if rng.random() < looks.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < looks.noise:
        # Half in colour, half in brightness, as sensors and their denoisers leave it.
        noise = rng.standard_normal((size, size, 3 if rng.random() < 0.5 else 1), np.float32) * rng.uniform(1, 8)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return cv2.LUT(np.ascontiguousarray(image), _curves(float(image.mean()), looks, rng))


def _curves(mean: float, looks: Looks, rng: np.random.Generator) -> np.ndarray:
    """A table uint8 [1, 256, 3]: what each grey level of each channel becomes."""
    level = np.arange(256.0)[:, None] / 255
    level = level ** np.exp(rng.normal(0, looks.gamma))
    level = level * np.exp(rng.normal(0, looks.tint, 3))
    middle = (mean / 255) * 0.5 + 0.25
    level = middle + (level - middle) * np.exp(rng.normal(0, looks.contrast)) + rng.normal(0, looks.lift) / 255
    return np.clip(np.rint(level * 255), 0, 255).astype(np.uint8)[None]


def _covered(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop with an ellipse or a box before it, a quarter of its side wide, more or less."""
    size = image.shape[0]
    centre = rng.uniform(0.1, 0.9, 2) * size
    half = np.exp(rng.normal(np.log(0.13), 0.35, 2)) * size
    mask = np.zeros((size, size), np.uint8)
    if rng.random() < 0.5:
        outline = (tuple(map(float, centre)), tuple(map(float, 2 * half)), float(rng.uniform(0, 180)))
        cv2.ellipse(mask, outline, 255, -1, cv2.LINE_AA)
    else:
        corners = [np.rint(centre + sign * half).astype(int).tolist() for sign in (-1, 1)]
        cv2.rectangle(mask, corners[0], corners[1], 255, -1)
    share = mask[..., None].astype(np.float32) / 255
    # Its own pixels upside down: skin, hair and background of the right light, and no face where one is expected.
    return np.rint(image * (1 - share) + image[::-1, ::-1] * share).astype(np.uint8)
