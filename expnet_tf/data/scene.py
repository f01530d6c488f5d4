"""Random people and the surfaces that show them: what varies between people, and between photos of one.

Ranges and why: identity within the model's spread; skin from the CC0 textures mixed in pairs and toned from
very dark to very pale, since the textures alone are few and mostly light; brows, lashes, hair and beards in
natural colours; wrinkles that come and go with the expression, because real skin folds where the coarse mesh
does not.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from expnet_tf.data.expressions import INDEX
from expnet_tf.data.wardrobe import Part, Wardrobe, procedural_skin
from expnet_tf.morphable import MorphableModel
from expnet_tf.render import Surface

# Linear light: black ... blond, grey, red.
HAIR_COLORS = np.array([[0.010, 0.008, 0.006], [0.03, 0.015, 0.008], [0.09, 0.045, 0.02], [0.25, 0.13, 0.05],
                        [0.50, 0.35, 0.15], [0.40, 0.40, 0.40], [0.20, 0.05, 0.02]])
HAIR_CHANCE = [0.30, 0.25, 0.15, 0.08, 0.08, 0.10, 0.04]
IRIS_TONES = np.array([[0.05, 0.025, 0.012], [0.10, 0.05, 0.02], [0.15, 0.22, 0.35], [0.15, 0.22, 0.12],
                       [0.2, 0.2, 0.22]])
# Blendshapes that fold the skin in each place; see _wrinkle_masks.
FOLDS = {
    "forehead": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    "glabella": ("browDownLeft", "browDownRight"),
    "nasolabial": ("mouthSmileLeft", "mouthSmileRight", "mouthUpperUpLeft", "mouthUpperUpRight",
                   "noseSneerLeft", "noseSneerRight"),
    "crow's feet": ("cheekSquintLeft", "cheekSquintRight", "eyeSquintLeft", "eyeSquintRight"),
}


@dataclass(eq=False)
class Person:
    """One identity and its looks.

    neutral [n, 3] mm is the mean plus identity; colors [n, 3] multiply the skin's linear light.
    """

    identity: np.ndarray
    neutral: np.ndarray
    skin: np.ndarray
    colors: np.ndarray
    hair_color: np.ndarray
    wrinkles: float
    shine: float
    albedo: float  # mean linear reflectance of the face's skin
    long_hair: bool
    iris: np.ndarray | None = None
    worn: list[tuple[Part, np.ndarray, np.ndarray]] = field(default_factory=list)  # part, texture, colour
    hair: tuple[Part, np.ndarray, np.ndarray] | None = None
    teeth: Part | None = None


class Scenery:
    """Turns random numbers into people and surfaces, for one face model and, where given, one wardrobe."""

    def __init__(self, model: MorphableModel, wardrobe: Wardrobe | None = None):
        self.model, self.wardrobe = model, wardrobe
        self.mean = model.mean.astype(np.float32)
        self.identity_basis, self.expression_basis, self.gaze_basis = (
            basis.astype(np.float32).reshape(len(basis), -1)
            for basis in (model.identity_basis, model.expression_basis, model.gaze_basis)
        )
        names = list(model.region_names)
        of_triangle = model.regions[model.triangles].max(1)
        self.parts = {name: of_triangle == names.index(name) for name in ("eyes", "teeth", "tongue")}
        self.skin_triangles = ~np.any(list(self.parts.values()), axis=0)
        self.beards = _beard_zones(model)
        self.vertex_uv = np.zeros((model.n_vertices, 2), np.float32)
        self.vertex_uv[model.triangles.ravel()] = model.uvs[model.uv_triangles.ravel()]
        self.wrinkle_masks = _wrinkle_masks(self.vertex_uv[model.landmark_ids], 512)
        if wardrobe:
            self.hair = [(part, _grey(texture)) for part, texture in wardrobe.hair]
            brows = [(part, _grey(texture)) for part, texture in wardrobe.brows]
            self.brows = brows + [(part, _thick(texture)) for part, texture in brows]
            self.lashes = [(part, _grey(texture)) for part, texture in wardrobe.lashes]
            # A fringe that hides an eye is a haircut, but not every fifth one.
            covers = np.array([0.15 if part.name in ("bob02", "short03") else 1.0
                               for part, _ in self.hair])
            self.hair_chance = covers / covers.sum()
        size = wardrobe.skins[0][1].shape[0] // 8 if wardrobe else 64
        face = self.vertex_uv[model.landmark_ids[[17, 26, 48, 54]]]
        low, high = face.min(0) * size, face.max(0) * size
        self.skin_texels = np.zeros((size, size), bool)
        self.skin_texels[int(size - high[1]) : int(size - low[1]) + 1, int(low[0]) : int(high[0]) + 1] = True

    def person(self, rng: np.random.Generator) -> Person:
        """A random person."""
        model, wardrobe = self.model, self.wardrobe
        identity = np.clip(rng.normal(size=len(model.identity_basis)) * 0.9, -3, 3).astype(np.float32)
        neutral = self.mean + (identity @ self.identity_basis).reshape(-1, 3)
        hair_color = HAIR_COLORS[rng.choice(len(HAIR_COLORS), p=HAIR_CHANCE)] * rng.uniform(0.6, 1.5)
        colors = self._skin_colors(rng, hair_color)
        if wardrobe is None:
            colors *= _tone(rng, 165.0)
            return Person(identity, neutral, procedural_skin(rng), colors, hair_color, rng.uniform(0, 0.4),
                          rng.uniform(0, 0.8), self._albedo(colors, 165.0), bool(rng.random() < 0.4))
        (_, first), (_, second) = (wardrobe.skins[i] for i in rng.integers(len(wardrobe.skins), size=2))
        mix = rng.random() if rng.random() < 0.6 else 0.0
        skin = cv2.addWeighted(first, 1 - mix, second, mix, 0) if mix else first
        brightness = float(skin[::8, ::8][self.skin_texels].mean())
        colors *= _tone(rng, brightness)
        brow = self.brows[rng.integers(len(self.brows))]
        worn = [(*brow, hair_color * rng.uniform(0.4, 0.9) + 0.003)]
        if rng.random() < 0.75:
            worn.append((*self.lashes[rng.integers(len(self.lashes))], hair_color * 0.3 + 0.002))
        hair = None
        if rng.random() < 0.85:
            cut = self.hair[rng.choice(len(self.hair), p=self.hair_chance)]
            hair = (*cut, hair_color * rng.uniform(1.0, 1.6))
        return Person(identity, neutral, skin, colors, hair_color, rng.uniform(0, 0.45), rng.uniform(0, 0.9),
                      self._albedo(colors, brightness), bool(rng.random() < 0.4),
                      iris=_iris(wardrobe.irises[rng.integers(len(wardrobe.irises))], rng), worn=worn,
                      hair=hair, teeth=wardrobe.teeth[rng.integers(len(wardrobe.teeth))])

    def _albedo(self, colors: np.ndarray, brightness: float) -> float:
        forehead = colors[self.model.landmark_ids[27:31]].mean()
        return float(forehead * (brightness / 255) ** 2)

    def _skin_colors(self, rng: np.random.Generator, hair_color: np.ndarray) -> np.ndarray:
        """Linear multiplier [n, 3]: lips, mouth, beard, clothes, and for a bare model the eyes and teeth."""
        model = self.model
        colors = np.ones((model.n_vertices, 3), np.float32)
        colors[model.region("mouth interior")] *= [0.35, 0.22, 0.22]
        lips = [rng.uniform(0.75, 1.1), rng.uniform(0.45, 0.95), rng.uniform(0.5, 0.95)]
        colors[model.region("lips")] *= lips
        if self.wardrobe is None:
            colors[model.region("brows")] *= rng.uniform(0.2, 0.6)
        if rng.random() < 0.3:
            strength = rng.uniform(0.15, 0.9)
            for zone in self.beards:
                if rng.random() < 0.65:
                    colors[zone] = (1 - strength) * colors[zone] + strength * (hair_color * 1.5 + 0.02)
        collar = model.mean[:, 1] < model.mean[model.landmark_ids[8], 1] - rng.uniform(30, 75)
        colors[collar] = rng.uniform(0, 0.8, 3) ** 2
        return colors

    def vertices(self, person: Person, expression: np.ndarray, gaze: np.ndarray) -> np.ndarray:
        """float32 [n, 3] mm, head frame: person plus expression [29] plus eye turn [8]."""
        moved = expression.astype(np.float32) @ self.expression_basis
        moved = moved + gaze.astype(np.float32) @ self.gaze_basis
        return person.neutral + moved.reshape(-1, 3)

    def surfaces(self, person: Person, vertices: np.ndarray, weights: np.ndarray, rotation: np.ndarray,
                 translation: np.ndarray) -> list[Surface]:
        """The person as surfaces in camera coordinates; weights [52] fold the skin and may bare the teeth."""
        model = self.model

        def camera(points: np.ndarray) -> np.ndarray:
            return (points @ rotation.T.astype(np.float32) + translation).astype(np.float32)

        placed = camera(vertices)
        skin = self._wrinkled(person, weights)
        out = [Surface(placed, model.triangles[self.skin_triangles], person.colors, skin, model.uvs,
                       model.uv_triangles[self.skin_triangles], specular=person.shine, shininess=4)]
        if self.wardrobe is None:
            out += self._bare_parts(placed)
        else:
            wardrobe = self.wardrobe
            assert person.iris is not None  # person() saw the same wardrobe
            assert person.teeth is not None
            out.append(_dress(wardrobe.eyes, person.iris, np.ones(3), vertices, camera, specular=1.5,
                              shininess=7, transparent=True))
            if max(weights[INDEX[n]] for n in MOUTH_OPENERS) > 0.05:
                out.append(_dress(person.teeth, wardrobe.teeth_texture, np.full(3, 0.75), vertices, camera))
                part, texture = wardrobe.tongue
                out.append(_dress(part, texture, np.array([0.6, 0.45, 0.45]), vertices, camera))
            for part, texture, color in person.worn:
                out.append(_dress(part, texture, color, vertices, camera, specular=0.0, transparent=True,
                                  lift=0.4))
            if person.hair:
                # Hair does not move with the expression.
                part, texture, color = person.hair
                out.append(_dress(part, texture, color, person.neutral, camera, specular=0.15,
                                  transparent=True))
        return out

    def _bare_parts(self, placed: np.ndarray) -> list[Surface]:
        """Eyes, teeth and tongue of the face model itself, painted by vertex."""
        model = self.model
        names = list(model.region_names)
        paint = {"eyes": (0.75, 0.75, 0.72), "teeth": (0.7, 0.68, 0.6), "tongue": (0.35, 0.08, 0.08)}
        out = []
        for name, chosen in self.parts.items():
            colors = np.broadcast_to(np.array(paint[name], np.float32), placed.shape).copy()
            if name == "eyes":
                eye = model.regions == names.index("eyes")
                for side in (1, -1):
                    ball = np.flatnonzero(eye & (model.mean[:, 0] * side > 0))
                    front = model.mean[ball]
                    axis = front - front.mean(0)
                    angle = np.arccos(axis[:, 2] / np.linalg.norm(axis, axis=1))
                    colors[ball[angle < 0.55]] = (0.06, 0.035, 0.02)
            specular = 0.5 if name == "eyes" else 0.1
            out.append(Surface(placed, model.triangles[chosen], colors, specular=specular))
        return out

    def _wrinkled(self, person: Person, weights: np.ndarray) -> np.ndarray:
        """The person's skin texture with the folds that this expression makes."""
        depth = {fold: max(weights[INDEX[name]] for name in names) * person.wrinkles
                 for fold, names in FOLDS.items()}
        if max(depth.values()) < 0.05:
            return person.skin
        size = person.skin.shape[0]
        shade = sum(d * self.wrinkle_masks[fold] for fold, d in depth.items())
        if size != shade.shape[0]:
            shade = cv2.resize(shade, (size, size), interpolation=cv2.INTER_AREA)
        rows = np.flatnonzero(shade.max(1) > 0.01)
        skin = person.skin.copy()
        band = slice(rows[0], rows[-1] + 1)
        skin[band, :, :3] = skin[band, :, :3] * (1 - np.minimum(shade[band], 0.6))[..., None]
        return skin


