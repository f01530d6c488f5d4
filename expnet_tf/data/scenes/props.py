"""What people wear and what no asset folder holds: clothes, long hair, glasses, hats; simple shapes in the head frame.

All are swept grids of a few hundred triangles. They exist so that a network meets necklines, fringes of hats and
rims of glasses in every pose, and does not take the edge of the mesh for a face.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from expnet_tf.texture import Texture

NECK = np.array([0.0, -100.0, -72.0])  # mm: the middle of the neck, on which the head turns above the clothes
CUT = -101.0  # mm: triangles of the mean head that reach below this lie under the clothes


@dataclass(frozen=True, eq=False)
class Prop:
    """A grid of vertices float32 [n, 3] mm in the head frame; on_body: it stays behind when the head turns."""

    vertices: np.ndarray
    triangles: np.ndarray
    uvs: np.ndarray
    texture: Texture
    color: np.ndarray
    material: dict = field(default_factory=dict)
    on_body: bool = False
    casts: bool = False


def _grid(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points [r, s, 3], rows from the top, columns to the person's left -> vertices, triangles, uvs."""
    r, s = points.shape[:2]
    ids = np.arange(r * s).reshape(r, s)
    a, b, c, d = ids[1:, :-1].ravel(), ids[1:, 1:].ravel(), ids[:-1, 1:].ravel(), ids[:-1, :-1].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    v, u = np.mgrid[1 : 0 : r * 1j, 0 : 1 : s * 1j]
    uvs = np.stack([u, v], -1).reshape(-1, 2).astype(np.float32)
    return points.reshape(-1, 3).astype(np.float32), triangles, uvs


def _plain(color) -> Texture:
    return Texture.of(np.full((1, 1, 4), (*color, 255), np.uint8))


WHITE = _plain((255, 255, 255))


def _dye(rng: np.random.Generator) -> np.ndarray:
    """A cloth's colour, linear light [3]: mostly dark, grey or muted, now and then bright."""
    value = rng.uniform(0.1, 0.95)
    strength = rng.uniform(0, 0.25) if rng.random() < 0.65 else rng.uniform(0.25, 0.9)
    hue = rng.uniform(0, 2 * np.pi) + np.array([0, 2.1, 4.2])
    return (value * (1 - strength * (0.5 - 0.5 * np.cos(hue)))) ** 2 * 0.85


def clothes(rng: np.random.Generator, skin: np.ndarray, neck: np.ndarray) -> Prop:
    """Shoulders in a shirt, a suit, a pullover or next to nothing. skin: linear colour [3] of a
    bare chest; neck: its vertices [k, 3] mm, where the collar lies."""
    heights = np.array([-84.0, -97, -114, -134, -158, -200, -260, -360])
    across = np.array([62.0, 68, 84, 116, 165, 205, 220, 225])
    deep = np.array([66.0, 71, 77, 84, 92, 100, 108, 112])
    # The collar goes round the person's own neck.
    across[:2] = np.abs(neck[:, 0]).max() + [5, 9]
    back, front = neck[:, 2].min(), neck[:, 2].max()
    deep[:2] = (front - back) / 2 + [6, 10]
    middle = np.full(len(heights), NECK[2])
    middle[:2] = (front + back) / 2
    across[2:] = np.maximum(across[2:] * rng.uniform(0.92, 1.12), across[1] + 10)
    deep[2:] = np.maximum(deep[2:], deep[1] + 4)
    kind = rng.random()
    if 0.3 <= kind < 0.75:  # a bare chest has no rim
        across[0], deep[0] = 0.75 * across[0], 0.75 * deep[0]
    angle = np.linspace(-np.pi, np.pi, 33)
    points = np.empty((len(heights), 33, 3))
    points[..., 0] = np.sin(angle) * across[:, None]
    points[..., 1] = heights[:, None] - 10 * np.cos(angle) * (across[:, None] > 70)
    points[..., 2] = middle[:, None] + np.cos(angle) * deep[:, None]
    size = 128
    y, x = np.mgrid[:size, :size] / size
    front = np.abs(x - 0.5)
    cloth = np.sqrt(_dye(rng)) * 255
    image = np.broadcast_to(cloth, (size, size, 3)).astype(np.float32).copy()
    pattern = rng.random()
    if pattern < 0.15:
        image[(x * rng.integers(20, 60)).astype(int) % 2 == 0] *= rng.uniform(0.6, 0.95)
    elif pattern < 0.25:
        image[(y * rng.integers(12, 30)).astype(int) % 2 == 0] = np.sqrt(_dye(rng)) * 255
    bare = np.sqrt(np.clip(skin, 0, 1)) * 255
    if kind < 0.3:  # a suit: a white wedge with a tie
        wedge = front < 0.11 * (1.25 - y * rng.uniform(1.3, 1.8))
        image[wedge] = np.sqrt(_dye(rng) * 0.3 + 0.6) * 255
        if rng.random() < 0.8:
            image[(front < 0.018 + 0.012 * y) & (y > 0.14)] = np.sqrt(_dye(rng)) * 255
    elif kind < 0.75:  # an open collar or a low neckline
        image[(y < rng.uniform(0.1, 0.5) * (1 - front / rng.uniform(0.08, 0.3)))] = bare
        image[y < 0.16] = bare  # the first ring
    image += cv2.resize(rng.normal(0, 9, (32, 32)).astype(np.float32), (size, size))[..., None]
    texture = Texture.of(np.dstack([np.clip(image, 0, 255), np.full((size, size), 255)]).astype(np.uint8))
    return Prop(*_grid(points), texture, np.ones(3), {"specular": 0.05}, on_body=True)


