"""Random people and the surfaces that show them: what varies between people, and between photos of one.

Ranges and reasons are in docs/synthetic.md. A person is drawn once; each photo then moves the face, folds its skin
and finds what the lamp and the sky reach.
"""

from dataclasses import dataclass, field

import numpy as np

from expnet_tf.data.expressions import INDEX
from expnet_tf.data.scenes import props
from expnet_tf.data.scenes.atlas import atlas_uvs, bake, source_map
from expnet_tf.data.scenes.exact import combined, mixed, moved_by
from expnet_tf.data.scenes.looks import HAIR_CHANCE, HAIR_COLORS, Irises, mouth_colors, thickened
from expnet_tf.data.scenes.props import Prop
from expnet_tf.data.scenes.resting import Resting
from expnet_tf.data.scenes.shadow import Shadow, openness
from expnet_tf.data.scenes.skin import Complexion, Skins, tone
from expnet_tf.data.scenes.wardrobe import Part, Wardrobe, grey, procedural_skin
from expnet_tf.morphable import MorphableModel
from expnet_tf.render import Light, Surface
from expnet_tf.texture import Texture

MOUTH_OPENERS = ("jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft",
                 "mouthLowerDownRight", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft",
                 "mouthStretchRight", "mouthFunnel", "mouthFrownLeft", "mouthFrownRight", "noseSneerLeft",
                 "noseSneerRight", "mouthShrugUpper")
# mm that something must be nearer the lamp to shade a vertex. Cards and cloth lie so close that they would shade
# themselves; light falls through lips.
SKIN_BIAS, CARD_BIAS, TEETH_BIAS = 4.0, 9.0, 20.0


@dataclass(eq=False)
class Worn:
    """A fitted part with its looks."""

    part: Part
    texture: Texture
    color: np.ndarray
    shift: np.ndarray | None = None  # float32 [k, 3] mm, where it does not sit as MakeHuman fitted it

    def fit(self, vertices: np.ndarray) -> np.ndarray:
        placed = self.part.fit(vertices)
        return placed if self.shift is None else placed + self.shift


@dataclass(eq=False)
class Person:
    """One identity and its looks.

    neutral float32 [n, 3] mm is the mean plus identity; colors [n, 3] multiply the skin's linear light.
    """

    identity: np.ndarray
    neutral: np.ndarray
    skin: Texture
    complexion: Complexion
    colors: np.ndarray
    shine: float
    albedo: float  # mean linear reflectance of the face's skin
    props: list[Prop]
    iris: Texture | None = None
    on_skin: list[Worn] = field(default_factory=list)  # brows and lashes
    hair: Worn | None = None
    teeth: Part | None = None
    teeth_color: np.ndarray = field(default_factory=lambda: np.full(3, 0.6))
    teeth_shift: np.ndarray | None = None  # float32 [1, 3] mm


