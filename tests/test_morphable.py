"""The face model: what ships (shapes, symmetry, surface, named motions), decoding, and damaged files."""

import contextlib
import io
import re
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.data import expressions
from expnet_tf.morphable import PARTS, TEXTURE, FaceModelError, MorphableModel, open_face

FLIP = np.array([-1.0, 1.0, 1.0])
# iBUG's own left-right pairs, written out here from its numbering (jaw, brows, nose, eyes, mouth).
IBUG_MIRROR = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)


@pytest.fixture(scope="module")
def face() -> MorphableModel:
    return open_face()


def codes(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-3, 3, (count, 99)), rng.uniform(-3, 3, (count, 29))


def weights_of(face: MorphableModel, *names: str) -> np.ndarray:
    weights = np.zeros(len(face.blendshape_names))
    weights[[list(face.blendshape_names).index(name) for name in names]] = 1
    return weights


def code(face: MorphableModel, *names: str) -> np.ndarray:
    """The named blendshapes at full weight, within eq. (2)'s bound."""
    return np.clip(weights_of(face, *names) @ face.blendshapes_to_expression, -3, 3)


def moved(face: MorphableModel, *names: str) -> np.ndarray:
    """Landmark motion [68, 3] mm of the mean face."""
    return face.landmarks(None, code(face, *names)) - face.landmarks()


def test_shipped_sizes_and_types(face):
    n = 5293
    assert face.n_vertices == n
    assert face.mean.shape == (n, 3)
    assert face.identity_basis.shape == (99, n, 3)
    assert face.expression_basis.shape == (29, n, 3)
    for array in (face.mean, face.identity_basis, face.expression_basis):
        assert array.dtype == np.float64
    assert face.triangles.dtype == face.landmark_ids.dtype == np.int32
    assert face.blendshape_names.tolist() == expressions.BLENDSHAPES
    assert face.gaze_basis.shape == (len(expressions.GAZE), n, 3)
    assert face.provenance["licence"] == "CC0-1.0"
    assert face.identity_explained.sum() > 0.99
    assert face.expression_explained.sum() > 0.99


def test_is_loaded_once():
    assert open_face() is open_face()


def test_a_head_in_millimetres(face):
    """Human sizes (Farkas 1994, adults): outer eye corners 80-100 mm apart, nasion to chin 100-130 mm."""
    points = face.landmarks()
    assert 75 < np.linalg.norm(points[45] - points[36]) < 105
    assert 90 < np.linalg.norm(points[27] - points[8]) < 130
    # x to the right of a frontal image: iBUG numbers the image's left eye first; y up; z to the viewer.
    assert points[36, 0] < points[45, 0]
    assert points[8, 1] < points[27, 1]
    assert points[30, 2] == points[:, 2].max()


def test_decode_is_eq_1(face):
    identity, expression = codes(1)
    expected = face.mean.copy()
    for i in range(99):
        expected += identity[0, i] * face.identity_basis[i]
    for j in range(29):
        expected += expression[0, j] * face.expression_basis[j]
    got = face.decode(identity[0], expression[0])
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


def test_batches_equal_one_by_one(face):
    identity, expression = codes(4)
    together = face.decode(identity, expression)
    assert together.shape == (4, face.n_vertices, 3)
    for k in range(4):
        np.testing.assert_allclose(together[k], face.decode(identity[k], expression[k]), rtol=0, atol=1e-10)


def test_decode_broadcasts(face):
    identity, expression = codes(6)
    grid = face.landmarks(identity[:2, None], expression.reshape(2, 3, 29))
    assert grid.shape == (2, 3, 68, 3)
    np.testing.assert_allclose(grid[1, 2], face.landmarks(identity[1], expression[5]), rtol=0, atol=1e-10)
    one_person = face.landmarks(identity[0], expression)
    np.testing.assert_allclose(one_person[4], face.landmarks(identity[0], expression[4]), rtol=0, atol=1e-10)
    assert face.decode(np.zeros((0, 99)), None).shape == (0, face.n_vertices, 3)


