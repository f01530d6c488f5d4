"""mesh.py: what is written loads back the same, vertex by vertex, and a failure leaves nothing behind."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from expnet_tf.mesh import write_mesh

SUFFIXES = [".obj", ".ply", ".glb"]


@pytest.fixture
def dome() -> dict[str, np.ndarray]:
    """A dome of 80 mm; one vertex comes twice, some are in no triangle: nothing may be merged or dropped."""
    ball = trimesh.creation.icosphere(subdivisions=2, radius=80)
    vertices = np.vstack([ball.vertices, ball.vertices[:1], [[1.5, -2.5, 3.5]]])
    faces = ball.faces[(ball.vertices[ball.faces][..., 2] > -1e-6).all(axis=1)]
    rng = np.random.default_rng(0)
    return {
        "vertices": vertices,
        "triangles": faces.astype(np.int32),
        "uvs": rng.random((len(vertices), 2)),
        "colors": rng.integers(0, 256, (len(vertices), 3), dtype=np.uint8),
    }


def load(path: Path) -> trimesh.Trimesh:
    mesh = trimesh.load(path, process=False, maintain_order=True, force="mesh")
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def read_ply(path: Path) -> np.ndarray:
    """The vertex records of a binary PLY, as the header describes them."""
    header, body = path.read_bytes().split(b"end_header\n", 1)
    lines = [line.split() for line in header.decode().splitlines()]
    count = next(int(line[2]) for line in lines if line[:2] == ["element", "vertex"])
    start = lines.index(["element", "vertex", str(count)]) + 1
    end = next(i for i, line in enumerate(lines) if line[:2] == ["element", "face"])
    kinds = {"float": "<f4", "uchar": "u1"}
    return np.frombuffer(body, [(line[2], kinds[line[1]]) for line in lines[start:end]], count)


def read_glb(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """The JSON of a GLB and its vertex attributes."""
    data = path.read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    scene, body = json.loads(data[20 : 20 + length]), data[28 + length :]
    attributes = {}
    for name, index in scene["meshes"][0]["primitives"][0]["attributes"].items():
        accessor = scene["accessors"][index]
        view = scene["bufferViews"][accessor["bufferView"]]
        width = {"VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        values = np.frombuffer(body[view["byteOffset"] :], {5121: "u1", 5126: "<f4"}[accessor["componentType"]])
        attributes[name] = values[: accessor["count"] * width].reshape(-1, width)
    return scene, attributes


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".PLY"])
def test_loads_back_vertex_by_vertex(tmp_path: Path, dome: dict, suffix: str) -> None:
    path = tmp_path / f"face{suffix}"
    write_mesh(path, dome["vertices"], dome["triangles"])
    mesh = load(path)
    scale = 1000 if suffix == ".glb" else 1
    if suffix == ".obj":  # reading an OBJ, trimesh may drop unused vertices; the text is checked below
        np.testing.assert_allclose(mesh.triangles, dome["vertices"][dome["triangles"]], atol=1e-5)
    else:
        np.testing.assert_allclose(mesh.vertices * scale, dome["vertices"], atol=1e-4)
        np.testing.assert_array_equal(mesh.faces, dome["triangles"])
    # Counter-clockwise stays so: normals point away from the middle of the dome.
    assert (np.einsum("tk,tk->t", mesh.face_normals, mesh.triangles_center) > 0).all()


def test_ply_records(tmp_path: Path, dome: dict) -> None:
    write_mesh(tmp_path / "face.ply", **dome)
    records = read_ply(tmp_path / "face.ply")
    position = np.stack([records[key] for key in "xyz"], axis=1)
    np.testing.assert_array_equal(position, dome["vertices"].astype(np.float32))
    colors = np.stack([records[key] for key in ("red", "green", "blue")], axis=1)
    np.testing.assert_array_equal(colors, dome["colors"])
    np.testing.assert_allclose(np.stack([records["s"], records["t"]], axis=1), dome["uvs"], atol=1e-6)


def test_glb_attributes(tmp_path: Path, dome: dict) -> None:
    write_mesh(tmp_path / "face.glb", **dome)
    _, attributes = read_glb(tmp_path / "face.glb")
    np.testing.assert_allclose(attributes["POSITION"] * 1000, dome["vertices"], atol=1e-4)
    # glTF counts v from the top.
    np.testing.assert_allclose(attributes["TEXCOORD_0"] * [1, -1] + [0, 1], dome["uvs"], atol=1e-6)
    value = dome["colors"] / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(attributes["COLOR_0"][:, :3] / 255, linear, atol=0.5 / 255 + 1e-9)
    assert (attributes["COLOR_0"][:, 3] == 255).all()
    used = np.unique(dome["triangles"])
    outwards = dome["vertices"][used] / np.linalg.norm(dome["vertices"][used], axis=1, keepdims=True)
    inner = outwards[:, 2] > 0.3  # away from the rim
    assert (np.einsum("nk,nk->n", attributes["NORMAL"][used], outwards)[inner] > 0.98).all()
    np.testing.assert_allclose(np.linalg.norm(attributes["NORMAL"], axis=1), 1, atol=1e-6)


def test_obj_text(tmp_path: Path, dome: dict) -> None:
    path = tmp_path / "face.obj"
    write_mesh(path, **dome)
    lines = path.read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    np.testing.assert_allclose(vertices[:, :3], dome["vertices"], atol=1e-6)
    np.testing.assert_allclose(vertices[:, 3:], dome["colors"] / 255, atol=1e-4)
    uvs = np.array([line.split()[1:] for line in lines if line.startswith("vt ")], float)
    np.testing.assert_allclose(uvs, dome["uvs"], atol=1e-6)
    faces = [[corner.split("/") for corner in line.split()[1:]] for line in lines if line.startswith("f ")]
    np.testing.assert_array_equal(np.array(faces, int)[..., 0] - 1, dome["triangles"])
    np.testing.assert_array_equal(np.array(faces, int)[..., 1] - 1, dome["triangles"])
    assert [one.name for one in tmp_path.iterdir()] == ["face.obj"]  # no material file beside it


def test_float_colours_are_bytes_over_255(tmp_path: Path, dome: dict) -> None:
    for name, colors in (("a", dome["colors"]), ("b", dome["colors"] / 255)):
        write_mesh(tmp_path / f"{name}.ply", dome["vertices"], dome["triangles"], colors=colors)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_glb_is_gltf_2_in_metres(tmp_path: Path, dome: dict) -> None:
    path = tmp_path / "face.glb"
    write_mesh(path, **dome)
    data = path.read_bytes()
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    scene, _ = read_glb(path)
    [primitive] = scene["meshes"][0]["primitives"]
    assert {"POSITION", "NORMAL", "COLOR_0", "TEXCOORD_0"} <= set(primitive["attributes"])
    position = scene["accessors"][primitive["attributes"]["POSITION"]]
    assert position["count"] == len(dome["vertices"])
    assert position["max"] == pytest.approx(dome["vertices"].max(axis=0) / 1000, abs=1e-6)
    assert scene["materials"][primitive["material"]]["pbrMetallicRoughness"]["metallicFactor"] == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_same_mesh_gives_the_same_bytes(tmp_path: Path, dome: dict, suffix: str) -> None:
    for name in ("a", "b"):
        write_mesh(tmp_path / (name + suffix), **dome)
    assert (tmp_path / ("a" + suffix)).read_bytes() == (tmp_path / ("b" + suffix)).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": np.zeros((4, 2))}, r"vertices are \[4, 2\]"),
        ({"vertices": np.zeros((0, 3))}, r"vertices are \[0, 3\]"),
        ({"vertices": np.full((4, 3), np.nan)}, "vertices hold values that are no finite"),
        ({"triangles": np.zeros((0, 3), int)}, r"triangles are int64 \[0, 3\]"),
        ({"triangles": np.zeros((2, 3))}, r"triangles are float64"),
        ({"triangles": np.array([[0, 1, 10_000]])}, r"triangles use vertices 0 to 10000; 0 to \d+ exist"),
        ({"triangles": np.array([[0, 1, -1]])}, "triangles use vertices -1 to 1"),
        ({"uvs": np.zeros((3, 2))}, r"uvs are \[3, 2\]"),
        ({"colors": np.zeros((3, 3))}, r"colors are \[3, 3\]"),
        ({"colors": "too bright"}, "colors reach from 0 to 2"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bad_arrays_write_nothing(tmp_path: Path, dome: dict, suffix: str, change: dict, message: str) -> None:
    if isinstance(change.get("colors"), str):
        change = {"colors": np.linspace(0, 2, dome["vertices"].size).reshape(-1, 3)}
    with pytest.raises(ValueError, match=rf"face{suffix}: {message}"):
        write_mesh(tmp_path / f"face{suffix}", **{**dome, **change})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["face.stl", "face", "face.obj.gz"])
def test_other_suffixes_are_refused(tmp_path: Path, dome: dict, name: str) -> None:
    with pytest.raises(ValueError, match=r"a mesh is written as \.obj, \.ply, \.glb"):
        write_mesh(tmp_path / name, **dome)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, dome: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "face.ply"
    path.write_bytes(b"old")

    def full_disk(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_mesh(path, **dome)
    assert [one.name for one in tmp_path.iterdir()] == ["face.ply"]
    assert path.read_bytes() == b"old"
    with pytest.raises(FileNotFoundError):
        write_mesh(tmp_path / "nowhere" / "face.ply", **dome)