MOUTH_OPENERS = ("jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft",
                 "mouthLowerDownRight", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft",
                 "mouthStretchRight", "mouthFunnel", "mouthFrownLeft", "mouthFrownRight", "noseSneerLeft",
                 "noseSneerRight", "mouthShrugUpper")


def _dress(part: Part, texture: np.ndarray, color: np.ndarray, vertices: np.ndarray, camera,
           lift: float = 0.0, **material) -> Surface:
    """A fitted part as a surface; lift (mm towards the camera) keeps cards on the skin from sinking in."""
    placed = camera(part.fit(vertices))
    if lift:
        placed = placed * (1 - lift / np.linalg.norm(placed, axis=1, keepdims=True))
    colors = np.broadcast_to(np.asarray(color, np.float32), placed.shape)
    return Surface(placed, part.triangles, colors, texture, part.uvs, part.uv_triangles, two_sided=True,
                   **material)


def _tone(rng: np.random.Generator, brightness: float) -> np.ndarray:
    """A skin tone as a linear multiplier [3]; darker skin is redder, since melanin takes blue first."""
    light = np.exp(rng.normal(0.05, 0.25))
    if brightness > 110 and rng.random() < 0.45:
        light *= np.exp(rng.uniform(np.log(0.12), np.log(0.75)))
    tint = np.exp(rng.normal(0, 0.08, 3))
    return light * tint * np.minimum(light, 1.0) ** np.array([-0.12, 0.0, 0.15])