def test_no_code_is_the_mean_face(face):
    np.testing.assert_array_equal(face.decode(), face.mean)
    np.testing.assert_array_equal(face.decode(np.zeros(99), np.zeros(29)), face.mean)
    identity, expression = codes(1)
    np.testing.assert_array_equal(face.decode(identity[0]), face.decode(identity[0], np.zeros(29)))
    np.testing.assert_array_equal(face.decode(None, expression), face.decode(np.zeros(99), expression))


def test_decode_does_not_hand_out_its_own_mean(face):
    with pytest.raises(ValueError, match="read-only"):
        face.mean[0, 0] = 1.0
    before = face.decode()
    face.decode()[:] = 0
    face.landmarks()[:] = 0
    np.testing.assert_array_equal(face.decode(), before)


@pytest.mark.parametrize(("identity", "expression", "words"), [
    (np.zeros(98), None, "identity has shape (98,), the face model takes [.., 99]"),
    (None, np.zeros((2, 30)), "expression has shape (2, 30), the face model takes [.., 29]"),
    (None, 1.0, "expression has shape ()"),
])  # fmt: skip
def test_codes_of_a_wrong_width(face, identity, expression, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        face.decode(identity, expression)


def test_mirrored_codes_give_the_mirrored_face(face):
    identity, expression = codes(3)
    straight = face.decode(identity, expression)
    mirrored = face.decode(identity * face.identity_mirror, expression * face.expression_mirror)
    np.testing.assert_allclose(mirrored, straight[:, face.mirror_ids] * FLIP, rtol=0, atol=1e-9)
    assert np.abs(mirrored - straight).max() > 1  # or the test shows nothing


def test_the_stored_bases_mirror_bit_for_bit(face):
    np.testing.assert_array_equal(face.mean[face.mirror_ids] * FLIP, face.mean)
    for basis, signs in ((face.identity_basis, face.identity_mirror),
                         (face.expression_basis, face.expression_mirror)):  # fmt: skip
        assert set(signs.tolist()) == {-1, 1}
        np.testing.assert_array_equal(basis[:, face.mirror_ids] * FLIP, signs[:, None, None] * basis)


def test_mirror_ids_pair_up(face):
    np.testing.assert_array_equal(face.mirror_ids[face.mirror_ids], np.arange(face.n_vertices))
    np.testing.assert_array_equal(face.regions[face.mirror_ids], face.regions)


def test_landmarks_are_vertices(face):
    identity, expression = codes(2)
    whole = face.decode(identity, expression)
    points = face.landmarks(identity, expression)
    np.testing.assert_allclose(points, whole[:, face.landmark_ids], rtol=0, atol=1e-10)
    assert len(set(face.landmark_ids.tolist())) == 68


def test_landmarks_are_ibug_numbered_and_symmetric(face):
    np.testing.assert_array_equal(face.mirror_ids[face.landmark_ids], face.landmark_ids[IBUG_MIRROR])
    points = face.landmarks()
    # Every stretch of the contour runs as iBUG's does: down and up the jaw, else left to right.
    assert (np.diff(points[:9, 1]) < 0).all()
    assert (np.diff(points[8:17, 1]) > 0).all()
    for chain in (range(2, 15), range(17, 27), range(31, 36), (48, 49, 50, 51, 52, 53, 54), (36, 37, 38, 39)):
        assert (np.diff(points[list(chain), 0]) > 0).all()
    assert (np.diff(points[27:31, 1]) < 0).all()
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (50, 58), (51, 57), (52, 56)):
        assert points[upper, 1] > points[lower, 1] + 3
    regions = face.region_names[face.regions[face.landmark_ids]]
    assert set(regions[17:27]) == {"brows"}
    assert set(regions[36:48]) == {"eyelids"}
    assert set(regions[48:60]) == {"lips", "skin"}  # the cupid's bow lies on the edge of the lip
    assert set(regions[60:]) == {"lips"}


