"""The animated GLB: what is in it is what was predicted; read by two readers and by Khronos' own validator."""

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import trimesh

from expnet_tf.camera import rotation_matrix
from expnet_tf.morphable import open_face
from expnet_tf.video.animation import STILL, morph_targets, write_animation
from expnet_tf.video.gltf import Document
from expnet_tf.video.people import people
from expnet_tf.video.table import row_type

FRAMES = 40


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Two people: 1 in all frames, 2 from frame 10 on, away in 20 to 29."""
    rng = np.random.default_rng(2)
    model = open_face()
    made = []
    for frame in range(FRAMES):
        for number in (1, 2):
            if number == 2 and not (10 <= frame < 20 or frame >= 30):
                continue
            row = np.zeros(1, row_type(29, 99))
            row["frame"], row["time"], row["id"] = frame, frame / 25, number
            row["box"], row["square"] = [100 * number, 50 + 10 * number, 80, 100], [90, 40, 125]
            weights = np.zeros(52)
            weights[rng.integers(0, 52, 4)] = rng.random(4)
            row["expression"] = weights @ model.blendshapes_to_expression
            row["identity"] = number * 0.3 + rng.normal(0, 0.01, 99)
            row["pose"] = [*rng.normal(0, 0.3, 3), 0, 0, -900]
            made.append(row)
    return np.concatenate(made)


@pytest.fixture(scope="module")
def glb(rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glb") / "faces.glb"
    parts = [rows[:13], rows[13:14], rows[14:]]
    assert write_animation(path, open_face(), people(parts), lambda: parts) == [1, 2]
    return path


class Glb:
    """A reader of its own: the JSON, and accessors as arrays, sparse ones filled in."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        length = struct.unpack("<I", data[12:16])[0]
        assert struct.unpack("<4sII", data[:12]) == (b"glTF", 2, len(data))
        self.json, self.body = json.loads(data[20 : 20 + length]), data[28 + length :]

    def array(self, index: int) -> np.ndarray:
        facts = self.json["accessors"][index]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[facts["type"]]
        values = np.zeros((facts["count"], width), self.kind(facts))
        if "bufferView" in facts:
            values[:] = self.raw(facts["bufferView"], self.kind(facts)).reshape(-1, width)
        if "sparse" in facts:
            where, what = facts["sparse"]["indices"], facts["sparse"]["values"]
            values[self.raw(where["bufferView"], self.kind(where))] = self.raw(
                what["bufferView"], self.kind(facts)
            ).reshape(-1, width)
        return values

    def raw(self, view: int, kind: str) -> np.ndarray:
        facts = self.json["bufferViews"][view]
        return np.frombuffer(self.body[facts["byteOffset"] : facts["byteOffset"] + facts["byteLength"]], kind)

    @staticmethod
    def kind(facts: dict) -> str:
        return {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[facts["componentType"]]

    def channels(self, node: int) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
        (animation,) = self.json["animations"]
        found = {}
        for one in animation["channels"]:
            if one["target"]["node"] == node:
                sampler = animation["samplers"][one["sampler"]]
                found[one["target"]["path"]] = (
                    self.array(sampler["input"])[:, 0], self.array(sampler["output"]), sampler["interpolation"],
                )  # fmt: skip
        return found


def test_morph_targets_have_their_names(glb: Path) -> None:
    read = Glb(glb)
    names = [str(name) for name in open_face().blendshape_names]
    assert len(names) == 52
    assert "extensionsUsed" not in read.json  # what reads glTF reads it
    for mesh in read.json["meshes"]:
        assert mesh["extras"]["targetNames"] == names
        assert mesh["weights"] == [0] * 52
        assert [len(primitive["targets"]) for primitive in mesh["primitives"]] == [52]
    first, second = (mesh["primitives"][0]["targets"] for mesh in read.json["meshes"])
    assert first == second  # one copy for all
    moved = {name: np.abs(read.array(target["POSITION"])).max() for name, target in zip(names, first, strict=True)}
    assert [name for name, most in moved.items() if most == 0] == ["tongueOut"]
    assert all(most > 1e-4 for name, most in moved.items() if name != "tongueOut")
    assert moved["jawOpen"] > 0.01  # m
    assert glb.stat().st_size < 3e6


def test_morphed_it_is_the_predicted_mesh(glb: Path, rows: np.ndarray) -> None:
    """Base, targets and weights of a frame give the decoder's mesh, as far as blendshapes can say it."""
    read, model = Glb(glb), open_face()
    (primitive,) = read.json["meshes"][0]["primitives"]
    base = read.array(primitive["attributes"]["POSITION"]).astype(float) * 1000
    mine = rows[rows["id"] == 1]
    np.testing.assert_allclose(base, model.decode(np.median(mine["identity"], axis=0)), atol=1e-3)
    np.testing.assert_array_equal(read.array(primitive["indices"])[:, 0].reshape(-1, 3), model.triangles)
    deltas = np.stack([read.array(target["POSITION"]) for target in primitive["targets"]]).astype(float) * 1000
    whole = np.stack(list(morph_targets(model).values()))
    assert np.linalg.norm(deltas - whole, axis=2).max() <= STILL + 1e-4
    _, weights, _ = read.channels(0)["weights"]
    weights = weights.reshape(FRAMES, 52)
    np.testing.assert_allclose(weights, model.blendshapes(mine["expression"]), atol=1e-6)
    face = ~model.region("ears", "scalp and neck", "mouth interior")
    for frame in (0, 17, 39):
        shape = base + np.einsum("b,bnv->nv", weights[frame], deltas)
        truth = model.decode(np.median(mine["identity"], axis=0), mine["expression"][frame])
        assert np.linalg.norm(shape - truth, axis=1)[face].mean() < 0.5  # mm


def test_heads_turn(glb: Path, rows: np.ndarray) -> None:
    times, turned, how = Glb(glb).channels(0)["rotation"]
    assert how == "LINEAR"
    np.testing.assert_allclose(times, np.arange(FRAMES) / 25, atol=1e-6)
    x, y, z, w = turned.T.astype(float)
    matrices = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]).transpose(2, 0, 1)  # fmt: skip
    mine = rows[rows["id"] == 1]
    np.testing.assert_allclose(matrices, rotation_matrix(mine["pose"][:, :3]), atol=1e-5)
    assert (np.einsum("ti,ti->t", turned[1:], turned[:-1]) >= 0).all()  # the short way round


