"""The people of a video as one animated GLB: open heads with the 52 ARKit blendshapes as morph targets.

Each person is a node with a mesh of its median shape in its neutral expression; keyframes, one a frame in which it was
seen, carry the weights of the morph targets and the rotation of the head. Heads stand still beside each other as they
do in the picture. Where a person is not seen the node has no size, which glTF gives as the way to hide it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf import __version__
from expnet_tf.mesh import linear_colors
from expnet_tf.morphable import MorphableModel
from expnet_tf.paint import vertex_colors
from expnet_tf.raster import vertex_normals
from expnet_tf.video.gltf import INDICES, VERTICES, Document
from expnet_tf.video.people import Person

MAX_PEOPLE = 16  # those longest in the picture
STILL = 0.02  # mm: a vertex that a blendshape moves by less is left out of its morph target
HEAD = 150.0  # mm, the width of a face box: the scale at which people stand beside each other
_MM = 0.001  # glTF counts in metres

Tables = Callable[[], Iterable[np.ndarray]]


def morph_targets(model: MorphableModel) -> dict[str, np.ndarray]:
    """{ARKit name: float32 [n, 3] mm, what the blendshape at 1 adds to a face}.

    The 43 that an expression code reaches, and the eight turns of the eyes where the model has them; what it has not,
    tongueOut, moves nothing.
    """
    moved = np.einsum("be,env->bnv", model.blendshapes_to_expression, model.expression_basis)
    names = [str(name) for name in model.blendshape_names]
    if model.has("gaze"):
        looks = [index for index, name in enumerate(names) if name.startswith("eyeLook")]
        moved[looks] = model.gaze_basis
    return dict(zip(names, moved.astype(np.float32), strict=True))


def write_animation(path: Path, model: MorphableModel, people: Sequence[Person], tables: Tables) -> list[int]:
    """Writes the GLB; returns the ids of those in it, the MAX_PEOPLE longest seen.

    Args:
        people: as from people.py; one at least.
        tables: gives the rows anew with each call.

    Raises OSError, and ValueError where the file would exceed 4 GB.
    """
    chosen = sorted(sorted(people, key=lambda one: -one.frames)[:MAX_PEOPLE], key=lambda one: one.id)
    scene = Document(f"expnet_tf {__version__}")
    material = scene.add("materials", {
        "name": "face", "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.8}, "doubleSided": True,
    })  # fmt: skip
    targets = morph_targets(model)
    shared = [{"POSITION": _target(scene, delta)} for delta in targets.values()]
    indices = scene.array(model.triangles.astype(np.uint16 if model.n_vertices < 2**16 else np.uint32).ravel(), INDICES)
    colors = scene.array(linear_colors(_colors(model)), VERTICES, normalized=True)
    places = _places(chosen)
    animation: dict[str, Any] = {"name": "video", "channels": [], "samplers": []}
    ends = min(one.first for one in people), max(one.last for one in people)
    nodes = []
    for person, place in zip(chosen, places, strict=True):
        shape = model.decode(person.identity)
        normals = vertex_normals(shape.astype(np.float32), np.ascontiguousarray(model.triangles, np.int32))
        normals[np.linalg.norm(normals, axis=1) < 0.5] = (0, 0, 1)  # of vertices in no triangle
        attributes = {
            "POSITION": scene.array((shape * _MM).astype(np.float32), VERTICES, bounds=True),
            "NORMAL": scene.array(normals / np.linalg.norm(normals, axis=1, keepdims=True), VERTICES),
            "COLOR_0": colors,
        }
        mesh = scene.add("meshes", {
            "name": f"face {person.id}",
            "primitives": [{"attributes": attributes, "indices": indices, "material": material, "targets": shared}],
            "weights": [0.0] * len(targets),
            "extras": {"targetNames": list(targets)},
        })  # fmt: skip
        node = scene.add("nodes", {"name": f"person {person.id}", "mesh": mesh, "translation": place})
        nodes.append(node)
        _animate(scene, animation, node, person, model, tables, ends)
    scene.json |= {"scene": 0, "scenes": [{"name": "video", "nodes": nodes}], "animations": [animation]}
    scene.write(path)
    return [one.id for one in chosen]


def _target(scene: Document, delta: np.ndarray) -> int:
    return scene.sparse(delta * np.float32(_MM), np.linalg.norm(delta, axis=1) > STILL)


def _colors(model: MorphableModel) -> np.ndarray:
    """sRGB uint8 [n, 3]."""
    if not model.has("regions"):
        return np.full((model.n_vertices, 3), 190, np.uint8)
    return np.round(vertex_colors(model) * 255).astype(np.uint8)


def _places(people: Sequence[Person]) -> list[list[float]]:
    """Where each head stands, m: as in the picture, x to the right and y up, the middle of all at 0."""
    centres = np.array([one.box[:2] + one.box[2:] / 2 for one in people])
    scale = HEAD / np.array([one.box[2] for one in people]).mean()
    centred = (centres - centres.mean(axis=0)) * [scale, -scale] * _MM
    return [[float(x), float(y), 0.0] for x, y in centred]


def _animate(
    scene: Document,
    animation: dict[str, Any],
    node: int,
    person: Person,
    model: MorphableModel,
    tables: Tables,
    ends: tuple[float, float],
) -> None:
    """Adds the person's channels: weights, rotation and, where it is not there throughout, its size."""

    def own() -> Iterator[np.ndarray]:
        for table in tables():
            mine = table[table["id"] == person.id]
            if len(mine):
                yield mine

    count, names = person.frames, len(model.blendshape_names)
    float32 = np.dtype(np.float32)
    times = scene.stream(
        (count,), float32, lambda: (part["time"].astype(np.float32) for part in own()),
        np.array(person.first, np.float32), np.array(person.last, np.float32),
    )  # fmt: skip
    weights = scene.stream((count * names,), float32, lambda: (
        model.blendshapes(part["expression"]).astype(np.float32).ravel() for part in own()
    ))  # fmt: skip
    rotations = scene.stream((count, 4), float32, lambda: _quaternions(own()))
    channels = {"weights": (times, weights, "LINEAR"), "rotation": (times, rotations, "LINEAR")}
    shown = _presence(own(), ends)
    if len(shown) > 1:
        keys = scene.array(np.array([at for at, _ in shown], np.float32), bounds=True)
        sizes = scene.array(np.repeat(np.array([size for _, size in shown], np.float32)[:, None], 3, axis=1))
        channels["scale"] = (keys, sizes, "STEP")
    for path, (keys, values, how) in channels.items():
        sampler = len(animation["samplers"])
        animation["samplers"].append({"input": keys, "output": values, "interpolation": how})
        animation["channels"].append({"sampler": sampler, "target": {"node": node, "path": path}})


