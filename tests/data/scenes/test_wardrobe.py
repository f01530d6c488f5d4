"""Parts fitted onto the head: a tiny asset folder written here, and MakeHuman's own where it is at hand."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from expnet_tf.data.scenes.atlas import HEIGHT, WIDTH
from expnet_tf.data.scenes.wardrobe import AssetError, Wardrobe, load_part, load_texture, procedural_skin
from expnet_tf.data.synth import fingerprint, scenery, synthesize
from expnet_tf.morphable import MorphableModel, open_face

SQUARE_OBJ = """v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
f 1/1 2/2 3/3 4/4
"""


@pytest.fixture(scope="module")
def face() -> MorphableModel:
    return open_face()


def base_of(face: MorphableModel, landmark: int) -> int:
    """The MakeHuman number of a landmark's vertex."""
    return int(face.base_ids[face.landmark_ids[landmark]])


def write_part(folder: Path, face: MorphableModel, lines: list[str] | None = None, obj: str = SQUARE_OBJ) -> Path:
    """A four-cornered part; by default one corner on each of four landmarks."""
    folder.mkdir(parents=True, exist_ok=True)
    if lines is None:
        lines = [str(base_of(face, point)) for point in (48, 54, 45, 36)]
    path = folder / f"{folder.name}.mhclo"
    path.write_text("\n".join(["# a comment", "name test", f"obj_file {folder.name}.obj", "verts 0", *lines]) + "\n")
    (folder / f"{folder.name}.obj").write_text(obj)
    return path


def write_png(path: Path, value=(10, 20, 30, 255), size: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size, size, len(value)), value, np.uint8))
    return path


def asset_folder(root: Path, face: MorphableModel) -> Path:
    """The smallest folder that Wardrobe.open takes: one of each kind."""
    write_png(root / "skins/textures/pale_diffuse.png", (90, 120, 200))
    write_part(root / "eyes/high-poly", face)
    write_png(root / "eyes/materials/brown.png")
    for kind in ("eyebrows", "eyelashes", "hair", "tongue"):
        write_part(root / kind / "one", face)
        write_png(root / kind / "one/one.png")
    write_part(root / "teeth/base", face)
    write_png(root / "teeth/materials/teeth.png")
    return root


def test_a_part_tied_to_single_vertices_follows_them(tmp_path, face):
    part = load_part(write_part(tmp_path / "card", face), face)
    assert part.name == "card"
    assert part.triangles.tolist() == part.uv_triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
    np.testing.assert_array_equal(part.uvs, [[0, 0], [1, 0], [1, 1], [0, 1]])
    smile = np.clip(face.blendshapes_to_expression[face.blendshape_names.tolist().index("mouthSmileLeft")], -3, 3)
    for vertices in (face.mean, face.decode(None, smile)):
        np.testing.assert_allclose(part.fit(vertices), vertices[face.landmark_ids[[48, 54, 45, 36]]], atol=1e-6)


def test_a_part_between_vertices_by_hand(tmp_path, face):
    """position = sum of weight * vertex + offset * scale, with scale = mm of the head over the file's length."""
    a, b, c = (base_of(face, point) for point in (36, 45, 30))
    lines = [f"{a} {b} {c} 0.5 0.25 0.25 0.1 0.2 -0.3", f"{a} {b} {c} 1 0 0 0 0 0", str(b), str(c)]
    path = write_part(tmp_path / "card", face, lines)
    corners = face.landmarks()[[36, 45, 30]]
    middle = 0.5 * corners[0] + 0.25 * corners[1] + 0.25 * corners[2]
    # Without scales an offset is in the base mesh's decimetres.
    got = load_part(path, face).fit(face.mean)
    np.testing.assert_allclose(got[0], middle + [10, 20, -30], atol=1e-4)
    np.testing.assert_allclose(got[1:], corners, atol=1e-4)
    # With them, 0.8 of the file's units are what the head has from eye corner to eye corner; so per axis.
    x_scale = f"x_scale {a} {b} 0.8"
    z_scale = f"z_scale {a} {c} 0.5"
    path.write_text(path.read_text().replace("verts 0", f"{x_scale}\n{z_scale}\nverts 0"))
    wide, deep = abs(corners[1, 0] - corners[0, 0]) / 0.8, abs(corners[2, 2] - corners[0, 2]) / 0.5
    expected = middle + [0.1 * wide, 20, -0.3 * deep]
    np.testing.assert_allclose(load_part(path, face).fit(face.mean)[0], expected, atol=1e-4)


