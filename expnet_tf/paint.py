"""The painted head: the face model as surfaces with skin, brows, lips and eyes, for pictures people look at.

Colours are plain and the same for everybody: the picture shows shape and expression, not a person's looks.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from expnet_tf.morphable import MorphableModel
from expnet_tf.render import Light, Surface, render

SKIN = (0.74, 0.61, 0.54)  # terracotta: nobody's skin in particular
COLORS = {  # sRGB by region; regions that are not named here are skin
    "lips": (0.65, 0.40, 0.38),
    "mouth interior": (0.36, 0.13, 0.14),
    "eyes": (0.93, 0.92, 0.90),
    "teeth": (0.95, 0.93, 0.87),
    "tongue": (0.74, 0.38, 0.38),
    "eyelashes": (0.24, 0.17, 0.15),
}
IRIS, PUPIL, BROW, LASH = (0.33, 0.24, 0.17), (0.05, 0.04, 0.04), (0.32, 0.24, 0.20), (0.20, 0.14, 0.12)
IRIS_ANGLE = 0.49  # rad, seen from the middle of the eyeball: 5.9 mm on 12.5 mm
BROWS, UPPER_LIDS = (range(17, 22), range(22, 27)), (range(36, 40), range(42, 46))  # iBUG points
FACE = ("skin", "lips", "eyelids", "brows", "nose", "mouth interior", "eyes", "teeth", "tongue", "eyelashes")
_TEXTURE = 1024  # px
_SPAN = 200.0  # mm of the head that the skin texture covers, projected from the front


@cache
def vertex_colors(model: MorphableModel) -> np.ndarray:
    """sRGB float [n, 3] in 0..1, a colour a vertex, for mesh files."""
    names = list(model.region_names)
    table = np.array([COLORS.get(str(name), SKIN) for name in names])
    colors = table[model.regions]
    for ball in _eyeballs(model):
        colors[ball[_off_axis(model, ball) < IRIS_ANGLE]] = IRIS
    return colors


def paint(model: MorphableModel, vertices: np.ndarray) -> list[Surface]:
    """The head as surfaces. vertices float [n, 3], mm, in camera coordinates."""
    skin, eyes, mouth, uvs = _parts(model)
    linear = vertex_colors(model) ** 2  # the renderer's light is the square of a display value
    lips = model.region(*_known(model, "lips"))[:, None]  # the texture has them
    shade = np.clip((np.abs(model.mean[:, :1]) - 10) / 14, 0, 1)  # the mouth is dark towards its corners
    inside = (1 - shade) * 0.8 * linear + shade * np.square(COLORS["mouth interior"])
    # Teeth are thin arches: their own normals would point up and down, and teeth in shadow look ill.
    to_viewer = np.broadcast_to(np.array([0, 0, 1], np.float32), vertices.shape).copy()
    return [
        Surface(vertices, skin, np.where(lips, np.square(SKIN), linear), _skin_texture(model), uvs, skin, 0.35),
        Surface(vertices, eyes, np.ones_like(linear), _eye_texture(), uvs, eyes, specular=1.5, shininess=7),
        Surface(vertices, mouth, inside, specular=0.0, normals=to_viewer, two_sided=True),
    ]


def studio() -> Light:
    """Soft light from the front, a lamp from the upper left."""
    sh = np.zeros((9, 3))
    sh[0] = (0.40, 0.41, 0.44)
    sh[1], sh[2], sh[3] = 0.10, 0.10, 0.05  # more from above, from the front, from the right
    return Light(sh, np.array([-0.45, 0.55, 0.75]), np.array([0.62, 0.60, 0.56]))


def face_alpha(
    model: MorphableModel, vertices: np.ndarray, focal: float, center: tuple[float, float], size: tuple[int, int]
) -> np.ndarray:
    """Where the face is, fading out towards scalp, ears and neck: float [h, w, 1] in 0..1, as `render` sees it."""
    weight = np.repeat(_fade(model)[:, None], 3, axis=1)
    plain = Light(np.vstack([np.ones((1, 3)), np.zeros((8, 3))]), np.array([0.0, 0.0, 1.0]), np.zeros(3))
    drawn = render([Surface(vertices, model.triangles, weight, specular=0.0)], focal, center, size, plain)
    return (drawn[..., :1].astype(np.float32) / 255) ** 2


@cache
def _fade(model: MorphableModel) -> np.ndarray:
    """float [n]: 1 in the face, 0 outside, smoothed over neighbours."""
    inside = model.region(*_known(model, *FACE))
    weight = inside.astype(np.float64)
    edges = np.concatenate([model.triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    for _ in range(6):
        sums = np.bincount(edges[:, 0], weight[edges[:, 1]], len(weight))
        counts = np.bincount(edges[:, 0], minlength=len(weight))
        weight = 0.5 * weight + 0.5 * sums / np.maximum(counts, 1)
    # Inwards only: the photo must not wear the colour of a scalp.
    return np.clip(2 * weight - 1, 0, 1) * inside


@cache
def _parts(model: MorphableModel) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Triangles of the skin, of the eyes, of teeth and tongue; and texture coordinates float [n, 2]."""
    uvs = 0.5 + model.mean[:, :2] / _SPAN
    for ball in _eyeballs(model):
        # Each eye looks through the middle of the texture; the angle off its axis is the distance from there.
        axis = _from_middle(model, ball)
        across = np.linalg.norm(axis[:, :2], axis=1, keepdims=True)
        uvs[ball] = 0.5 + _off_axis(model, ball)[:, None] * axis[:, :2] / np.maximum(across, 1e-9) / np.pi
    kinds = [
        model.region(*_known(model, *names))[model.triangles].all(axis=1) for names in (("eyes",), ("teeth", "tongue"))
    ]
    return model.triangles[~kinds[0] & ~kinds[1]], model.triangles[kinds[0]], model.triangles[kinds[1]], uvs