def test_blendshape_round_trip_reads_the_unit_itself(face):
    """Each named motion, written as a code and read back, is its own largest weight.

    Not so, by measurement: mouthDimple (.16 against mouthSmile .20) and mouthShrugUpper (.30 against
    mouthUpperUp .38), which 29 components do not tell apart.
    """
    names = face.blendshape_names.tolist()
    unclear = {"mouthDimpleLeft", "mouthDimpleRight", "mouthShrugUpper"}
    for name in expressions.USED:
        read = face.blendshapes(code(face, name))
        if name not in unclear:
            assert names[int(read.argmax())] == name, f"{name} reads as {names[int(read.argmax())]}"
    for name, least in {"jawOpen": 0.9, "mouthSmileLeft": 0.7, "browInnerUp": 0.8, "eyeBlinkRight": 0.9}.items():
        assert face.blendshapes(code(face, name))[names.index(name)] > least


def test_blendshapes_are_clipped_and_gaze_reads_nothing(face):
    _, expression = codes(200)
    weights = face.blendshapes(expression)
    assert weights.shape == (200, 52)
    assert weights.dtype == np.float64
    assert weights.min() == 0.0
    assert weights.max() == 1.0
    unused = [face.blendshape_names.tolist().index(name) for name in expressions.UNUSED]
    assert not weights[:, unused].any()
    assert not face.blendshapes_to_expression[unused].any()
    raw = expression @ face.expression_to_blendshapes
    inside = (raw > 0) & (raw < 1)
    np.testing.assert_array_equal(weights[inside], raw[inside])
    np.testing.assert_allclose(face.blendshapes(expression[7]), weights[7], rtol=0, atol=1e-12)


def test_full_units_lie_within_three_sigma(face):
    assert np.abs(face.blendshapes_to_expression).max() <= 3.0 + 1e-6


def test_jaw_open_lowers_chin_and_lower_lip_alone(face):
    motion = moved(face, "jawOpen")
    for point in (57, 66, 8):
        assert motion[point, 1] < -15
    assert np.abs(motion[[*range(36, 48), 27, 30]]).max() < 1.0
    still = face.decode(None, code(face, "jawOpen")) - face.mean
    assert np.abs(still[face.region("eyes")]).max() < 0.1
    assert np.abs(still[face.region("brows")]).max() < 0.5


def test_smile_raises_and_widens_the_mouth_corners(face):
    motion = moved(face, "mouthSmileLeft", "mouthSmileRight")
    assert (motion[[48, 54], 1] > 5).all()
    assert motion[54, 0] > 3
    assert motion[48, 0] < -3
    assert np.abs(motion[[36, 45, 27]]).max() < 1


def test_left_is_the_persons_own(face):
    """ARKit's Left is the person's: the image's right, points 54 and 42-47."""
    motion = np.linalg.norm(moved(face, "mouthSmileLeft"), axis=1)
    assert motion[54] > 5 > 5 * motion[48]
    motion = np.linalg.norm(moved(face, "eyeBlinkLeft"), axis=1)
    assert motion[[43, 44]].min() > 4 > 10 * motion[[37, 38]].max()


def test_frown_lowers_and_pucker_narrows(face):
    assert (moved(face, "mouthFrownLeft", "mouthFrownRight")[[48, 54], 1] < -3).all()
    motion = moved(face, "mouthPucker")
    assert motion[54, 0] < -3
    assert motion[48, 0] > 3
    assert motion[[51, 57], 2].min() > 3


def test_blink_closes_the_lids(face):
    def gap(points: np.ndarray) -> np.ndarray:
        return (points[[37, 38, 43, 44]] - points[[41, 40, 47, 46]])[:, 1]

    opened = gap(face.landmarks())
    closed = gap(face.landmarks(None, code(face, "eyeBlinkLeft", "eyeBlinkRight")))
    assert opened.min() > 7
    assert (closed < 0.3 * opened).all()
    assert (gap(face.landmarks(None, code(face, "eyeWideLeft", "eyeWideRight"))) > 1.2 * opened).all()


def test_brows_go_the_right_way(face):
    assert (moved(face, "browDownLeft", "browDownRight")[17:27, 1] < -2).all()
    inner, outer = moved(face, "browInnerUp")[:, 1], moved(face, "browOuterUpLeft", "browOuterUpRight")[:, 1]
    assert (inner[[20, 21, 22, 23]] > 3).all()
    assert (inner[[17, 26]] < 1).all()
    assert (outer[[17, 18, 25, 26]] > 3).all()
    assert (outer[[21, 22]] < 1).all()