class Scenery:
    """Turns random numbers into people and surfaces, for one face model and, where given, one wardrobe."""

    def __init__(self, model: MorphableModel, wardrobe: Wardrobe | None = None):
        self.model, self.wardrobe = model, wardrobe
        self.mean = model.mean.astype(np.float32)
        self.identity_basis, self.expression_basis, self.gaze_basis = (
            np.ascontiguousarray(basis.astype(np.float32).reshape(len(basis), -1))
            for basis in (model.identity_basis, model.expression_basis, model.gaze_basis)
        )
        self.resting = Resting(model)
        self.uvs = atlas_uvs(model)
        self.skins = Skins(self.uvs[model.landmark_ids].astype(np.float64))
        names = list(model.region_names)
        of_triangle = model.regions[model.triangles].max(1)
        self.parts = {name: np.ascontiguousarray(model.triangles[of_triangle == names.index(name)])
                      for name in ("eyes", "teeth", "tongue")}
        inner = np.isin(of_triangle, [names.index(name) for name in self.parts])
        neck = model.region("scalp and neck", "skin") & (np.abs(model.mean[:, 1] + 91) < 12) & (model.mean[:, 2] < 0)
        self.neck_ids = np.flatnonzero(neck)
        under_clothes = model.mean[model.triangles, 1].min(1) < props.CUT
        self.skin_triangles = np.ascontiguousarray(model.triangles[~inner & ~under_clothes])
        head = Surface(self.mean, self.skin_triangles)
        shown = [head]
        if wardrobe:
            source = source_map(model, self.uvs)
            self.bases = [bake(source, wardrobe.skin(i)) for i in range(len(wardrobe.skins))]
            self.hair = [(part, Texture.of(grey(texture))) for part, texture in wardrobe.hair]
            brows = [(part, grey(texture)) for part, texture in wardrobe.brows]
            self.brows = [(part, Texture.of(t)) for part, t in brows + [(part, thickened(t)) for part, t in brows]]
            self.lashes = [(part, Texture.of(grey(texture))) for part, texture in wardrobe.lashes]
            self.irises = Irises(wardrobe.irises)
            self.teeth_texture, self.tongue_texture = Texture.of(wardrobe.teeth_texture), Texture.of(wardrobe.tongue[1])
            # A fringe that hides an eye is a haircut, but not every third one.
            covers = np.array([0.05 if part.name in ("bob02", "short03") else 1.0 for part, _ in self.hair])
            self.hair_chance = covers / covers.sum()
            shown.append(Surface(wardrobe.eyes.fit(self.mean), wardrobe.eyes.triangles))
        sky = openness(shown, [head], self.mean.mean(0))
        # Light also comes from skin to skin; and an eye is never as dark as a hole.
        self.sky = 0.25 + 0.75 * sky[0] ** 0.8
        self.eye_sky = 0.45 + 0.5 * sky[1] ** 0.8 if wardrobe else np.full(model.n_vertices, 0.6, np.float32)

    def person(self, rng: np.random.Generator) -> Person:
        """A random person."""
        model, wardrobe = self.model, self.wardrobe
        spread = rng.uniform(0.7, 1.05)  # of the model's own
        drawn = self.resting.settle(rng.normal(size=len(model.identity_basis)) * spread, spread)
        identity = np.clip(drawn, -3, 3).astype(np.float32)
        neutral = self.mean + combined(identity, self.identity_basis).reshape(-1, 3)
        hair_color = HAIR_COLORS[rng.choice(len(HAIR_COLORS), p=HAIR_CHANCE)] * rng.uniform(0.6, 1.5)
        female = bool(rng.random() < 0.5)  # of looks alone: who has a beard, who wears lipstick
        base = procedural_skin(rng) if wardrobe is None else self._base(rng)
        brightness = float(base[150:330:4, 300:468:4, :3].mean())
        brow = float(rng.normal(0.0, 1.3)), float(rng.normal(-0.7, 1.3))
        grown = bool(rng.random() < 0.85)
        painted = self.skins.painted(base, hair_color, brow, not female, rng)
        if grown and wardrobe is None:
            self.skins.hair.cropped(painted, hair_color, rng)
        skin = Texture.of(painted)
        lights = tone(rng, brightness)
        colors = mouth_colors(model, rng, female) * lights.astype(np.float32)
        albedo = lights.mean() * (brightness / 255) ** 2
        worn, hats = [], rng.random() < 0.09
        bare = lights * (base[330:380:5, 300:468:5, :3].reshape(-1, 3).mean(0) / 255) ** 2
        worn.append(props.clothes(rng, bare, neutral[self.neck_ids]))
        above = True
        if hats:
            covered, above = props.hat(rng)
            worn += covered
        if rng.random() < 0.17:
            worn += props.glasses(rng, neutral[model.landmark_ids])
        if grown and rng.random() < (0.6 if female else 0.12):
            worn.append(props.long_hair(rng, hair_color * rng.uniform(0.8, 1.4)))
        someone = Person(identity, neutral, skin, self.skins.complexion(rng), colors, rng.uniform(0.1, 0.9),
                         float(albedo), worn)
        if wardrobe is not None:
            someone.iris = self.irises.pick(rng, albedo)
            someone.teeth = wardrobe.teeth[rng.integers(len(wardrobe.teeth))]
            someone.teeth_color = np.array([0.8, 0.78, 0.73]) * rng.uniform(0.65, 1.1) * [1, 1, rng.uniform(0.75, 1)]
            # MakeHuman's upper teeth hide behind the lip and its lower ones stand out; in people it is the reverse.
            someone.teeth_shift = np.array([[0, -rng.uniform(0, 2.5), 0]], np.float32)
            if rng.random() < 0.35:
                part, texture = self.brows[rng.integers(len(self.brows))]
                color = np.minimum(hair_color * rng.uniform(0.35, 0.9) + 0.003, rng.uniform(0.04, 0.2))
                someone.on_skin.append(Worn(part, texture, color, self._brow_shift(part, *brow)))
            if rng.random() < 0.6:
                lash = self.lashes[rng.integers(len(self.lashes))]
                someone.on_skin.append(Worn(*lash, hair_color * 0.3 + 0.002))
            if grown and above:
                cut = self.hair[rng.choice(len(self.hair), p=self.hair_chance)]
                someone.hair = Worn(*cut, hair_color * rng.uniform(1.0, 1.6))
        return someone

    def _base(self, rng: np.random.Generator) -> np.ndarray:
        """A skin of the wardrobe, or a mixture of two."""
        first, second = (self.bases[i] for i in rng.integers(len(self.bases), size=2))
        return mixed(first, second, int(rng.integers(257))) if rng.random() < 0.6 else first

    def _brow_shift(self, part: Part, rise: float, slant: float) -> np.ndarray:
        """Brows sit higher or lower, and slant this way or that, in faces at rest (mm): it is no expression."""
        placed = part.fit(self.mean)
        along = (np.abs(placed[:, 0]) - 28) / 18  # -1 at the inner end, 1 at the outer
        shift = np.zeros_like(placed)
        shift[:, 1] = rise + slant * along
        return shift.astype(np.float32)

    def vertices(self, person: Person, expression: np.ndarray, gaze: np.ndarray) -> np.ndarray:
        """float32 [n, 3] mm, head frame: person plus expression [29] plus eye turn [8]."""
        moved = combined(expression.astype(np.float32), self.expression_basis)
        moved += combined(gaze.astype(np.float32), self.gaze_basis)
        return person.neutral + moved.reshape(-1, 3)

    def surfaces(self, person: Person, vertices: np.ndarray, weights: np.ndarray, rotation: np.ndarray,
                 translation: np.ndarray, light: Light, px_per_mm: float) -> list[Surface]:
        """The person as surfaces in camera coordinates, lit and in shadow; weights [52] fold the skin and may
        bare the teeth."""
        model = self.model
        rotation32, translation32 = rotation.astype(np.float32), translation.astype(np.float32)

        def camera(points: np.ndarray) -> np.ndarray:
            return moved_by(points, rotation32, translation32)

        placed = camera(vertices)
        relief = self.skins.relief(person.complexion, weights, rotation[:, 0], px_per_mm)
        skin = Surface(placed, self.skin_triangles, person.colors, person.skin, self.uvs, self.skin_triangles,
                       specular=person.shine, shininess=4, ambient=self.sky, relief=relief)
        shown, casters, eyes = [(skin, SKIN_BIAS)], [skin], None
        if self.wardrobe is None:
            shown += [(part, SKIN_BIAS) for part in self._bare_parts(placed)]
        else:
            parts = self._parts_in(person, vertices, weights, camera, rotation32)
            eyes = parts[0][0]
            shown += parts
        if person.hair:
            # Hair does not move with the expression.
            hair = _dressed(person.hair, person.neutral, camera, specular=0.15, transparent=True)
            shown.append((hair, CARD_BIAS))
            casters.append(hair)
        # The body follows the head by half a turn, and stays where the neck is.
        half = _half_turn(rotation)
        hips = (rotation @ props.NECK + translation - half @ props.NECK).astype(np.float32)
        for prop in person.props:
            points = moved_by(prop.vertices, half.astype(np.float32), hips) if prop.on_body else camera(prop.vertices)
            colors = np.broadcast_to(np.asarray(prop.color, np.float32), points.shape)
            surface = Surface(points, prop.triangles, colors, prop.texture, prop.uvs, prop.triangles,
                              **{"two_sided": True, **prop.material})
            shown.append((surface, CARD_BIAS))
            if prop.casts:
                casters.append(surface)
        if light.color.max() > 0.08:
            shadow = Shadow(casters, light.direction, placed[model.landmark_ids].mean(0) + rotation[:, 2] * -40)
            for surface, bias in shown:
                surface.lamp = shadow.share(surface.vertices, bias)
                if surface is eyes:  # lids and lashes are too thin for the shadow's cells
                    assert surface.ambient is not None
                    surface.lamp *= np.minimum(1.5 * surface.ambient, 1)
        return [surface for surface, _ in shown]

    def _parts_in(self, person: Person, vertices: np.ndarray, weights: np.ndarray, camera,
                  rotation32: np.ndarray) -> list[tuple[Surface, float]]:
        """Eyes, what an open mouth shows, brows and lashes, of the wardrobe; each with its bias in shadow."""
        wardrobe = self.wardrobe
        assert wardrobe is not None
        assert person.iris is not None  # person() saw the same wardrobe
        assert person.teeth is not None
        eyes = Worn(wardrobe.eyes, person.iris, np.ones(3))
        # Brows that come down take the sky from the eyes, lids that open wide give it to them.
        lowered, wide = (sum(weights[INDEX[name + side]] for side in ("Left", "Right")) / 2
                         for name in ("browDown", "eyeWide"))
        sky = self.eye_sky * np.float32(1.45 - 0.9 * lowered + 0.1 * wide)
        out = [(_dressed(eyes, vertices, camera, specular=1.5, shininess=7, transparent=True, ambient=sky),
                SKIN_BIAS)]
        if max(weights[INDEX[n]] for n in MOUTH_OPENERS) > 0.05:
            teeth = Worn(person.teeth, self.teeth_texture, person.teeth_color, person.teeth_shift)
            tongue = Worn(wardrobe.tongue[0], self.tongue_texture, np.array([0.6, 0.45, 0.45]))
            for worn in (teeth, tongue):
                surface = _dressed(worn, vertices, camera, specular=0.4, shininess=5)
                deep = vertices[self.model.landmark_ids[51], 2] - worn.part.fit(vertices)[:, 2]
                # Teeth are thin arches: their own normals would point up and down, and teeth in shadow look ill.
                outwards = worn.part.fit(vertices) * np.float32(1 / 28) * [1, 0, 0] + [0, 0, 1]
                surface.normals = moved_by(outwards.astype(np.float32), rotation32, np.zeros(3, np.float32))
                # White teeth before a black hole: enamel shines through, and little light gets behind it.
                surface.ambient = (np.clip(1.65 - deep / 60, 0.3, 1.45) if worn is teeth
                                   else np.clip(0.8 - deep / 30, 0.05, 0.8))
                out.append((surface, TEETH_BIAS))
        for worn in person.on_skin:
            out.append((_dressed(worn, vertices, camera, specular=0.0, transparent=True, lift=0.4), CARD_BIAS))
        return out

    def _bare_parts(self, placed: np.ndarray) -> list[Surface]:
        """Eyes, teeth and tongue of the face model itself, painted by vertex."""
        model = self.model
        paint = {"eyes": (0.75, 0.75, 0.72), "teeth": (0.7, 0.68, 0.6), "tongue": (0.35, 0.08, 0.08)}
        out = []
        for name, triangles in self.parts.items():
            colors = np.broadcast_to(np.array(paint[name], np.float32), placed.shape).copy()
            if name == "eyes":
                eye = model.regions == list(model.region_names).index("eyes")
                for side in (1, -1):
                    ball = np.flatnonzero(eye & (model.mean[:, 0] * side > 0))
                    front = model.mean[ball]
                    axis = front - front.mean(0)
                    angle = np.arccos(axis[:, 2] / np.linalg.norm(axis, axis=1))
                    colors[ball[angle < 0.55]] = (0.06, 0.035, 0.02)
            specular = 0.5 if name == "eyes" else 0.1
            out.append(Surface(placed, triangles, colors, specular=specular, ambient=self.eye_sky))
        return out


def _dressed(worn: Worn, vertices: np.ndarray, camera, lift: float = 0.0, **material) -> Surface:
    """A fitted part as a surface; lift (mm towards the camera) keeps cards on the skin from sinking in."""
    part = worn.part
    placed = camera(worn.fit(vertices))
    if lift:
        placed *= 1 - lift / np.sqrt((placed**2).sum(1, keepdims=True))
    colors = np.broadcast_to(np.asarray(worn.color, np.float32), placed.shape)
    return Surface(placed, part.triangles, colors, worn.texture, part.uvs, part.uv_triangles, two_sided=True,
                   **material)


def _half_turn(rotation: np.ndarray) -> np.ndarray:
    """A body's rotation: half the head's yaw, upright otherwise."""
    yaw = 0.5 * np.arctan2(rotation[0, 2], rotation[2, 2])
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