def _quaternions(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Rows -> unit quaternions float32 [n, 4], x y z w; of the two that are one rotation, that nearer to the last."""
    last = np.array([0.0, 0.0, 0.0, 1.0])
    for part in parts:
        vector = part["pose"][:, :3].astype(np.float64)
        angle = np.linalg.norm(vector, axis=1, keepdims=True)
        turned = np.hstack([0.5 * np.sinc(angle / (2 * np.pi)) * vector, np.cos(angle / 2)])
        for one in turned:
            one *= np.where(one @ last < 0, -1.0, 1.0)
            last = one
        yield turned.astype(np.float32)


def _presence(parts: Iterable[np.ndarray], ends: tuple[float, float]) -> list[tuple[float, float]]:
    """Keys (time s, 1 seen or 0 not) from where on each holds; strictly later each than the one before."""
    keys: list[tuple[float, float]] = []
    frame, time = -2, ends[0]
    step = 0.0
    for part in parts:
        for row in part:
            now, at = int(row["frame"]), float(row["time"])
            if now != frame + 1:
                if not keys and at > ends[0]:
                    keys.append((ends[0], 0.0))
                elif keys:
                    keys.append((time + (step or (at - time) / 2), 0.0))
                keys.append((at, 1.0))
            else:
                step = at - time
            frame, time = now, at
    if time < ends[1]:
        keys.append((min(time + step, ends[1]) if step else ends[1], 0.0))
    grown = keys[:1]
    for key in keys[1:]:
        if np.float32(key[0]) > np.float32(grown[-1][0]):
            grown.append(key)
    return grown