def test_lists_after_the_vertices_are_not_vertices(tmp_path, face):
    path = write_part(tmp_path / "card", face)
    expected = load_part(path, face)
    # A tag between, as in some of MakeHuman's files, changes nothing.
    path.write_text(path.read_text().replace("verts 0", "verts 0\ntag young") + "delete_verts\n12 - 30 7\n44\n")
    again = load_part(path, face)
    np.testing.assert_array_equal(again.ids, expected.ids)


def test_faces_on_vertices_that_the_head_lacks_are_dropped(tmp_path, face):
    toe = next(i for i in range(20000) if i not in set(face.base_ids.tolist()))
    lines = [*(str(base_of(face, point)) for point in (48, 54, 45)), str(toe)]
    part = load_part(write_part(tmp_path / "card", face, lines), face)
    assert part.triangles.tolist() == [[0, 1, 2]]
    assert np.isfinite(part.fit(face.mean)).all()
    lines[3] = "999999"  # beyond the base mesh
    assert load_part(write_part(tmp_path / "card", face, lines), face).triangles.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(("lines", "obj", "words"), [
    ([], SQUARE_OBJ, "not a MakeHuman .mhclo file (no verts"),
    (["1", "2 x 3"], SQUARE_OBJ, "not a MakeHuman .mhclo file"),
    (["10700", "10701"], SQUARE_OBJ, "ties 2 vertices, card.obj has 4"),
    (None, SQUARE_OBJ.replace("4/4", "9/4"), "faces of vertices that it does not have"),
    (None, SQUARE_OBJ.replace("f 1/1 2/2 3/3 4/4\n", ""), "no faces"),
    (None, "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3\n", "not an .obj file with texture coordinates"),
])  # fmt: skip
def test_broken_parts(tmp_path, face, lines, obj, words):
    path = write_part(tmp_path / "card", face, lines, obj)
    with pytest.raises(AssetError, match=re.escape(words)) as caught:
        load_part(path, face)
    assert str(tmp_path / "card") in str(caught.value)


def test_a_part_without_its_obj(tmp_path, face):
    path = write_part(tmp_path / "card", face)
    path.with_suffix(".obj").unlink()
    with pytest.raises(AssetError, match=re.escape(str(path.with_suffix(".obj")))):
        load_part(path, face)


def test_a_small_folder_opens(tmp_path, face):
    wardrobe = Wardrobe.open(asset_folder(tmp_path, face), face)
    assert [path.stem for path in wardrobe.skins] == ["pale_diffuse"]
    assert wardrobe.skin(0)[0, 0].tolist() == [200, 120, 90, 255]  # RGB of what OpenCV wrote as BGR
    for kind in (wardrobe.irises, wardrobe.brows, wardrobe.lashes, wardrobe.hair, wardrobe.teeth):
        assert len(kind) == 1
    assert wardrobe.tongue[0].name == "one"
    assert wardrobe.teeth_texture.shape == (8, 8, 4)


@pytest.mark.parametrize("lost", [
    "skins/textures/pale_diffuse.png", "eyes/high-poly/high-poly.mhclo", "eyes/materials/brown.png",
    "eyebrows/one/one.png", "eyelashes/one/one.mhclo", "hair/one/one.mhclo", "teeth/base/base.mhclo",
    "teeth/materials/teeth.png", "tongue/one/one.png",
])  # fmt: skip
def test_a_folder_that_lacks_a_kind(tmp_path, face, lost):
    """Said when the folder is opened, with its name and the kind, not when a person is drawn."""
    root = asset_folder(tmp_path, face)
    (root / lost).unlink()
    with pytest.raises(AssetError, match=f"^{re.escape(str(root))}: no {lost.split('/', maxsplit=1)[0]}/"):
        Wardrobe.open(root, face)


def test_no_folder_at_all(tmp_path, face):
    with pytest.raises(AssetError, match="not a MakeHuman asset folder"):
        Wardrobe.open(tmp_path / "nowhere", face)


def test_changed_assets_are_another_run(tmp_path, face):
    """A stopped run does not go on with other skins; nor does one without assets go on with some."""
    root = asset_folder(tmp_path / "assets", face)
    before = fingerprint(root)
    run = {"identities": 1, "per_identity": 1, "size": 64, "workers": 1}
    assert synthesize(tmp_path / "out", **run, assets=root) == 1
    assert synthesize(tmp_path / "out", **run, assets=root) == 0
    with pytest.raises(ValueError, match=r"rendered with assets [0-9a-f]{64}, not None; choose an empty folder"):
        synthesize(tmp_path / "out", **run)
    write_png(root / "hair/one/one.png", (9, 9, 9, 255))
    scenery.cache_clear()
    assert fingerprint(root) != before
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path))}.*rendered with assets"):
        synthesize(tmp_path / "out", **run, assets=root)