def _known(model: MorphableModel, *names: str) -> list[str]:
    """Those of the regions that the face model has: others than the open face may lack some."""
    return [name for name in names if name in list(model.region_names)]


def _eyeballs(model: MorphableModel) -> list[np.ndarray]:
    """Vertex ids of the two eyeballs; none for a face model without the region."""
    eyes = model.region(*_known(model, "eyes"))
    if not eyes.any():
        return []
    return [np.flatnonzero(eyes & (model.mean[:, 0] * side > 0)) for side in (-1, 1)]


def _from_middle(model: MorphableModel, ball: np.ndarray) -> np.ndarray:
    points = model.mean[ball]
    axis = points - (points.min(0) + points.max(0)) / 2
    return axis / np.linalg.norm(axis, axis=1, keepdims=True)


def _off_axis(model: MorphableModel, ball: np.ndarray) -> np.ndarray:
    """Angle, rad, between each vertex of an eyeball and straight ahead."""
    return np.arccos(np.clip(_from_middle(model, ball)[:, 2], -1, 1))


@cache
def _eye_texture() -> np.ndarray:
    """uint8 RGBA: the angle off the eye's axis grows from the middle, pi/2 at the middle of an edge."""
    size = 256
    y, x = np.mgrid[:size, :size] + 0.5
    angle = np.hypot(x - size / 2, y - size / 2) / size * np.pi
    image = np.empty((size, size, 3))
    image[:] = COLORS["eyes"]
    image *= np.clip(1.1 - 0.35 * angle[..., None] ** 2, 0.4, 1)  # the lids' shade
    for limit, color in ((IRIS_ANGLE, np.multiply(IRIS, 0.6)), (IRIS_ANGLE - 0.07, IRIS), (0.2, PUPIL)):
        inside = np.clip((limit - angle) / 0.03 + 0.5, 0, 1)[..., None]
        image = image * (1 - inside) + np.asarray(color) * inside
    return _rgba(image)


@cache
def _skin_texture(model: MorphableModel) -> np.ndarray:
    """uint8 RGBA, white but for brows and lips, whose edges the mesh is too coarse for: it tints the skin."""
    places = (model.mean[:, :2] * [1, -1] / _SPAN + 0.5) * _TEXTURE
    points = places[model.landmark_ids]
    mm = _TEXTURE / _SPAN
    image = np.ones((_TEXTURE, _TEXTURE, 3), np.float32)
    brows, lips, lashes = np.zeros((3, _TEXTURE, _TEXTURE), np.float32)
    for brow in BROWS:
        inner_to_outer = sorted(points[list(brow)].tolist(), key=lambda p: abs(p[0] - _TEXTURE / 2))
        line = np.array(inner_to_outer)
        line[0, 1] -= 4 * mm  # the landmark is the lower corner of the brow's thick end
        x = np.linspace(line[0, 0], line[-1, 0], 60)
        y = np.polyval(np.polyfit(line[:, 0], line[:, 1], 2), x)
        for along, centre in zip(np.linspace(0, 1, len(x)), np.column_stack([x, y]), strict=True):
            _disc(brows, centre, (3.6 - 2.2 * along) * mm)
    for lid in UPPER_LIDS:
        line = np.rint(points[list(lid)] * 8).astype(np.int32)
        cv2.polylines(lashes, [line], False, 1.0, round(1.6 * mm), cv2.LINE_AA, 3)
    of_lips = model.region(*_known(model, "lips"))[model.triangles].all(axis=1)
    for corners in places[model.triangles[of_lips]]:
        cv2.fillConvexPoly(lips, np.rint(corners * 8).astype(np.int32), 1.0, cv2.LINE_AA, 3)
    for mask, color, blur in ((lips, COLORS["lips"], 1.5), (brows, BROW, 1.3), (lashes, LASH, 0.5)):
        mask = cv2.GaussianBlur(mask, (0, 0), blur * mm)[..., None] * 0.9
        image = image * (1 - mask) + np.divide(color, SKIN).astype(np.float32) * mask
    return _rgba(image)


def _disc(mask: np.ndarray, centre: np.ndarray, radius: float) -> None:
    place = tuple(round(float(value) * 8) for value in centre)
    cv2.circle(mask, place, round(radius * 8), 1.0, -1, cv2.LINE_AA, 3)


def _rgba(image: np.ndarray) -> np.ndarray:
    color = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.dstack([color, np.full(color.shape[:2], 255, np.uint8)]))
