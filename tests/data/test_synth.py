"""Rendered faces: reproducible, independent of how the work is cut, resumable, and labelled with the truth."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from expnet_tf.camera import project, rotation_matrix, transform
from expnet_tf.data import synth
from expnet_tf.data.labels import read_labels, shard_name
from expnet_tf.data.scenes import photo
from expnet_tf.data.scenes import shot as shot_module
from expnet_tf.data.scenes.shot import FRAME, contact_sheet
from expnet_tf.data.scenes.wardrobe import AssetError
from expnet_tf.data.synth import face_crops, scenery, shots, synthesize
from expnet_tf.image import read_image
from expnet_tf.morphable import open_face
from expnet_tf.render import Surface, render

# Points whose vertices the gaze does not move (it drags the lids along a little), and those of the inner face.
NO_LIDS = np.r_[0:36, 48:68]
INNER = np.arange(17, 68)


def digest(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def one_person_a_shard(monkeypatch):
    monkeypatch.setattr(synth, "PEOPLE_PER_SHARD", 1)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    """Three people, four photos each, in one shard."""
    root = tmp_path_factory.mktemp("synth") / "faces"
    assert synthesize(root, 3, 4, size=96, seed=11, workers=1) == 12
    return root


def test_same_arguments_same_shots():
    identity, first = shots(5, 2, 2, 96, None)
    again, second = shots(5, 2, 2, 96, None)
    np.testing.assert_array_equal(identity, again)
    for one, other in zip(first, second, strict=True):
        for name in ("image", "expression", "pose", "camera", "box", "points"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_other_seeds_and_people_differ():
    base = shots(5, 2, 1, 96, None)
    for seed, person in ((6, 2), (5, 3), (2, 5)):
        other = shots(seed, person, 1, 96, None)
        assert np.abs(base[0] - other[0]).max() > 0.1
        assert (base[1][0].image != other[1][0].image).mean() > 0.3


def test_a_persons_first_photos_do_not_depend_on_how_many_follow():
    identity, one = shots(5, 2, 1, 96, None)
    same, three = shots(5, 2, 3, 96, None)
    np.testing.assert_array_equal(identity, same)
    np.testing.assert_array_equal(one[0].image, three[0].image)
    assert (three[0].expression != three[1].expression).any()


def test_an_image_and_its_labels_have_the_stated_form():
    identity, taken = shots(1, 0, 2, 112, None)
    assert identity.shape == (99,)
    assert np.abs(identity).max() <= 3
    for shot in taken:
        assert shot.image.shape == (112, 112, 3)
        assert shot.image.dtype == np.uint8
        assert shot.image.std() > 5
        assert shot.expression.shape == (29,)
        assert np.abs(shot.expression).max() <= 3
        assert shot.pose.shape == (6,)
        assert -2100 < shot.pose[5] < -450  # mm before the camera
        np.testing.assert_array_equal(shot.camera[1:], [56, 56])
        assert shot.camera[0] > 112


def test_labels_reproduce_the_points(rendered):
    """Decoding the codes and projecting with the pose and camera gives the stored points, from the files alone."""
    rows, face = read_labels(rendered), open_face()
    for k in range(len(rows["key"])):
        focal, *center = rows["camera"][k].astype(float)
        points = project(face.landmarks(rows["identity"][k], rows["expression"][k]), rows["pose"][k], focal, center)
        distance = np.linalg.norm(points - rows["points"][k], axis=1)
        assert distance[NO_LIDS].max() < 0.01
        assert distance.max() < 3


def test_the_box_holds_the_face(rendered):
    rows = read_labels(rendered)
    low, high = rows["box"][:, None, :2], rows["box"][:, None, :2] + rows["box"][:, None, 2:]
    side = rows["box"][:, 2:].max(1)[:, None]
    outside = np.maximum(low - rows["points"], rows["points"] - high).max(2) / side
    assert outside[:, INNER].max() < 0.01
    # The jaw's points are no contour under yaw and may stand out.
    assert outside.max() < 0.1
    # Forehead to chin: the box starts above the brows by a fifth of its height and ends at the chin.
    turn = rotation_matrix(rows["pose"][:, :3])
    upright = (turn[:, 2, 2] > 0.9) & (turn[:, 1, 1] > 0.95)
    assert upright.sum() >= 3
    brows, chin = rows["points"][upright, 17:27, 1].min(1), rows["points"][upright, 8, 1]
    top, bottom = rows["box"][upright, 1], rows["box"][upright, 1] + rows["box"][upright, 3]
    assert ((brows - top) / (bottom - top) > 0.15).all()
    assert (np.abs(chin - bottom) / (bottom - top) < 0.08).all()


def test_the_face_fills_its_share_of_the_frame(rendered):
    rows = read_labels(rendered)
    share = rows["box"][:, 2:].max(1) / 96
    assert np.abs(np.log(share * FRAME)).max() < 0.25
    middle = (rows["box"][:, :2] + rows["box"][:, 2:] / 2) / 96
    assert np.abs(middle - 0.5).max() < 0.12


def test_what_is_drawn_is_what_is_labelled(monkeypatch):
    """The skin handed to the renderer stands where pose, codes and camera of the label say."""
    drawn = []

    def watched(surfaces, focal, center, size, light, **options):
        drawn.append((surfaces[0].vertices, size[0] / 64, focal, *center))
        return render(surfaces, focal, center, size, light, **options)

    monkeypatch.setattr(shot_module, "render", watched)
    identity, taken = shots(1, 3, 6, 64, None)
    face = open_face()
    still = np.abs(face.gaze_basis).max((0, 2)) == 0  # vertices that the gaze does not move
    assert still.sum() > 3000
    for (vertices, ratio, *camera), shot in zip(drawn, taken, strict=True):
        expected = transform(face.decode(identity, shot.expression), shot.pose)
        np.testing.assert_allclose(vertices[still], expected[still], atol=0.01)
        # A picture of low resolution is rendered small and enlarged by the camera.
        np.testing.assert_allclose(camera, shot.camera * ratio, rtol=1e-12)
    assert {ratio for _, ratio, *_ in drawn} > {1.0}


def test_the_camera_moves_nothing():
    """Blur, noise, low resolution and JPEG leave a disc where it is, within half a px, also where the picture was
    rendered smaller than it is stored."""
    image = np.full((96, 96, 3), 60, np.uint8)
    cv2.circle(image, (40, 52), 20, (220, 190, 170), -1)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        side = photo.resolution(rng, 96)
        made = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA) if side < 48 else image
        seen = photo.camera(made, side, 96, rng).astype(float).mean(2)
        assert seen.shape == (96, 96)
        bright = np.clip((seen - np.median(seen[:20])) / (seen[52, 40] - np.median(seen[:20])), 0, 1)
        bright[bright < 0.3] = 0
        y, x = np.mgrid[:96, :96]
        assert abs((bright * x).sum() / bright.sum() - 40) < 0.5, seed
        assert abs((bright * y).sum() / bright.sum() - 52) < 0.5, seed


def test_face_and_labels_lie_on_top_of_each_other():
    """Pixels change where lips are painted, and only there: pixels, pose and points speak of the same place."""
    face = open_face()
    shot = next(shot for shot in shots(3, 1, 8, 96, None)[1] if np.abs(shot.pose[:3]).max() < 0.3)
    vertices = transform(face.decode(None, shot.expression), shot.pose)
    white, painted = np.ones((face.n_vertices, 3)), np.ones((face.n_vertices, 3))
    painted[face.region("lips")] = 0.1
    drawn = [
        render([Surface(vertices, face.triangles, colors)], shot.camera[0], shot.camera[1:], (96, 96))
        for colors in (white, painted)
    ]
    changed = np.abs(drawn[0].astype(int) - drawn[1]).max(2) > 30
    mask = np.zeros((96, 96), np.uint8)
    points = project(face.landmarks(None, shot.expression), shot.pose, shot.camera[0], shot.camera[1:])
    cv2.fillPoly(mask, [np.rint(points[48:60]).astype(np.int32)], 1)
    cv2.fillPoly(mask, [np.rint(points[60:68]).astype(np.int32)], 0)  # an open mouth is no lip
    assert changed[mask > 0].mean() > 0.7
    assert not changed[cv2.dilate(mask, np.ones((9, 9))) == 0].any()


def test_the_folder_it_writes(rendered):
    rows = read_labels(rendered)
    assert rows["key"].tolist() == [f"{p:07d}/{n:03d}.jpg" for p in (1, 2, 3) for n in (1, 2, 3, 4)]
    assert rows["subject"].tolist() == [key[:7] for key in rows["key"]]
    assert not rows["quality"].any()
    for key in rows["key"]:
        assert read_image(rendered / key).shape == (96, 96, 3)
    files = set(digest(rendered))
    assert files == {*rows["key"].tolist(), shard_name(0, 1), "labels.json", "synth.json", "contact.png"}
    summary = json.loads((rendered / "labels.json").read_text())
    assert (summary["images"], summary["subjects"], summary["seed"], summary["size"]) == (12, 3, 11, 96)
    assert summary["source"] == "synthetic"
    assert read_image(rendered / "contact.png").shape == (96, 12 * 96, 3)


def test_files_hold_what_shots_returns(rendered):
    rows = read_labels(rendered)
    identity, taken = shots(11, 1, 4, 96, None)
    np.testing.assert_array_equal(rows["identity"][4:8], np.tile(identity, (4, 1)))
    for k, shot in enumerate(taken):
        np.testing.assert_allclose(rows["pose"][4 + k], shot.pose, rtol=1e-6)
        np.testing.assert_allclose(rows["box"][4 + k], shot.box, rtol=1e-6)
        error = np.abs(read_image(rendered / rows["key"][4 + k]).astype(int) - shot.image)
        assert error.mean() < 6  # JPEG of quality 95, noisy images


def test_shards_and_workers_do_not_show(rendered, tmp_path, one_person_a_shard):
    """Three shards by two processes: the images, and the labels row by row, are those of one shard, one process."""
    done = []
    assert synthesize(tmp_path, 3, 4, size=96, seed=11, workers=2, progress=done.append) == 12
    assert done == [4, 4, 4]
    expected, got = digest(rendered), digest(tmp_path)
    assert {k: v for k, v in got.items() if k.endswith(".jpg")} == {
        k: v for k, v in expected.items() if k.endswith(".jpg")
    }
    assert got["contact.png"] == expected["contact.png"]
    assert got["labels.json"] == expected["labels.json"]
    one, three = read_labels(rendered), read_labels(tmp_path)
    for name, column in one.items():
        np.testing.assert_array_equal(column, three[name])


def test_a_stopped_run_goes_on(tmp_path, monkeypatch, one_person_a_shard):
    """Stopped in the middle of the second shard: what was whole is kept, the rest is made, nothing else is left."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    synthesize(whole, 3, 2, size=64, seed=4, workers=1)
    take, calls = synth.take, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return take(*arguments)

    monkeypatch.setattr(synth, "take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        synthesize(stopped, 3, 2, size=64, seed=4, workers=1)
    assert [path.name for path in stopped.glob("labels*")] == [shard_name(0, 3)]
    # A file cut short by the stop, and one from before the rename.
    (stopped / "0000002").mkdir(exist_ok=True)
    (stopped / "0000002/001.jpg").write_bytes(b"half a")
    leftover = stopped / f".{shard_name(1, 3)}.99.tmp"
    leftover.write_bytes(b"half a shard")
    monkeypatch.setattr(synth, "take", take)
    before = (stopped / shard_name(0, 3)).stat().st_mtime_ns
    done = []
    assert synthesize(stopped, 3, 2, size=64, seed=4, workers=1, progress=done.append) == 4
    assert done == [2, 2, 2]
    assert (stopped / shard_name(0, 3)).stat().st_mtime_ns == before
    leftover.unlink()
    assert digest(stopped) == digest(whole)


def test_a_deleted_shard_is_made_again(tmp_path, one_person_a_shard):
    synthesize(tmp_path, 2, 2, size=64, seed=4, workers=1)
    before = digest(tmp_path)
    assert synthesize(tmp_path, 2, 2, size=64, seed=4, workers=1) == 0
    assert digest(tmp_path) == before
    (tmp_path / shard_name(1, 2)).unlink()
    (tmp_path / "0000002/002.jpg").unlink()
    assert synthesize(tmp_path, 2, 2, size=64, seed=4, workers=1) == 2
    assert digest(tmp_path) == before


@pytest.mark.parametrize("changes", [{"seed": 5}, {"size": 80}, {"per_identity": 3}, {"identities": 1}])
def test_two_runs_do_not_mix(tmp_path, one_person_a_shard, changes):
    arguments = {"identities": 2, "per_identity": 2, "size": 64, "seed": 4, "workers": 1}
    synthesize(tmp_path, **arguments)
    before = digest(tmp_path)
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path))}.*choose an empty folder$"):
        synthesize(tmp_path, **{**arguments, **changes})
    assert digest(tmp_path) == before


