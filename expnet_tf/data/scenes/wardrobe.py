"""MakeHuman's CC0 skins, eyes, brows, lashes, hair and teeth, fitted onto the open face model.

An asset folder looks like MakeHuman's own: `skins/textures/*_diffuse*.jpg`, and for each fitted part a folder
with `.mhclo`, `.obj` and a texture. A `.mhclo` ties every vertex of a part to three vertices of the base mesh:
position = sum of weight * vertex + offset, the offset scaled by distances measured on the head; so parts follow
identity and expression by themselves.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from expnet_tf.data.scenes.atlas import HEIGHT, WIDTH
from expnet_tf.morphable import MorphableModel

SKIN_SIZE = 2048  # px of the whole body


class AssetError(ValueError):
    """An asset file is not what it should be."""


@dataclass(frozen=True, eq=False)
class Part:
    """A fitted part: k vertices, each tied to three of the model's n."""

    name: str
    ids: np.ndarray  # int [k, 3]
    weights: np.ndarray  # float32 [k, 3]
    offsets: np.ndarray  # float32 [k, 3] mm, on the mean head
    triangles: np.ndarray  # int32 [t, 3]
    uvs: np.ndarray  # float32 [m, 2]
    uv_triangles: np.ndarray  # int32 [t, 3]

    def fit(self, vertices: np.ndarray) -> np.ndarray:
        """Model vertices [n, 3] -> part vertices [k, 3], in the head frame, as the offsets do not turn."""
        corners = vertices[self.ids]
        return np.einsum("kc,kcd->kd", self.weights, corners) + self.offsets