def test_a_part_that_does_not_fit_the_head_is_not_worn(tmp_path, face):
    root = asset_folder(tmp_path, face)
    write_part(root / "hair/shoes", face, ["999990", "999991", "999992", "999993"])
    write_png(root / "hair/shoes/shoes.png")
    assert [part.name for part, _ in Wardrobe.open(root, face).hair] == ["one"]


def test_textures_come_as_rgba(tmp_path):
    assert load_texture(write_png(tmp_path / "a.png", (1, 2, 3, 4)), 64)[0, 0].tolist() == [3, 2, 1, 4]
    assert load_texture(write_png(tmp_path / "b.png", (1, 2, 3)), 64)[0, 0].tolist() == [3, 2, 1, 255]
    assert load_texture(write_png(tmp_path / "c.png", (7,)), 64)[0, 0].tolist() == [7, 7, 7, 255]
    big = load_texture(write_png(tmp_path / "d.png", (1, 2, 3), size=100), 64)
    assert big.shape == (64, 64, 4)
    assert big[30, 30].tolist() == [3, 2, 1, 255]
    assert big.flags.c_contiguous


def test_shrinking_keeps_the_edges_bright(tmp_path):
    """White hair on transparent black: averaged without regard to alpha, the edge would be grey."""
    image = np.zeros((64, 64, 4), np.uint8)
    image[:, 1::2] = 255
    cv2.imwrite(str(tmp_path / "hair.png"), image)
    small = load_texture(tmp_path / "hair.png", 16)
    assert small[..., :3].min() == 255
    np.testing.assert_allclose(small[..., 3], 128, atol=1)


def test_what_is_no_texture(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(AssetError, match=re.escape(f"{tmp_path / 'a.png'}: not an image")):
        load_texture(tmp_path / "a.png", 64)
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((8, 8, 3), 40000, np.uint16))
    with pytest.raises(AssetError, match="8 bits a channel"):
        load_texture(tmp_path / "deep.png", 64)


def test_procedural_skin():
    one, other = (procedural_skin(np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (HEIGHT, WIDTH, 4)
    assert (one[..., 3] == 255).all()
    red, green, blue = one[..., :3].reshape(-1, 3).mean(0)
    assert red > green > blue  # skin
    assert 3 < one[..., 0].std() < 30  # blotches, not noise
    assert (one != procedural_skin(np.random.default_rng(4))).mean() > 0.5


@pytest.fixture(scope="module")
def makehuman(shared, face) -> Wardrobe:
    return Wardrobe.open(shared / "data/makehuman", face, texture_size=64)


def test_makehumans_own_folder(makehuman, face):
    assert len(makehuman.skins) >= 10
    assert len(makehuman.brows) >= 10
    assert len(makehuman.lashes) >= 2
    assert len(makehuman.hair) >= 5
    worn = makehuman.brows + makehuman.lashes + makehuman.hair
    for part in (makehuman.eyes, *makehuman.teeth, *(part for part, _ in worn)):
        placed = part.fit(face.mean)
        assert np.isfinite(placed).all()
        assert part.triangles.max() < len(placed)
        assert part.uv_triangles.max() < len(part.uvs)
        np.testing.assert_allclose(part.weights.sum(1), 1, atol=0.02)


def test_makehumans_parts_lie_where_they_belong(makehuman, face):
    points = face.landmarks()
    def middle(part) -> np.ndarray:
        used = np.unique(part.triangles)
        return part.fit(face.mean)[used].mean(0)
    eyes = points[36:48].mean(0)
    assert np.linalg.norm((middle(makehuman.eyes) - eyes)[:2]) < 4
    for part, _ in makehuman.brows:
        assert np.linalg.norm((middle(part) - points[17:27].mean(0))[:2]) < 8, part.name
    for part, _ in makehuman.lashes:
        assert np.linalg.norm((middle(part) - eyes)[:2]) < 8, part.name
    for part in makehuman.teeth:
        assert np.linalg.norm((middle(part) - points[60:68].mean(0))[:2]) < 15, part.name
    for part, _ in makehuman.hair:
        assert middle(part)[1] > points[27, 1], part.name


def test_lashes_follow_a_blink_and_teeth_the_jaw(makehuman, face):
    names = face.blendshape_names.tolist()
    def moved(part, *units: str) -> np.ndarray:
        z = np.clip(face.blendshapes_to_expression[[names.index(u) for u in units]].sum(0), -3, 3)
        return part.fit(face.decode(None, z)) - part.fit(face.mean)
    lash = makehuman.lashes[0][0]
    assert moved(lash, "eyeBlinkLeft", "eyeBlinkRight")[:, 1].min() < -5
    teeth = moved(makehuman.teeth[0], "jawOpen")[:, 1]
    assert teeth.min() < -15  # the lower row
    assert np.abs(teeth).min() < 1  # the upper row stays