def _grey(texture: np.ndarray) -> np.ndarray:
    """Hair texture without its colour, its mean (where opaque) mid-grey, for a vertex colour to colour it."""
    luma = texture[..., :3] @ np.array([0.3, 0.59, 0.11])
    opaque = texture[..., 3] > 64
    mean = luma[opaque].mean() if opaque.any() else 1.0
    grey = np.clip(luma * (200.0 / max(mean, 1.0)), 30, 255)
    rgba = np.dstack([np.repeat(grey[..., None], 3, 2), texture[..., 3]])
    return np.ascontiguousarray(rgba.astype(np.uint8))


def _thick(texture: np.ndarray) -> np.ndarray:
    """Bushy brows: the CC0 ones are fine lines, which vanish at the size a network sees."""
    return np.ascontiguousarray(cv2.dilate(texture, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 21))))


def _iris(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Most eyes of the world are brown, the CC0 textures mostly not: recolours the iris, keeps the white."""
    rgb = texture[..., :3].astype(np.float32) / 255
    colored = np.clip((rgb.max(2) - rgb.min(2)) * 5 - 0.3, 0, 1)[..., None]
    tone = IRIS_TONES[rng.choice(len(IRIS_TONES), p=[0.45, 0.2, 0.15, 0.1, 0.1])]
    luma = (rgb**2).mean(2, keepdims=True)
    iris = np.sqrt(np.clip(luma / 0.12 * tone * rng.uniform(0.7, 1.4), 0, 1))
    white = rgb * rng.uniform(0.6, 0.92)
    out = np.rint((colored * iris + (1 - colored) * white) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.dstack([out, texture[..., 3]]))


def _beard_zones(model: MorphableModel) -> list[np.ndarray]:
    """bool [n] masks: moustache, chin, jaw, on the mean face."""
    v, points = model.mean, model.mean[model.landmark_ids]
    skin = model.region("skin") | model.region("scalp and neck")
    half = np.abs(points[54, 0] - points[48, 0])
    x, y, z = np.abs(v[:, 0]), v[:, 1], v[:, 2]
    moustache = skin & (y < points[33, 1] - 1) & (y > points[48, 1] - 2)
    moustache &= (x < 0.62 * half) & (z > points[48, 2] - 8)
    chin = skin & (y < points[57, 1] - 2) & (y > points[8, 1] - 20)
    chin &= (x < 0.6 * half) & (z > points[8, 2] - 45)
    rise = np.clip((x - 0.6 * half) / (np.abs(points[3, 0]) - 0.6 * half), 0, 1)
    edge = points[2, 1] - (1 - rise) * (points[2, 1] - points[48, 1]) * 1.1
    jaw = skin & (x > 0.5 * half) & (y < edge) & (y > points[8, 1] - 25) & (z > points[2, 2] - 10)
    return [moustache, chin, jaw]


def _wrinkle_masks(uv: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """float32 [size, size] in [0, 1] by fold, drawn in texture space from the 68 landmarks' uv [68, 2]."""
    p = np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size], 1)
    span = np.linalg.norm(p[45] - p[36])
    up = (p[27] - p[8]) / np.linalg.norm(p[27] - p[8])
    lines: dict[str, list[np.ndarray]] = {fold: [] for fold in FOLDS}
    for height in (0.22, 0.36, 0.5):
        lines["forehead"].append(p[[18, 19, 20, 23, 24, 25]] + up * span * height)
    for side, brow in ((21, 22), (22, 21)):
        foot = 0.72 * p[side] + 0.28 * p[brow]
        lines["glabella"].append(np.array([foot - up * span * 0.08, foot + up * span * 0.14]))
    for ala, corner, jaw in ((31, 48, 4), (35, 54, 12)):
        out = (p[jaw] - p[corner]) / np.linalg.norm(p[jaw] - p[corner])
        beside = p[corner] + out * span * 0.16
        lines["nasolabial"].append(np.array([p[ala] + up * span * 0.05 + out * span * 0.04,
                                             0.5 * (p[ala] + beside) + out * span * 0.07, beside,
                                             beside - up * span * 0.1]))
    for corner, inner in ((36, 39), (45, 42)):
        out = (p[corner] - p[inner]) / np.linalg.norm(p[corner] - p[inner])
        for tilt in (-0.5, 0.0, 0.5):
            start = p[corner] + out * span * 0.07
            lines["crow's feet"].append(np.array([start, start + (out + tilt * up) * span * 0.14]))
    masks = {}
    for fold, strokes in lines.items():
        canvas = np.zeros((size, size), np.float32)
        for stroke in strokes:
            cv2.polylines(canvas, [np.rint(stroke * 16).astype(np.int32)], False, 1.0, 2, cv2.LINE_AA, 4)
        canvas = cv2.GaussianBlur(canvas, (0, 0), 1.6)
        masks[fold] = canvas / max(canvas.max(), 1e-6)
    return masks