def long_hair(rng: np.random.Generator, color: np.ndarray) -> Prop:
    """Hair that falls behind the ears to the shoulders, which no mesh at hand has."""
    opening = rng.uniform(1.35, 1.9)  # rad from the front to where it begins
    angle = np.linspace(opening, 2 * np.pi - opening, 29)
    heights = np.linspace(rng.uniform(70, 105), rng.uniform(-170, -40), 9)
    fall = np.linspace(0, 1, 9)[:, None]
    wide = rng.uniform(78, 98)
    radius = wide * (0.6 + 0.45 * np.sin(np.pi * 0.75 * fall**0.8)) * (1 + rng.normal(0, 0.02, (9, 29)))
    points = np.empty((9, 29, 3))
    points[..., 0] = -np.sin(angle) * radius
    points[..., 1] = heights[:, None]
    points[..., 2] = -62 + np.cos(angle) * radius * 1.12 + 10 * fall
    size = 128
    streaks = rng.normal(0, 1, (4, size)).astype(np.float32)
    fine = cv2.resize(streaks, (size, size), interpolation=cv2.INTER_LINEAR)
    coarse = cv2.resize(rng.normal(0, 1, (3, 24)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    luma = np.clip(170 + 45 * fine + 40 * coarse, 20, 255)
    y, x = np.mgrid[:size, :size] / size
    alpha = np.clip((1 - y) * 8 + 0.8 * fine, 0, 1) * np.clip(np.minimum(x, 1 - x) * 25 + fine * 0.4 + 0.6, 0, 1)
    texture = Texture.of(np.dstack([luma] * 3 + [alpha * 255]).astype(np.uint8))
    return Prop(*_grid(points), texture, color, {"specular": 0.15, "transparent": True}, casts=True)


def glasses(rng: np.random.Generator, points: np.ndarray) -> list[Prop]:
    """Spectacles, now and then dark ones, before the eyes of landmarks float [68, 3] mm."""
    eyes = [points[36:42].mean(0), points[42:48].mean(0)]
    wide, tall = rng.uniform(20, 27.5), rng.uniform(12, 24)
    wide = max(wide, tall * 0.95)
    power = rng.choice([2.0, 2.6, 4.0])  # round to square
    thick = rng.uniform(0.6, 1.2) if rng.random() < 0.5 else rng.uniform(1.2, 4.5)
    frame = _dye(rng) if rng.random() < 0.3 else np.full(3, rng.uniform(0.0, 0.15))
    dark = rng.random() < 0.28
    front = max(points[17:28, 2].max(), eyes[0][2]) + rng.uniform(2, 7)
    angle = np.linspace(0, 2 * np.pi, 33)
    curve = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power), \
        np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / power)
    low = rng.uniform(-5, 1)
    rimless = not dark and rng.random() < 0.12
    out: list[Prop] = []
    shine = {"specular": 0.6, "shininess": 5, "two_sided": True}
    lens = _lens(rng, dark)
    ends = []
    for eye, away in zip(eyes, (-1, 1), strict=True):
        centre = np.array([0.55 * eye[0] + 0.45 * away * (wide + 9), eye[1] + low, front])

        def outline(grow: float, z: float, centre=centre, away=away) -> np.ndarray:
            x, y = curve[0] * (wide + grow), curve[1] * (tall + grow)
            bend = -((np.abs(centre[0] + x) / 70) ** 2) * 9  # frames curve round the face
            return np.stack([centre[0] + x, centre[1] + y, centre[2] + z + bend - 0.06 * y], 1)

        if not rimless:
            ring = np.stack([outline(0, -1.5), outline(0, 1.0), outline(thick, 1.0), outline(thick, -2.5)])
            out.append(Prop(*_grid(ring), WHITE, frame, shine, casts=thick > 2))
        disc = np.stack([outline(0, 0), outline(-wide * 0.5, 0.5), np.tile(outline(0, 0.8).mean(0), (33, 1))])
        disc[1] = 0.5 * (disc[0] + disc[2])
        vertices, triangles, _ = _grid(disc)
        uvs = 0.5 + (vertices[:, :2] - centre[:2]) / (2 * max(wide, tall))
        out.append(Prop(vertices, triangles, uvs.astype(np.float32), lens, np.ones(3),
                        {"specular": 2.0 if rng.random() < 0.5 else 0.6, "shininess": 5, "transparent": True},
                        casts=dark))
        edge = centre + [away * (wide + thick), tall * rng.uniform(0.1, 0.5), 0]
        edge[2] -= (abs(edge[0]) / 70) ** 2 * 9
        ear = np.array([away * 72.0, edge[1] + 3, -62.0])
        half = np.array([0, max(thick, 1.0) * 0.8, 0])
        out.append(Prop(*_grid(np.stack([[edge + half, ear + half], [edge - half, ear - half]])), WHITE, frame, shine))
        ends.append(centre - [away * wide, -tall * 0.25, 0])
    half = np.array([0, max(thick, 1.0) * 0.7, 0])
    lift = np.array([0, 1.5, 1.5])
    middle = 0.5 * (ends[0] + ends[1]) + lift
    strip = np.stack([[ends[0] + half, middle + half, ends[1] + half], [ends[0] - half, middle - half, ends[1] - half]])
    out.append(Prop(*_grid(strip), WHITE, frame, shine))
    return out