@pytest.mark.parametrize(("arguments", "words"), [
    ((0, 2), "0 identities of 2 images each: both must be at least 1"),
    ((2, 0), "2 identities of 0 images each"),
    ((1, 1, 63), "size 63: images of 64 to 512 px can be rendered"),
    ((1, 1, 513), "size 513"),
])  # fmt: skip
def test_impossible_numbers(tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        synthesize(tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_assets(tmp_path):
    with pytest.raises(AssetError, match="not a MakeHuman asset folder"):
        synthesize(tmp_path / "out", 1, 1, 64, assets=tmp_path)
    assert not (tmp_path / "out").exists()


def test_the_largest_and_smallest_sizes():
    for size in (synth.MIN_SIZE, synth.MAX_SIZE):
        assert shots(0, 0, 1, size, None)[1][0].image.shape == (size, size, 3)


def test_face_crops():
    crops = face_crops(5, 64, seed=2)
    assert crops.shape == (5, 64, 64, 3)
    assert crops.dtype == np.uint8
    np.testing.assert_array_equal(crops[:3], face_crops(3, 64, seed=2))
    assert (crops[0] != face_crops(1, 64, seed=3)[0]).mean() > 0.3
    assert all(crop.std() > 5 for crop in crops)
    # A wider crop of the same photo shows the same face smaller: its middle, cut out, looks alike.
    wide = face_crops(1, 64, seed=2, factor=1.5)[0]
    middle = cv2.resize(wide[5:59, 5:59], (64, 64), interpolation=cv2.INTER_LINEAR)
    assert np.corrcoef(middle.ravel(), crops[0].ravel())[0, 1] > 0.8


def test_contact_sheet_fills_its_last_row():
    sheet = contact_sheet([np.full((4, 4, 3), k, np.uint8) for k in range(1, 6)], columns=3)
    assert sheet.shape == (8, 12, 3)
    assert sheet[0, 0, 0] == 1
    assert sheet[4, 4, 0] == 5
    assert not sheet[4:, 8:].any()


def test_large_images_make_no_larger_contact_sheet(tmp_path):
    synthesize(tmp_path, 2, 1, size=256, seed=4, workers=1)
    assert read_image(tmp_path / "contact.png").shape == (synth.SHEET_SIDE, 12 * synth.SHEET_SIDE, 3)


def test_a_folder_of_another_kind_or_a_broken_one(tmp_path):
    synthesize(tmp_path, 1, 1, size=64, workers=1)
    (tmp_path / "synth.json").write_text("{")
    with pytest.raises(ValueError, match=r"synth.json: not readable"):
        synthesize(tmp_path, 1, 1, size=64, workers=1)
    (tmp_path / "synth.json").unlink()
    with pytest.raises(ValueError, match=r"labels-00000-of-00001.npz but no synth.json, so another run"):
        synthesize(tmp_path, 1, 1, size=64, workers=1)


@pytest.mark.slow
def test_vector_instructions_do_not_show(tmp_path):
    """The same bytes, pixels and labels, where numpy, OpenCV, OpenBLAS and numba do without AVX."""
    code = """
import hashlib, numpy as np
from expnet_tf.data.synth import shots
digest = hashlib.sha256()
for person in range(4):
    identity, taken = shots(3, person, 2, 96, None)
    for shot in taken:
        for part in (identity, shot.image, shot.expression, *(np.float32(x) for x in (shot.pose, shot.points))):
            digest.update(part.tobytes())
print(digest.hexdigest())
"""
    plain = {
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL",
        "OPENCV_CPU_DISABLE": "AVX2,AVX,FP16,SSE4.2,SSE4.1", "OPENBLAS_CORETYPE": "Prescott",
        "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path),
    }
    found = [
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=os.environ | extra, text=True,
                       capture_output=True, check=True).stdout.strip()
        for extra in ({}, plain)
    ]  # fmt: skip
    assert len(found[0]) == 64
    assert found[0] == found[1]


def test_makehuman_assets(shared):
    """With the CC0 assets: reproducible, dressed (unlike the bare model), and the labels do not change."""
    folder = str(shared / "data/makehuman")
    identity, dressed = shots(9, 0, 2, 96, folder)
    scenery.cache_clear()
    _, again = shots(9, 0, 2, 96, folder)
    for one, other in zip(dressed, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.points, other.points)
    face = open_face()
    for shot in dressed:
        focal, *center = shot.camera
        points = project(face.landmarks(identity, shot.expression), shot.pose, focal, center)
        assert np.linalg.norm(points - shot.points, axis=1)[NO_LIDS].max() < 0.01
    bare_identity, _ = shots(9, 0, 0, 96, None)
    np.testing.assert_array_equal(identity, bare_identity)