def test_triangles_face_outwards(face):
    v, t = face.mean, face.triangles
    normals = np.cross(v[t[:, 1]] - v[t[:, 0]], v[t[:, 2]] - v[t[:, 0]])
    assert np.linalg.norm(normals, axis=1).min() > 1e-6  # none is degenerate
    # Whatever a viewer in front sees first turns its front to him.
    x0, x1, x2 = v[t[:, 0], :2], v[t[:, 1], :2], v[t[:, 2], :2]
    for x in np.linspace(-45.3, 44.1, 13):
        for y in np.linspace(-50.1, 60.1, 13):
            w0, w1, w2 = (
                (b[:, 0] - x) * (c[:, 1] - y) - (c[:, 0] - x) * (b[:, 1] - y)
                for b, c in ((x1, x2), (x2, x0), (x0, x1))
            )
            inside = np.flatnonzero(((w0 > 0) & (w1 > 0) & (w2 > 0)) | ((w0 < 0) & (w1 < 0) & (w2 < 0)))
            depth = (w0 * v[t[:, 0], 2] + w1 * v[t[:, 1], 2] + w2 * v[t[:, 2], 2])[inside]
            first = inside[(depth / (w0 + w1 + w2)[inside]).argmax()]
            assert normals[first, 2] > 0, f"seen from behind at x {x:.1f} y {y:.1f} mm"
    # Neighbours agree: no edge is walked twice in the same direction.
    edges = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)


def test_triangles_mirror(face):
    """The surface is symmetric too, not only its vertices: both diagonals of a pair of quads match."""
    def canonical(triangles: np.ndarray) -> set[tuple[int, ...]]:
        return {tuple(np.roll(t, -int(t.argmin())).tolist()) for t in triangles}

    mirrored = face.mirror_ids[face.triangles][:, ::-1]
    common = canonical(face.triangles) & canonical(mirrored)
    # Quads across the midline have one diagonal, which cannot mirror into itself.
    assert len(common) > 0.98 * len(face.triangles)