def _lens(rng: np.random.Generator, dark: bool) -> Texture:
    """Tinted glass with a gradient, and what it mirrors: a soft band of sky or a lamp."""
    size = 32
    y, x = np.mgrid[:size, :size] / size
    slant = rng.normal(0, 0.5)
    band = np.exp(-(((y - rng.uniform(0.1, 0.9) + slant * (x - 0.5)) / rng.uniform(0.05, 0.25)) ** 2))
    mirror = band * (rng.uniform(0, 0.5 if dark else 0.3) if rng.random() < 0.35 else rng.uniform(0, 0.06))
    if dark:
        alpha = np.clip(rng.uniform(0.75, 0.99) - rng.uniform(0, 0.3) * y, 0, 1)
        color = np.full(3, rng.uniform(5, 40)) * np.exp(rng.normal(0, 0.2, 3))
    else:
        alpha, color = np.full((size, size), rng.uniform(0.0, 0.08)), np.full(3, 150.0)
    whole = alpha + mirror * (1 - alpha)
    image = (color * (alpha * (1 - mirror))[..., None] + 235 * mirror[..., None]) / np.maximum(whole, 1e-6)[..., None]
    return Texture.of(np.dstack([np.clip(image, 0, 255), whole * 255]).astype(np.uint8))


def hat(rng: np.random.Generator) -> tuple[list[Prop], bool]:
    """A headband, cap, woolly hat or hood; and whether hair still shows above it."""
    kind = rng.choice(["band", "cap", "wool", "hood"], p=[0.2, 0.4, 0.22, 0.18])
    dye = _dye(rng)
    weave = np.clip(215 + cv2.resize(rng.normal(0, 14, (48, 48)).astype(np.float32), (64, 64)), 0, 255)
    texture = Texture.of(np.dstack([weave] * 3 + [np.full((64, 64), 255.0)]).astype(np.uint8))
    cloth = {"specular": 0.05, "two_sided": True}
    if kind == "hood":
        angle = np.linspace(-np.pi, np.pi, 33)
        rings = []
        edge = rng.uniform(0.86, 1.0)
        for grow, z in ((edge, 4.0), (1.1, -2.0), (1.3, -40.0), (1.38, -95.0), (1.0, -165.0), (0.2, -185)):
            drop = np.where(np.cos(angle) < 0, 1.15, 1.0)  # further down than up
            rings.append(np.stack([np.sin(angle) * 72 * grow, 12 + np.cos(angle) * 92 * grow * drop,
                                   np.full(33, z) - 28 * np.sin(angle) ** 2], 1))
        return [Prop(*_grid(np.stack(rings)), texture, dye, cloth, casts=True)], False
    angle = np.linspace(-np.pi, np.pi, 33)
    brim, tilt = rng.uniform(66, 88), rng.uniform(-0.12, 0.2)
    top = 146.0 if kind != "band" else brim + rng.uniform(12, 28)
    rows = np.linspace(0, 1, 7)[::-1, None]
    height = brim + (top - brim) * np.sin(rows * np.pi / 2 if kind != "band" else rows)
    shrink = np.cos(rows * np.pi / 2 * 0.98) if kind != "band" else 1 - 0.06 * rows
    points = np.empty((7, 33, 3))
    grow = 1.12 if kind == "wool" else 1.07
    points[..., 0] = np.sin(angle) * 71 * grow * shrink
    points[..., 2] = -60 + np.cos(angle) * 96 * grow * shrink
    points[..., 1] = height + tilt * (points[..., 2] + 60) - (10 if kind == "wool" else 0)
    out = [Prop(*_grid(points), texture, dye, cloth, casts=True)]
    if kind == "cap":
        reach = rng.uniform(45, 75)
        side = np.linspace(-1.1, 1.1, 17)
        rows = np.linspace(0, 1, 4)[:, None]
        peak = np.empty((4, 17, 3))
        peak[..., 0] = np.sin(side) * (71 * grow + 4 * rows)
        peak[..., 2] = -60 + np.cos(side) * 96 * grow + reach * rows * np.cos(side) ** 0.5
        peak[..., 1] = brim + tilt * (peak[..., 2] + 60) - 14 * rows - 10 * np.abs(np.sin(side)) * rows + 3
        out.append(Prop(*_grid(peak), texture, dye * rng.uniform(0.5, 1.2), cloth, casts=True))
    return out, kind in ("band", "cap")
