"""One labelled photo of a rendered person: pose, camera, light and framing drawn at random, then pixels."""

from dataclasses import dataclass

import cv2
import numpy as np

from expnet_tf.camera import project, rotation_matrix, rotation_vector
from expnet_tf.data.expressions import GAZE, training_weights
from expnet_tf.data.scenes import photo, surroundings
from expnet_tf.data.scenes.scene import Person, Scenery
from expnet_tf.render import Light, over, render

FRAME = 1.6
"""Image side over face box side: loose framing, like CASIA's, which leaves room for any crop up to that."""


@dataclass(frozen=True)
class Shot:
    """One image and its true labels (terms, units and frames as in the label files, see labels.py)."""

    image: np.ndarray  # uint8 RGB [S, S, 3]
    expression: np.ndarray  # [29] sigma units
    pose: np.ndarray  # [6]
    camera: np.ndarray  # [3] focal, cx, cy in px of the image
    box: np.ndarray  # [4] x, y, w, h in px
    points: np.ndarray  # [68, 2] px


def head_turn(rng: np.random.Generator) -> np.ndarray:
    """Rotation matrix [3, 3]: mostly near frontal, one in seven anywhere up to a full profile."""
    yaw = rng.uniform(-1.57, 1.57) if rng.random() < 0.15 else np.clip(rng.normal(0, 0.33), -1.2, 1.2)
    pitch, roll = np.clip(rng.normal(0.02, 0.17), -0.6, 0.6), np.clip(rng.normal(0, 0.12), -0.6, 0.6)
    return rotation_matrix([0, 0, roll]) @ rotation_matrix([pitch, 0, 0]) @ rotation_matrix([0, yaw, 0])


def eye_turn(rng: np.random.Generator) -> np.ndarray:
    """Weights [8] of the eyeLook* blendshapes, both eyes together."""
    weights = np.zeros(len(GAZE))
    if rng.random() < 0.6:
        across, up = rng.normal(0, 0.35), rng.normal(0, 0.25)
        for i, name in enumerate(GAZE):
            if "Down" in name or "Up" in name:
                weights[i] = max(0.0, up if "Up" in name else -up)
            else:
                towards = 1 if name in ("eyeLookInLeft", "eyeLookOutRight") else -1
                weights[i] = max(0.0, across * towards)
    return np.clip(weights, 0, 1)


def lighting(rng: np.random.Generator) -> Light:
    """Soft ambient light with a gradient, and one lamp anywhere in the front half space."""
    sh = np.zeros((9, 3))
    sh[0] = rng.uniform(0.2, 0.65) * _tinted(rng)
    sh[1:4] = rng.normal(0, 0.12, (3, 1)) + rng.normal(0, 0.015, (3, 3))
    sh[1] += 0.06 * sh[0]  # the sky is above, more often than not
    sh[4:] = rng.normal(0, 0.04, (5, 1))
    azimuth, height = rng.uniform(-1.6, 1.6), rng.normal(0.5, 0.5)
    direction = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    return Light(sh, direction, rng.uniform(0.1, 1.1) * _tinted(rng))


def _tinted(rng: np.random.Generator) -> np.ndarray:
    """A lamp's colour [3]: from candle light to blue sky, hardly ever green or violet."""
    warm = rng.normal(0, 0.06)
    return np.exp(np.array([warm, rng.normal(0, 0.02), -warm]))


def exposed(light: Light, albedo: float, rng: np.random.Generator) -> Light:
    """The same light at the exposure a camera would choose, roughly, for a face of this mean linear albedo."""
    bright = albedo * (light.sh[0].mean() + 0.4 * light.color.mean())
    target = rng.uniform(0.46, 0.76) ** 2 * (albedo / 0.35) ** 0.42
    gain = (target / bright) ** 0.85
    return Light(light.sh * gain, light.direction, light.color * gain)


def take(rng: np.random.Generator, scenery: Scenery, person: Person, size: int, box_ids: np.ndarray) -> Shot:
    """One photo of size x size px."""
    model = scenery.model
    weights = training_weights(rng)
    expression = np.clip(weights @ model.blendshapes_to_expression, -3, 3).astype(np.float32)
    vertices = scenery.vertices(person, expression, eye_turn(rng))
    rotation = head_turn(rng)
    distance = np.exp(rng.uniform(np.log(500), np.log(2000)))

    # The focal length makes the face box 1 / FRAME of the image; the translation puts it near the middle.
    turned = vertices[box_ids] @ rotation.T
    translation = np.array([0.0, 0.0, -distance]) - turned.mean(0)
    seen = (turned + translation)[:, :2] / -(turned + translation)[:, 2:]
    low, high = seen.min(0), seen.max(0)
    side = size / FRAME * np.exp(rng.normal(0, 0.05))
    focal = side / (high - low).max()
    offset = rng.normal(0, 0.02 * size, 2) * [1, -1] - (low + high) / 2 * focal
    translation[:2] += offset * distance / focal
    pose = np.concatenate([rotation_vector(rotation), translation])
    center = np.full(2, size / 2)
    points = project(vertices[model.landmark_ids], pose, focal, center)
    outline = project(vertices[box_ids], pose, focal, center)
    low, high = outline.min(0), outline.max(0)

    side = photo.resolution(rng, size)
    # A small picture is rendered small, but not so small that single samples show.
    made = size if side > 0.7 * size else max(side, size // 2)
    ratio = made / size
    light = exposed(lighting(rng), person.albedo, rng)
    surfaces = scenery.surfaces(person, vertices, weights, rotation, translation, light, ratio * focal / distance)
    drawn = render(surfaces, focal * ratio, center * ratio, (made, made), light)
    image = over(drawn, surroundings.background(rng, made))
    if rng.random() < 0.1:
        image = surroundings.occluder(image, points * ratio, rng)
    image = photo.camera(image, side, size, rng)
    camera = np.array([focal, *center])
    return Shot(image, expression, pose, camera, np.concatenate([low, high - low]), points)


def contact_sheet(images: list[np.ndarray], columns: int = 12) -> np.ndarray:
    """uint8 RGB images of one size -> one uint8 RGB picture, rows of `columns`."""
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    blank = np.zeros_like(images[0])
    return cv2.vconcat([cv2.hconcat(row + [blank] * (columns - len(row))) for row in rows])