def load_part(path: Path, model: MorphableModel) -> Part:
    """Reads PATH (.mhclo) and its .obj. Raises AssetError when it does not fit the model's base mesh."""
    position = np.full(int(model.base_ids.max()) + 1, -1)
    position[model.base_ids] = np.arange(model.n_vertices)
    rows, scales, obj_name, reading = [], {}, None, False
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if reading and words[0].isdigit():
                numbers = [float(w) for w in words]
                if len(numbers) == 1:
                    numbers = [numbers[0]] * 3 + [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
                rows.append((numbers + [0.0] * 9)[:9])
                continue
            if words[0] in ("verts", "delete_verts", "weights"):  # lists of numbers
                reading = words[0] == "verts"
            elif words[0] in ("x_scale", "y_scale", "z_scale"):
                scales[words[0][0]] = (int(words[1]), int(words[2]), float(words[3]))
            elif words[0] == "obj_file":
                obj_name = words[1]
    except (ValueError, IndexError) as error:
        raise AssetError(f"{path}: not a MakeHuman .mhclo file ({error})") from error
    if not rows or obj_name is None:
        raise AssetError(f"{path}: not a MakeHuman .mhclo file (no verts or no obj_file)")
    table = np.array(rows)
    base = table[:, :3].astype(int)
    ids = np.where(base < len(position), position[np.minimum(base, len(position) - 1)], -1)
    unit = np.full(3, 100.0)
    for axis, letter in enumerate("xyz"):
        if letter in scales:
            first, second, length = scales[letter]
            ends = [position[i] if i < len(position) else -1 for i in (first, second)]
            if min(ends) >= 0:
                unit[axis] = abs(model.mean[ends[0], axis] - model.mean[ends[1], axis]) / length
    uvs, triangles, uv_triangles, count = _read_obj(path.parent / obj_name)
    if count != len(table):
        raise AssetError(f"{path}: ties {len(table)} vertices, {obj_name} has {count}")
    if not len(triangles) or not 0 <= triangles.min() <= triangles.max() < count:
        raise AssetError(f"{path.parent / obj_name}: no faces, or faces of vertices that it does not have")
    whole = (ids[triangles] >= 0).all((1, 2))
    return Part(path.stem, np.maximum(ids, 0), table[:, 3:6].astype(np.float32),
                (table[:, 6:] * unit).astype(np.float32), triangles[whole], uvs, uv_triangles[whole])


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    uvs, triangles, uv_triangles, count = [], [], [], 0
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if not words:
                continue
            if words[0] == "v":
                count += 1
            elif words[0] == "vt":
                uvs.append([float(words[1]), float(words[2])])
            elif words[0] == "f":
                corners = [[int(x) - 1 for x in w.split("/")[:2]] for w in words[1:]]
                for i in range(1, len(corners) - 1):
                    fan = (corners[0], corners[i], corners[i + 1])
                    triangles.append([c[0] for c in fan])
                    uv_triangles.append([c[1] for c in fan])
    except (OSError, ValueError, IndexError) as error:
        raise AssetError(f"{path}: not an .obj file with texture coordinates ({error})") from error
    return (np.array(uvs, np.float32), np.array(triangles, np.int32), np.array(uv_triangles, np.int32), count)


def load_texture(path: Path, size: int) -> np.ndarray:
    """uint8 RGBA [h, w, 4], at most `size` px; shrunk with premultiplied alpha, so edges do not darken."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8:
        raise AssetError(f"{path}: not an image of 8 bits a channel")
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
    if max(image.shape[:2]) > size:
        scale = size / max(image.shape[:2])
        alpha = image[..., 3:].astype(np.float32) / 255
        small = cv2.resize(np.dstack([image[..., :3] * alpha, alpha]), None, fx=scale, fy=scale,
                           interpolation=cv2.INTER_AREA)
        color = small[..., :3] / np.maximum(small[..., 3:], 1e-3)
        image = np.rint(np.clip(np.dstack([color, small[..., 3] * 255]), 0, 255)).astype(np.uint8)
    return np.ascontiguousarray(image[..., [2, 1, 0, 3]])


@dataclass(frozen=True, eq=False)
class Wardrobe:
    """Everything a rendered person can wear; no list is empty."""

    skins: list[Path]  # pictures of the whole body in the face model's own texture coordinates; see skin()
    eyes: Part
    irises: list[np.ndarray]
    brows: list[tuple[Part, np.ndarray]]
    lashes: list[tuple[Part, np.ndarray]]
    hair: list[tuple[Part, np.ndarray]]
    teeth: list[Part]
    teeth_texture: np.ndarray
    tongue: tuple[Part, np.ndarray]

    @classmethod
    def open(cls, folder: str | Path, model: MorphableModel, texture_size: int = 512) -> "Wardrobe":
        """Reads an asset folder. Raises AssetError when it is none, lacks a kind of part or has a broken file."""
        root = Path(folder)
        skins = sorted(root.glob("skins/textures/*_diffuse*.*"))
        if not skins:
            raise AssetError(f"{root}: no skins/textures/*_diffuse* in it, so not a MakeHuman asset folder")

        def worn(kind: str) -> list[tuple[Part, np.ndarray]]:
            out = []
            for path in sorted(root.glob(f"{kind}/*/*.mhclo")):
                pictures = sorted(path.parent.glob("*.png"))
                part = load_part(path, model) if pictures else None
                if part is not None and len(part.triangles):  # none when tied to vertices the model lacks
                    out.append((part, load_texture(pictures[0], texture_size)))
            if not out:
                raise AssetError(f"{root}: no {kind}/*/*.mhclo with a .png beside it that fits the head")
            return out

        def some(pattern: str) -> list[Path]:
            paths = sorted(root.glob(pattern))
            if not paths:
                raise AssetError(f"{root}: no {pattern} in it")
            return paths

        return cls(
            skins=skins,
            eyes=load_part(some("eyes/high-poly/*.mhclo")[0], model),
            irises=[load_texture(p, 256) for p in some("eyes/materials/*.png")],
            brows=worn("eyebrows"), lashes=worn("eyelashes"), hair=worn("hair"),
            teeth=[load_part(p, model) for p in some("teeth/*/*.mhclo")],
            teeth_texture=load_texture(some("teeth/materials/*.png")[0], texture_size),
            tongue=worn("tongue")[0],
        )


    def skin(self, number: int) -> np.ndarray:
        """One skin as uint8 RGBA; large, so read when asked for. Raises AssetError when the file is broken."""
        return load_texture(self.skins[number], SKIN_SIZE)


def grey(texture: np.ndarray) -> np.ndarray:
    """Hair texture without its colour, its mean (where opaque) mid-grey, for a vertex colour to colour it."""
    luma = texture[..., :3] @ np.array([0.3, 0.59, 0.11])
    opaque = texture[..., 3] > 64
    mean = luma[opaque].mean() if opaque.any() else 1.0
    shade = np.clip(luma * (200.0 / max(mean, 1.0)), 30, 255)
    rgba = np.dstack([np.repeat(shade[..., None], 3, 2), texture[..., 3]])
    return np.ascontiguousarray(rgba.astype(np.uint8))


def procedural_skin(rng: np.random.Generator) -> np.ndarray:
    """A plain skin uint8 RGBA [HEIGHT, WIDTH, 4] on the atlas: a mid tone with blotches, pores and freckles."""
    tone = np.array([205.0, 165.0, 145.0])
    image = np.broadcast_to(tone, (HEIGHT, WIDTH, 3)).astype(np.float32).copy()
    for cells, strength in ((8, 10), (32, 7), (128, 5), (WIDTH // 2, 4)):
        noise = rng.normal(0, strength, (cells * 2 // 3, cells, 1)) * [1.0, 0.8, 0.7]
        noise = noise + rng.normal(0, strength / 4, (cells * 2 // 3, cells, 3))
        image += cv2.resize(noise.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    rgb = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    return np.dstack([rgb, np.full((HEIGHT, WIDTH), 255, np.uint8)])