def test_uvs_belong_to_the_same_surface(face):
    assert face.uvs.min() >= 0
    assert face.uvs.max() <= 1
    owner = np.full(len(face.uvs), -1)
    owner[face.uv_triangles.ravel()] = face.triangles.ravel()
    assert (owner >= 0).all()  # none is unused
    np.testing.assert_array_equal(owner[face.uv_triangles], face.triangles)
    # The atlas is seen from outside, not mirrored (MakeHuman's has the face lying on its side).
    a, b, c = (face.uvs[face.uv_triangles[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    assert (area[face.region("skin", "nose", "lips")[face.triangles].all(1)] > 0).mean() > 0.98


def test_every_vertex_but_the_lashes_is_drawn(face):
    used = np.zeros(face.n_vertices, bool)
    used[face.triangles.ravel()] = True
    np.testing.assert_array_equal(used, ~face.region("eyelashes"))


def test_regions_by_name(face):
    mean = face.mean
    assert mean[face.region("eyes"), 1].mean() > mean[face.region("lips"), 1].mean()
    both = face.region("lips", "eyes")
    np.testing.assert_array_equal(both, face.region("lips") | face.region("eyes"))
    for name in face.region_names:
        assert face.region(str(name)).sum() > 50
    with pytest.raises(ValueError, match="no region 'beard'; the face model has skin, lips"):
        face.region("skin", "beard")


# Damaged files, on a model small enough to write many times.


def small_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    n, t, m, i, e, b = 70, 20, 75, 4, 3, 5
    def integers(high: int, *shape: int) -> np.ndarray:
        return rng.integers(0, high, shape).astype(np.int32)
    return {
        "mean": rng.normal(size=(n, 3)).astype(np.float32),
        "identity_basis": rng.normal(size=(i, n, 3)).astype(np.float16),
        "expression_basis": rng.normal(size=(e, n, 3)).astype(np.float16),
        "identity_variance": np.ones(i), "expression_variance": np.ones(e),
        "triangles": integers(n, t, 3), "uvs": rng.random((m, 2)), "uv_triangles": integers(m, t, 3),
        "regions": np.zeros(n, np.uint8), "region_names": np.array(["skin", "eyes"]),
        "landmark_ids": integers(n, 68), "mirror_ids": np.arange(n), "identity_mirror": np.ones(i, np.int8),
        "expression_mirror": np.ones(e, np.int8), "blendshape_names": np.array(list("abcde")),
        "expression_to_blendshapes": np.zeros((e, b)), "blendshapes_to_expression": np.zeros((b, e)),
        "gaze_basis": np.zeros((2, n, 3)), "base_ids": np.arange(n), "identity_explained": np.ones(i),
        "expression_explained": np.ones(e), "provenance": np.array('{"name": "toy"}'),
    }  # fmt: skip


def written(tmp_path: Path, **changes) -> Path:
    path = tmp_path / "toy_face.npz"
    np.savez(path, **{**small_arrays(), **changes})
    return path


def fails(path: Path, *words: str) -> None:
    """Loading raises one sentence that names the file and says these words."""
    with pytest.raises(FaceModelError) as caught:
        MorphableModel.from_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_small_model_loads(tmp_path):
    model = MorphableModel.from_file(str(written(tmp_path)))
    assert model.provenance == {"name": "toy"}
    assert model.decode(np.ones(4), np.ones(3)).shape == (70, 3)
    assert {f.name for f in fields(MorphableModel)} == {*small_arrays(), *TEXTURE}
    assert model.texture_mean is None
    assert not model.has("texture")


def test_missing_file(tmp_path):
    fails(tmp_path / "nowhere.npz", "no such face model file")


def test_a_folder_or_another_file(tmp_path):
    fails(tmp_path, "not a readable .npz")
    text = tmp_path / "face.npz"
    text.write_text("not an archive")
    fails(text, "not a readable .npz")
    text.write_bytes(b"")
    fails(text, "not a readable .npz")
    np.save(text.with_suffix(".npy"), np.zeros(3))
    fails(text.with_suffix(".npy"), "not a readable .npz")
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("readme.txt", "hello")
    fails(text, "lacks mean, identity_basis")


def test_truncated(tmp_path):
    whole = written(tmp_path).read_bytes()
    path = tmp_path / "cut.npz"
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        fails(path, "not a readable .npz")


def test_flipped_bytes_never_escape_as_another_error(tmp_path):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **small_arrays())
    path, rng = tmp_path / "flipped.npz", np.random.default_rng(0)
    failed = 0
    for _ in range(150):
        data = bytearray(buffer.getvalue())
        data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        with contextlib.suppress(FaceModelError):
            MorphableModel.from_file(path)
            continue
        failed += 1
    assert failed > 100  # the archive's checksums see nearly all


@pytest.mark.parametrize("name", ["mean", "triangles", "provenance"])
def test_missing_key(tmp_path, name):
    arrays = small_arrays()
    del arrays[name]
    path = tmp_path / "toy_face.npz"
    np.savez(path, **arrays)
    fails(path, f"lacks {name}")


@pytest.mark.parametrize(("changes", "words"), [
    ({"mean": np.zeros((70, 2))}, "mean has shape (70, 2), expected (70, 3)"),
    ({"mean": np.float32(1)}, "mean is a single value"),
    ({"expression_basis": np.zeros((3, 69, 3))}, "expression_basis has shape (3, 69, 3), expected (3, 70, 3)"),
    ({"landmark_ids": np.arange(67)}, "landmark_ids has shape (67,), expected (68,)"),
    ({"uv_triangles": np.zeros((19, 3), int)}, "uv_triangles has shape (19, 3), expected (20, 3)"),
    ({"expression_to_blendshapes": np.zeros((5, 3))}, "expression_to_blendshapes has shape (5, 3)"),
    ({"identity_explained": np.ones(3)}, "identity_explained has shape (3,), expected (4,)"),
    ({"landmark_ids": np.zeros(68)}, "landmark_ids has the wrong type float64"),
    ({"mean": np.full((70, 3), "a")}, "mean has the wrong type <U1"),
    ({"identity_basis": np.full((4, 70, 3), np.nan)}, "identity_basis holds values that are not finite"),
    ({"uvs": np.full((75, 2), np.inf)}, "uvs holds values that are not finite"),
    ({"triangles": np.full((20, 3), 70)}, "triangles points outside 0..69"),
    ({"triangles": np.full((20, 3), -1)}, "triangles points outside 0..69"),
    ({"uv_triangles": np.full((20, 3), 75)}, "uv_triangles points outside 0..74"),
    ({"landmark_ids": np.full(68, 70)}, "landmark_ids points outside 0..69"),
    ({"mirror_ids": np.full(70, 99)}, "mirror_ids points outside 0..69"),
    ({"regions": np.full(70, 2, np.uint8)}, "regions points outside 0..1"),
    ({"provenance": np.array("{")}, "provenance is not a JSON object"),
    ({"provenance": np.array("[1]")}, "provenance is not a JSON object"),
    ({"mean": np.array([{}], object)}, "not a readable .npz"),
])  # fmt: skip
def test_wrong_contents(tmp_path, changes, words):
    fails(written(tmp_path, **changes), words)


# Models that lack parts, as other people's do.

EMPTY = {
    "uvs": np.zeros((0, 2)), "uv_triangles": np.zeros((0, 3), int), "regions": np.zeros(0, np.uint8),
    "region_names": np.zeros(0, str), "landmark_ids": np.zeros(0, int), "mirror_ids": np.zeros(0, int),
    "identity_mirror": np.zeros(0, int), "expression_mirror": np.zeros(0, int), "blendshape_names": np.zeros(0, str),
    "expression_to_blendshapes": np.zeros((0, 0)), "blendshapes_to_expression": np.zeros((0, 0)),
    "gaze_basis": np.zeros((0, 0, 3)), "base_ids": np.zeros(0, int), "identity_explained": np.zeros(0),
    "expression_explained": np.zeros(0),
}  # fmt: skip


def test_the_open_face_lacks_only_a_texture(face):
    assert {part for part in PARTS if not face.has(part)} == {"texture"}
    with pytest.raises(KeyError):
        face.has("beard")


def test_a_model_that_lacks_everything_decodes(tmp_path):
    model = MorphableModel.from_file(written(tmp_path, **EMPTY))
    assert model.decode(np.ones(4), np.ones((2, 3))).shape == (2, 70, 3)
    assert not any(map(model.has, PARTS))
    for call in (model.landmarks, lambda: model.blendshapes(np.ones(3)), lambda: model.region("skin"), model.texture):
        with pytest.raises(FaceModelError, match="the face model 'toy' has no "):
            call()
    # The same as when it is made without them.
    required = ("mean", "identity_basis", "expression_basis", "identity_variance", "expression_variance", "triangles")
    made = MorphableModel(**{name: getattr(model, name) for name in required})
    for name, array in EMPTY.items():
        assert getattr(made, name).shape == array.shape, name
        assert getattr(made, name).dtype.kind == array.dtype.kind, name


@pytest.mark.parametrize("part", sorted(EMPTY))
def test_half_a_part_is_damage(tmp_path, part):
    """Empty arrays come in the groups that a part is made of; those that stand alone may be missing alone."""
    alone = {"landmark_ids", "gaze_basis", "base_ids", "identity_explained", "expression_explained"}
    path = written(tmp_path, **{part: EMPTY[part]})
    if part in alone:
        MorphableModel.from_file(path)
    else:
        fails(path, "has shape")


def test_texture(tmp_path):
    mean, basis = np.full((70, 3), 250.0, np.float32), np.ones((2, 70, 3), np.float16)
    model = MorphableModel.from_file(written(tmp_path, texture_mean=mean, texture_basis=basis))
    assert model.has("texture")
    np.testing.assert_array_equal(model.texture([1.0, 2.0]), np.full((70, 3), 253.0))
    np.testing.assert_array_equal(model.texture([[9.0, 9.0], [0.0, -1.0]])[:, 0, 0], [255.0, 249.0])
    with pytest.raises(ValueError, match=re.escape("texture has shape (3,), the face model takes [.., 2]")):
        model.texture(np.ones(3))
    fails(written(tmp_path, texture_mean=mean), "lacks texture_basis")
    fails(written(tmp_path, texture_mean=mean[:69], texture_basis=basis), "texture_mean has shape (69, 3)")