def test_who_is_away_is_not_shown(glb: Path) -> None:
    read = Glb(glb)
    assert "scale" not in read.channels(0)
    times, size, how = read.channels(1)["scale"]
    assert how == "STEP"
    np.testing.assert_allclose(times, np.array([0, 10, 20, 30]) / 25, atol=1e-6)
    np.testing.assert_array_equal(size, np.repeat([[0], [1], [0], [1]], 3, axis=1))
    first, second = (node["translation"][0] for node in read.json["nodes"])
    assert first < 0 < second


def test_another_reader(glb: Path) -> None:
    scene = trimesh.load(glb, process=False)
    assert len(scene.geometry) == 2
    for mesh in scene.geometry.values():
        assert mesh.vertices.shape == (5293, 3)
        assert mesh.faces.shape == (9936, 3)
        assert 0.1 < np.ptp(mesh.vertices[:, 1]) < 0.5  # m


def test_the_validator_of_khronos(glb: Path, tmp_path: Path) -> None:
    """`npm install gltf-validator` somewhere, and EXPNET_GLTF_VALIDATOR says where."""
    place = os.environ.get("EXPNET_GLTF_VALIDATOR")
    if not place or not shutil.which("node"):
        pytest.skip("node and EXPNET_GLTF_VALIDATOR, a folder where npm installed gltf-validator, are needed")
    program = (
        "const v = require('gltf-validator'), fs = require('fs');"
        "v.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))"
        ".then(r => console.log(JSON.stringify(r.issues)))"
    )
    done = subprocess.run(["node", "-e", program, str(glb)], cwd=place, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    issues = json.loads(done.stdout)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def test_too_large_for_a_glb(tmp_path: Path) -> None:
    document = Document("test")
    document.stream((2**30, 3), np.dtype(np.float32), lambda: iter(()))
    with pytest.raises(ValueError, match=r"faces\.glb would have 12,884,\d{3},\d{3} bytes; a GLB file holds at most"):
        document.write(tmp_path / "faces.glb")
    assert list(tmp_path.iterdir()) == []
