"""A labelling run from images to labels.json: round trips, what is left out and why, and runs that were stopped."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.data import labels
from expnet_tf.data.labelling import shard as labelling
from expnet_tf.data.labelling.job import label, one_by_one, shards
from expnet_tf.data.labelling.recipe import Recipe, RecipeError
from expnet_tf.data.labels import read_labels
from expnet_tf.data.sources import open_source
from expnet_tf.models import DEFAULT

TRUE = Recipe(landmarks="labels", shape="labels", pose="labels", boxes="labels")


def run(faces: Path, out: Path, recipe: Recipe = TRUE, runner=one_by_one, images_per_shard: int = 3):
    return label(open_source(faces), out, recipe, runner, images_per_shard=images_per_shard)


def failures(out: Path) -> list[list[str]]:
    with (out / "failures.csv").open(newline="") as file:
        return list(csv.reader(file))


def files(out: Path) -> dict[str, bytes]:
    """What a run leaves that must be the same however it came about."""
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and path.name != "timings.json"}


@pytest.fixture
def own_faces(faces, tmp_path):
    """A copy that may be spoiled."""
    return shutil.copytree(faces, tmp_path / "own")


@pytest.mark.parametrize("pose", ["labels", "landmarks"])
def test_round_trip(faces, tmp_path, pose):
    """True landmarks, shape, pose and pinhole give the code back. With a solved pose: under another focal length."""
    done = run(faces, tmp_path / "out", replace(TRUE, pose=pose))
    assert (done.labelled, done.failed, done.made) == (12, 0, 4)
    truth, got = read_labels(faces), read_labels(tmp_path / "out")
    assert got["key"].tolist() == truth["key"].tolist()
    error = np.median(np.abs(got["expression"] - truth["expression"]))
    assert error < (0.05 if pose == "labels" else 0.5)
    if pose == "labels":
        for name in ("identity", "pose", "camera", "box", "points", "subject"):
            np.testing.assert_array_equal(got[name], truth[name])
    assert (got["quality"] < 1).all()
    np.testing.assert_array_equal(got["active"], (np.abs(got["expression"]) == 3).sum(1))


def test_orthography_is_written_as_the_schema_says(faces, tmp_path):
    run(faces, tmp_path / "out", replace(TRUE, camera="orthographic"))
    truth, got = read_labels(faces), read_labels(tmp_path / "out")
    assert not got["camera"].any()
    np.testing.assert_allclose(got["pose"][:, :3], truth["pose"][:, :3], atol=1e-5)
    scale = truth["camera"][:, 0] / -truth["pose"][:, 5]
    np.testing.assert_allclose(got["pose"][:, 3], scale, rtol=0.2)  # px per mm at the head, not at its origin
    assert json.loads((tmp_path / "out/labels.json").read_text())["camera"] == "orthographic"


def test_labels_json(faces, tmp_path):
    run(faces, tmp_path / "out")
    facts = json.loads((tmp_path / "out/labels.json").read_text())
    assert (facts["schema"], facts["images"], facts["subjects"]) == ("expnet.labels/1", 12, 4)
    assert facts["source"] == json.loads(json.dumps(open_source(faces).describe()))
    assert facts["source_path"] == str(faces)
    assert facts["landmarks"] == {"kind": "labels"}
    assert set(facts["statistics"]["quality"]) == {"1", "5", "25", "50", "75", "95", "99"}
    assert sum(facts["statistics"]["active"].values()) == 12
    assert facts["statistics"]["failed"] == {}
    assert len(facts["statistics"]["expression"]["std"]) == 29
    timings = json.loads((tmp_path / "out/timings.json").read_text())
    assert timings["images"] == 12
    assert sum(timings["share"].values()) == pytest.approx(1, abs=1e-3)
    assert failures(tmp_path / "out") == [["key", "stage", "reason", "detail"]]


@pytest.mark.slow
def test_our_own_heads(faces, tmp_path):
    """Shape and pose of the shipped network: one shape a person, the nominal camera of each crop."""
    run(faces, tmp_path / "out", replace(TRUE, shape="network", pose="network"), images_per_shard=100)
    got = read_labels(tmp_path / "out")
    for person in set(got["subject"].tolist()):
        assert len(np.unique(got["identity"][got["subject"] == person], axis=0)) == 1
    assert len(np.unique(got["identity"], axis=0)) == 4
    side = got["camera"][:, 0] / 4  # NOMINAL_FOCAL
    np.testing.assert_allclose(side, np.floor(1.25 * got["box"][:, 2:].max(1) + 0.5))
    assert np.median(got["quality"]) < 3  # px of 64: the pose head is near
    facts = json.loads((tmp_path / "out/labels.json").read_text())
    assert facts["networks"][DEFAULT]["crop_factor"] == 1.25


def test_what_is_left_out_and_why(own_faces, tmp_path):
    """Each image that has no label is named with the stage and the reason; the others are labelled."""
    truth = read_labels(own_faces)
    (own_faces / "0000001/001.jpg").write_bytes(b"\xff\xd8\xff no image")
    (own_faces / "0000001/002.jpg").unlink()
    points = truth["points"].copy()
    points[3] = np.nan  # 0000002/001
    points[5, :] = 30.0  # 0000002/003
    points[7] += 1000  # 0000003/002: far away from the face
    keep = np.arange(12) != 4  # 0000002/002
    np.savez(tmp_path / "p.npz", key=truth["key"][keep], points=points[keep])
    keep = np.arange(12) != 8  # 0000003/003
    np.savez(tmp_path / "pose.npz", key=truth["key"][keep], pose=truth["pose"][keep], camera=truth["camera"][keep],
             frame=np.array("expnet"))  # fmt: skip
    identity = truth["identity"].copy()
    identity[9:] = np.nan  # all of 0000004
    np.savez(tmp_path / "shape.npz", key=truth["key"], identity=identity)
    recipe = Recipe(
        landmarks=f"npz:{tmp_path}/p.npz", shape=f"npz:{tmp_path}/shape.npz", pose=f"npz:{tmp_path}/pose.npz",
        boxes="labels",
    )  # fmt: skip
    done = run(own_faces, tmp_path / "out", recipe)
    lines = {line[0]: line[1:] for line in failures(tmp_path / "out")[1:]}
    reasons = {key: tuple(line[:2]) for key, line in lines.items()}
    assert reasons == {
        "0000001/001.jpg": ("read", "the image cannot be read"),
        "0000001/002.jpg": ("read", "the image cannot be read"),
        "0000002/001.jpg": ("landmarks", "not finite"),
        "0000002/002.jpg": ("landmarks", "none in the file"),
        "0000002/003.jpg": ("fit", "all landmarks are in one place"),
        "0000003/003.jpg": ("pose", "none in the file"),
        **{f"0000004/00{k}.jpg": ("shape", "no estimate of the person's shape") for k in (1, 2, 3)},
    }
    assert "does not exist" in lines["0000001/002.jpg"][2]
    got = read_labels(tmp_path / "out")
    assert got["key"].tolist() == ["0000001/003.jpg", "0000003/001.jpg", "0000003/002.jpg"]
    assert got["quality"][2] > 500  # a fit to points that are no face says so
    assert (done.labelled, done.failed) == (3, 9)
    facts = json.loads((tmp_path / "out/labels.json").read_text())
    assert facts["statistics"]["failed"]["read: the image cannot be read"] == {"images": 2, "share": 0.16667}
    # The shard of person 4 has no rows, and is there.
    with np.load(tmp_path / "out/labels-00003-of-00004.npz") as data:
        assert data["key"].size == 0


def test_nothing_but_failures(own_faces, tmp_path):
    for path in own_faces.glob("*/*.jpg"):
        path.write_bytes(b"")
    done = run(own_faces, tmp_path / "out")
    assert (done.labelled, done.failed) == (0, 12)
    assert json.loads((tmp_path / "out/labels.json").read_text())["images"] == 0
    assert len(read_labels(tmp_path / "out")["key"]) == 0
    assert run(own_faces, tmp_path / "out").made == 0


def test_pictures_without_a_face(own_faces, tmp_path):
    import cv2

    for path in own_faces.glob("*/*.jpg"):
        cv2.imwrite(str(path), np.full((64, 64, 3), 90, np.uint8))
    run(own_faces, tmp_path / "out", replace(TRUE, boxes="detect"))
    assert {tuple(line[1:3]) for line in failures(tmp_path / "out")[1:]} == {("detect", "no face found")}


def test_a_stopped_run_goes_on_and_ends_the_same(faces, tmp_path):
    run(faces, tmp_path / "whole")

    def stopped(shares):
        for number, share in enumerate(shares):
            if number == 2:
                raise KeyboardInterrupt
            yield labelling.make_shard(share)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(faces, out, runner=stopped)
    assert not (out / "labels.json").exists()
    there = {path.name: path.stat().st_mtime_ns for path in out.glob("labels-*.npz")}
    assert len(there) == 2
    (out / ".0123.tmp").write_bytes(b"half a shard")
    (out / labels.shard_name(1, 4)).with_suffix(".npz").unlink()  # killed between the record and the labels
    done = run(faces, out, runner=lambda shares: one_by_one(shares[::-1]))
    assert done.made == 3
    assert files(out) == files(tmp_path / "whole")
    assert (out / labels.shard_name(0, 4)).stat().st_mtime_ns == there[labels.shard_name(0, 4)]


@pytest.mark.parametrize(("change", "words"), [
    ({"recipe": replace(TRUE, camera="orthographic")}, "another recipe: it was camera pinhole, now it is camera ortho"),
    ({"recipe": replace(TRUE, prior=1.0)}, "another recipe: it was prior None, now it is prior 1.0"),
    ({"images_per_shard": 6}, "another images_per_shard: it was 3, now it is 6"),
])  # fmt: skip
def test_a_folder_is_of_one_run(faces, tmp_path, change, words):
    run(faces, tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(RecipeError, match=f"^{re.escape(str(tmp_path / 'out'))} holds a run with {words}"):
        run(faces, tmp_path / "out", **change)
    assert files(tmp_path / "out") == before


def test_another_source(faces, own_faces, tmp_path):
    run(faces, tmp_path / "out")
    assert run(own_faces, tmp_path / "out").made == 0  # the same images in another place
    columns = read_labels(own_faces)
    (own_faces / "labels-00000-of-00001.npz").unlink()
    labels.write_shard(own_faces / "labels-00000-of-00001.npz", {name: v[:9] for name, v in columns.items()})
    with pytest.raises(RecipeError, match="holds a run with another"):
        run(own_faces, tmp_path / "out")


def test_folders_that_are_refused(faces, own_faces, tmp_path):
    with pytest.raises(RecipeError, match="is the source itself; its own labels would be written over"):
        run(faces, faces)
    with pytest.raises(RecipeError, match="holds labels that expnet label did not make; choose an empty folder"):
        run(faces, own_faces)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/run.json").write_text("{")
    with pytest.raises(RecipeError, match=re.escape("run.json is damaged")):
        run(faces, tmp_path / "out")


def test_a_worker_with_other_tools_is_refused(faces, tmp_path):
    def elsewhere(shares):
        for share in shares:
            yield labelling.make_shard(replace(share, tools={**share.tools, "true_labels": {"sha256": "other"}}))

    with pytest.raises(labelling.ToolsDiffer, match=r"a worker's true_labels is .*; the run was started with .*other"):
        run(faces, tmp_path / "out", runner=elsewhere)


def test_workers_that_write_elsewhere_are_noticed(faces, tmp_path):
    with pytest.raises(RecipeError, match="was made but is not here; do the workers see the same folder"):
        run(faces, tmp_path / "out", runner=lambda shares: [])


def test_people_are_never_split():
    class Source:
        identities = ("a", "b", "a", "c", "c", "c", "b", "d")

    plan = [rows.tolist() for rows in shards(Source(), 3)]  # type: ignore[arg-type]
    assert plan == [[0, 1, 2, 6], [3, 4, 5], [7]]
    assert [rows.tolist() for rows in shards(Source(), 100)] == [list(range(8))]  # type: ignore[arg-type]
