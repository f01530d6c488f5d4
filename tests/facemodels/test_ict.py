"""ICT-FaceKit, in a folder of its layout made here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expnet_tf.data import expressions
from expnet_tf.facemodels import load

CM = 10.0  # mm in a centimetre
NAMES = ["browInnerUp_L", "browInnerUp_R", "jawOpen", "mouthSmile_L"]


def obj(toy, vertices: np.ndarray, tile: int = 0) -> str:
    """As ICT writes it: a material, 15 decimals, texture coordinates in tiles (its face is in tile 1), quads."""
    lines = ["mtllib ICTFaceModelMaterial.mtl"]
    lines += [f"v {x:.15f} {y:.15f} {z:.15f}" for x, y, z in vertices / CM]
    lines += [f"vt {tile + x / 200 + 0.5:.6f} {y / 200 + 0.5:.6f}" for x, y, _ in toy.mean]
    lines += ["usemtl M_Face"]
    lines += ["f " + " ".join(f"{corner + 1}/{corner + 1}" for corner in quad) for quad in toy.quads]
    return "\n".join([*lines, ""])


def shapes(toy) -> dict[str, np.ndarray]:
    """{file: displacement [n, 3] mm}, of each component at 1."""
    identity = (toy.identity.astype(float) * toy.sigma_i).T.reshape(-1, toy.n, 3)
    expression = (toy.expression.astype(float) * toy.sigma_e).T.reshape(-1, toy.n, 3)
    moves = {f"identity{number:03d}": shape for number, shape in enumerate(identity)}
    return moves | dict(zip(NAMES, expression, strict=True))


def written(folder: Path, toy, **index: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "generic_neutral_mesh.obj").write_text(obj(toy, toy.mean))
    for name, shape in shapes(toy).items():
        (folder / f"{name}.obj").write_text(obj(toy, toy.mean + shape))
    (folder / "PupilDilate_L.obj").write_text("not listed, not read")
    index = {"expressions": NAMES, "idx_to_landmark_verts": toy.landmarks.tolist()} | index
    (folder / "vertex_indices.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("given", ["", "FaceXModel"])
def test_decodes_weights_of_its_shapes(tmp_path, toy, given):
    written(tmp_path / "FaceXModel", toy)
    model = load(tmp_path / given)
    np.testing.assert_allclose(model.decode(toy.codes_i, toy.codes_e), toy.decoded, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(model.landmark_ids, toy.landmarks)
    assert len(model.triangles) == 2 * len(toy.quads)
    assert (toy.fronts(model.triangles) > 0).all()
    assert model.uvs.shape == (toy.n, 2)
    np.testing.assert_array_equal(model.uv_triangles, model.triangles)  # one coordinate a vertex here
    assert model.provenance["expressions"] == NAMES


def test_blendshapes_have_arkits_names(tmp_path, toy):
    model = load(written(tmp_path, toy))
    assert model.blendshape_names.tolist() == ["browInnerUp", "jawOpen", "mouthSmileLeft"]
    assert set(model.blendshape_names) <= set(expressions.BLENDSHAPES)
    np.testing.assert_array_equal(
        model.blendshapes_to_expression, [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    weights = np.array([0.25, 0.5, 1.0])
    np.testing.assert_allclose(model.blendshapes(weights @ model.blendshapes_to_expression), weights)
    np.testing.assert_allclose(model.blendshapes([1.0, 0.0, 2.0, -1.0]), [0.5, 1.0, 0.0])


def test_its_true_list_of_names_is_arkits_but_for_the_tongue():
    """The 53 names, as in ICT's vertex_indices.json."""
    from expnet_tf.facemodels.ict import _blendshapes

    both = (
        "browDown browInnerUp browOuterUp cheekPuff cheekSquint eyeBlink eyeLookDown eyeLookIn eyeLookOut eyeLookUp "
        "eyeSquint eyeWide mouthDimple mouthFrown mouthLowerDown mouthPress mouthSmile mouthStretch mouthUpperUp "
        "noseSneer"
    )
    alone = (
        "jawForward jawLeft jawOpen jawRight mouthClose mouthFunnel mouthLeft mouthPucker mouthRight mouthRollLower "
        "mouthRollUpper mouthShrugLower mouthShrugUpper"
    )
    names = [f"{name}_{side}" for name in both.split() for side in "LR"] + alone.split()
    assert len(names) == 53
    arkit, moves = _blendshapes(names)
    assert set(arkit) == set(expressions.BLENDSHAPES) - {"tongueOut"}
    assert moves.sum() == 53


def test_uvs_in_tiles_are_left_out(tmp_path, toy):
    folder = written(tmp_path, toy)
    (folder / "generic_neutral_mesh.obj").write_text(obj(toy, toy.mean, tile=1))
    assert not load(folder).has("uvs")


@pytest.mark.parametrize(("index", "words"), [
    ({"expressions": ["../../etc/passwd"]}, "expressions are no names of files"),
    ({"expressions": ["jawOpen", "jawOpen"]}, "an expression is named twice"),
    ({"expressions": [1]}, "expressions are no names of files"),
    ({"expressions": None}, "not an index of ICT-FaceKit"),
    ({"idx_to_landmark_verts": [1, 2]}, "idx_to_landmark_verts has shape [2]; [68] is expected"),
    ({"idx_to_landmark_verts": [144] * 68}, "idx_to_landmark_verts points outside 0..143"),
])  # fmt: skip
def test_an_index_that_is_wrong(tmp_path, toy, refused, index, words):
    folder = written(tmp_path, toy, **index)
    refused(folder, words, named=folder / "vertex_indices.json")


def test_files_that_are_missing_or_damaged(tmp_path, toy, refused):
    folder = written(tmp_path, toy)
    for name, text, words in (
        ("jawOpen.obj", None, "no such file"),
        ("jawOpen.obj", "v 1 2 3\n", "it has 1 vertices, the neutral mesh has 144"),
        ("identity001.obj", "v 1 2\n", "a line v has too few numbers"),
        ("identity001.obj", "v 1 2 x\n", "not a readable OBJ file"),
        ("identity001.obj", "v 1 2 nan\n", "values that are not finite"),
        ("vertex_indices.json", None, "no such file"),
        ("vertex_indices.json", "[", "not an index of ICT-FaceKit"),
        ("vertex_indices.json", "[" * 100_000, "not an index of ICT-FaceKit"),
        ("generic_neutral_mesh.obj", obj(toy, toy.mean).replace("f 1/1 ", "f 9999/1 "), "f points outside 0..143"),
        ("generic_neutral_mesh.obj", obj(toy, toy.mean) + "f 1 2\n", "a face of 2 corners"),
        ("generic_neutral_mesh.obj", obj(toy, toy.mean / 10), "its mean face is 18 mm long"),
    ):
        whole = (folder / name).read_text()
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text)
        refused(folder, words, named=folder / name)
        (folder / name).write_text(whole)
    for number in range(5):
        (folder / f"identity{number:03d}.obj").unlink()
    refused(folder, "it has no identity000.obj")


def test_too_large_a_file(tmp_path, toy, refused, monkeypatch):
    monkeypatch.setattr("expnet_tf.facemodels.obj.LIMIT", 9)
    folder = written(tmp_path, toy)
    refused(folder, "at most 9 are read", named=folder / "generic_neutral_mesh.obj")
