"""Packing: what is in the shards, the split by person, going on after an interruption, what is left out."""

import csv
import hashlib
import json
import os
import shutil
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.data import labels as label_files
from expnet_tf.data import pack_shard
from expnet_tf.data.labels import WIDTHS, read_labels, read_shard, shard_name, write_shard
from expnet_tf.data.pack import pack
from expnet_tf.data.pack_plan import Options, PackError
from expnet_tf.data.records import SPLITS, open_packed, read_plain
from expnet_tf.data.sources import SourceError
from expnet_tf.image import decode_image

SMALL = Options(size=64, validation_share=0.25, per_shard=4)  # the faces have four people of three images: 3 + 1


def examples(folder: Path) -> dict:
    packed = open_packed(folder)
    return {example.key: (split, example) for split in SPLITS for example in read_plain(packed, split)}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def copy_of(faces: Path, folder: Path, change=None, **facts) -> Path:
    """A labels folder with the rows changed and facts added to labels.json; with its images."""
    shutil.copytree(faces, folder)
    shard = folder / shard_name(0, 1)
    if change:
        columns = read_shard(shard)
        change(columns)
        write_shard(shard, columns)
    (folder / "labels.json").write_text(json.dumps({**json.loads((folder / "labels.json").read_text()), **facts}))
    return folder


@pytest.fixture(scope="module")
def packed(faces, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    done = pack([faces], folder, SMALL, workers=1)
    assert (done.packed, done.failed) == (12, 0)
    return folder


def test_every_image_is_packed_once_with_its_labels(faces, packed):
    columns, found = read_labels(faces), examples(packed)
    assert sorted(found) == sorted(columns["key"])
    for i, key in enumerate(columns["key"]):
        example = found[key][1]
        np.testing.assert_array_equal(example.image, decode_image((faces / key).read_bytes()))
        assert example.subject == columns["subject"][i]
        for name, width in WIDTHS.items():
            np.testing.assert_array_equal(example.labels[name], columns[name][i].reshape(width or (1,)))


def test_no_person_is_in_both_splits(packed):
    people = {split: {e.subject for s, e in examples(packed).values() if s == split} for split in SPLITS}
    assert len(people["train"]) == 3
    assert len(people["validation"]) == 1
    assert not people["train"] & people["validation"]


def test_the_manifest_tells_what_is_there(faces, packed):
    manifest = json.loads((packed / "manifest.json").read_text())
    assert manifest["schema"] == "expnet.packed/1"
    assert (manifest["size"], manifest["crop"], manifest["camera"]) == (64, "none", "pinhole")
    boxes = read_labels(faces)["box"]
    assert manifest["factor"] == pytest.approx(np.median(64 / boxes[:, 2:].max(1)), abs=1e-4)
    assert manifest["jpeg"]["unchanged"] == 12
    assert {s: (f["images"], f["subjects"]) for s, f in manifest["splits"].items()} == {
        "train": (9, 3), "validation": (3, 1),
    }  # fmt: skip
    assert len(manifest["splits"]["train"]["shards"]) == 3
    for split in SPLITS:
        for name, facts in manifest["splits"][split]["shards"].items():
            assert hashlib.sha256((packed / name).read_bytes()).hexdigest() == facts["sha256"]
    assert set(manifest["files"]) == {"mean_image.npy", "train.index.npy", "validation.index.npy"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((packed / name).read_bytes()).hexdigest() == digest
    train = np.stack([e.labels["expression"] for s, e in examples(packed).values() if s == "train"]).astype(float)
    statistics = manifest["splits"]["train"]["statistics"]["expression"]
    np.testing.assert_allclose(statistics["mean"], train.mean(0), atol=1e-5)
    np.testing.assert_allclose(statistics["std"], train.std(0), atol=1e-4)
    assert not list(packed.glob(".*")) + list(packed.glob("plan.json")) + list(packed.glob("parts"))


def test_the_mean_image_is_that_of_the_training_split(packed):
    train = np.stack([e.image for split, e in examples(packed).values() if split == "train"])
    np.testing.assert_allclose(open_packed(packed).mean_image(), train.mean(0, dtype=np.float64), atol=1e-4)


def test_records_are_mixed(packed):
    """In stored order neighbours are not the same person's all the time, as they are in the labels."""
    people = [example.subject for example in read_plain(open_packed(packed), "train")]
    assert sum(a != b for a, b in pairwise(people)) > 2


def test_the_same_arguments_give_the_same_bytes_and_a_second_run_does_nothing(faces, packed, tmp_path):
    pack([faces], tmp_path, SMALL, workers=1)
    assert files(tmp_path) == files(packed)
    seen = []
    assert pack([faces], tmp_path, SMALL, progress=lambda *step: seen.append(step)).packed == 0
    assert (seen, files(tmp_path)) == ([(12, 12)], files(packed))


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(faces, packed, tmp_path):
    pack([faces], tmp_path, SMALL, workers=2)
    assert files(tmp_path) == files(packed)


def test_a_stopped_run_goes_on(faces, packed, tmp_path, monkeypatch):
    """Stopped in the third of four shards; afterwards one of the whole ones is damaged as well."""
    from expnet_tf.data import framing

    count = 0

    def stop(*arguments):
        nonlocal count
        count += 1
        if count > 7:
            raise KeyboardInterrupt
        return framing.frame_face(*arguments)

    monkeypatch.setattr(pack_shard, "frame_face", stop)
    with pytest.raises(KeyboardInterrupt):
        pack([faces], tmp_path, SMALL, workers=1)
    monkeypatch.undo()
    shards = sorted(path.name for path in tmp_path.glob("*.tfrecord"))
    assert shards == ["train-00000-of-00003.tfrecord", "train-00001-of-00003.tfrecord"]
    assert not (tmp_path / "manifest.json").exists()
    assert not list(tmp_path.glob(".*"))
    (tmp_path / ".0123.tmp").write_bytes(b"x")  # what kill -9 leaves of a shard
    (tmp_path / shards[0]).write_bytes((tmp_path / shards[0]).read_bytes()[:-1] + b"x")
    seen = []
    assert pack([faces], tmp_path, SMALL, workers=1, progress=lambda *step: seen.append(step)).packed == 12 - 3
    assert seen == [(3, 12), (6, 12), (9, 12), (12, 12)]  # the second shard of three was whole
    assert files(tmp_path) == files(packed)


def test_other_arguments_or_labels_need_another_folder(faces, packed, tmp_path):
    for options in (Options(size=48), Options(size=64, seed=1, validation_share=0.25, per_shard=4)):
        with pytest.raises(PackError, match="holds records of other labels or other arguments"):
            pack([faces], packed, options)

    def change(columns):
        columns["expression"][0, 0] += 1

    with pytest.raises(PackError, match="holds records of other labels"):
        pack([copy_of(faces, tmp_path / "faces", change)], packed, SMALL)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.tfrecord").write_bytes(b"")
    with pytest.raises(PackError, match="holds TFRecord files of something else"):
        pack([faces], tmp_path / "other", SMALL)


def test_bad_images_are_listed_and_the_others_packed(faces, tmp_path):
    folder = copy_of(faces, tmp_path / "faces")
    (folder / "0000001" / "001.jpg").write_bytes(b"no image")
    (folder / "0000002" / "003.jpg").unlink()
    done = pack([folder], tmp_path / "out", SMALL, workers=1)
    assert (done.packed, done.failed) == (10, 2)
    assert done.manifest["left_out"] == {"residual": 0, "active": 0, "failed": 2}
    with (tmp_path / "out" / "failures.csv").open() as file:
        rows = {row["key"]: row["reason"] for row in csv.DictReader(file)}
    assert set(rows) == {"0000001/001.jpg", "0000002/003.jpg"}
    assert "is not a JPEG" in rows["0000001/001.jpg"]
    assert "does not exist" in rows["0000002/003.jpg"]
    assert set(examples(tmp_path / "out")) == set(read_labels(faces)["key"]) - set(rows)


def test_names_that_are_not_utf_8_are_listed_or_refused(faces, tmp_path):
    """\udcff is how Python reads the byte 0xff of a file name; a record and failures.csv hold UTF-8."""

    def a_key(columns):
        columns["key"][0] = "0000001/\udcff.jpg"

    def a_subject(columns):
        columns["subject"][0] = "\udcff"

    folder = copy_of(faces, tmp_path / os.fsdecode(b"fa\xffces"), a_key)
    (folder / "0000001" / "001.jpg").rename(folder / "0000001" / "\udcff.jpg")
    (folder / "0000001" / "002.jpg").write_bytes(b"")
    done = pack([folder, faces], tmp_path / "out", SMALL, workers=1)
    assert (done.packed, done.failed) == (22, 2)
    with (tmp_path / "out" / "failures.csv").open(encoding="utf-8") as file:
        rows = {row["key"]: row["reason"] for row in csv.DictReader(file)}
    assert rows[r"fa\udcffces/0000001/\udcff.jpg"] == "the source has no such image."
    assert r"fa\udcffces is empty" in rows[r"fa\udcffces/0000001/002.jpg"]
    with pytest.raises(PackError, match=r"a subject's name holds '\\udcff', which is not UTF-8"):
        pack([copy_of(faces, tmp_path / "subject", a_subject)], tmp_path / "out", SMALL)


def test_several_folders_keep_their_people_apart(faces, tmp_path):
    one, two = copy_of(faces, tmp_path / "one"), copy_of(faces, tmp_path / "two")
    pack([one, two], tmp_path / "out", SMALL, workers=1)
    found = examples(tmp_path / "out")
    assert set(found) == {f"{name}/{key}" for name in ("one", "two") for key in read_labels(faces)["key"]}
    assert len({example.subject for _, example in found.values()}) == 8
    pack([one, two], tmp_path / "detect", Options(size=64, crop="boxes"), workers=1)
    (tmp_path / "deep").mkdir()
    shutil.copytree(two, tmp_path / "deep" / "one")
    pack([one, tmp_path / "deep" / "one"], tmp_path / "same", SMALL, workers=1)
    assert {key.split("/")[0] for key in examples(tmp_path / "same")} == {"1-one", "2-one"}


def test_images_are_where_labels_json_or_the_argument_says(faces, packed, tmp_path):
    """As `expnet label` writes it: labels here, images there."""

    def labels_only(name: str, **facts) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(faces / shard_name(0, 1), folder)
        (folder / "labels.json").write_text(json.dumps({"camera": "pinhole", "face_model": "open_face", **facts}))
        return folder

    images = shutil.copytree(faces, tmp_path / "images", ignore=shutil.ignore_patterns("labels*"))
    for number, (folder, source) in enumerate([
        (labels_only("absolute", source_path=str(images)), None),
        (labels_only("relative", source_path="../images"), None),
        (labels_only("named", source_path="/nowhere"), images),
    ]):  # fmt: skip
        pack([folder], tmp_path / f"out{number}", SMALL, source=source, workers=1)
        one, other = examples(tmp_path / f"out{number}"), examples(packed)
        assert set(one) == set(other)
    with pytest.raises(SourceError, match="nowhere does not exist"):
        pack([tmp_path / "named"], tmp_path / "out", SMALL)
    with pytest.raises(SourceError, match="The path of the images is empty"):
        pack([tmp_path / "absolute"], tmp_path / "out", SMALL, source="")
    with pytest.raises(SourceError, match="holds labels but not their images"):
        pack([labels_only("nothing")], tmp_path / "out", SMALL)


def test_images_of_a_recordio_file(faces, packed, tmp_path):
    """As CASIA comes from InsightFace: train.rec, and labels whose keys are those of recordio.py."""
    columns = read_labels(faces)
    rec = b""
    for number, (key, subject) in enumerate(zip(columns["key"], columns["subject"], strict=True), 1):
        data = struct.pack("<IfQQ2f", 2, 0, number, 0, int(subject), 1) + (faces / key).read_bytes()
        rec += struct.pack("<II", 0xCED7230A, len(data)) + data + bytes(-len(data) % 4)
    (tmp_path / "train.rec").write_bytes(rec)

    def rename(rows):
        keys = [f"{subject}/{number:08d}.jpg" for number, subject in enumerate(rows["subject"], 1)]
        rows["key"] = np.array(keys)

    labels = copy_of(faces, tmp_path / "labels", rename, source_path=str(tmp_path / "train.rec"))
    done = pack([labels], tmp_path / "out", SMALL, workers=1)
    assert (done.packed, done.failed) == (12, 0)
    assert done.manifest["labels"][0]["images"]["kind"] == "recordio"
    images = {example.image.tobytes() for _, example in examples(packed).values()}
    assert {example.image.tobytes() for _, example in examples(tmp_path / "out").values()} == images


def test_labels_above_a_limit_are_left_out_and_counted(faces, tmp_path):
    def change(columns):
        columns["quality"] = np.arange(12, dtype=np.float32)
        columns["active"] = np.float32([0, 0, 9] + [0] * 8 + [9])

    folder = copy_of(faces, tmp_path / "faces", change)
    keys = read_labels(folder)["key"].tolist()
    everything = pack([folder], tmp_path / "all", SMALL, workers=1).manifest
    assert everything["left_out"] == {"residual": 0, "active": 0, "failed": 0}
    options = Options(size=64, validation_share=0.25, max_residual=9, max_active=8)
    manifest = pack([folder], tmp_path / "out", options, workers=1).manifest
    assert manifest["left_out"] == {"residual": 2, "active": 1, "failed": 0}
    assert set(examples(tmp_path / "out")) == set(keys) - {keys[2], keys[10], keys[11]}
    assert manifest["limits"] == {"residual": 9, "active": 8}


def test_boxes_and_the_orthographic_camera(faces, tmp_path):
    def flatten(columns):
        columns["camera"] *= 0
        columns["pose"][:, 3:] = [0.5, 30, 31]

    folder = copy_of(faces, tmp_path / "faces", flatten, camera="orthographic")
    options = Options(crop="boxes", factor=1.25, size=96, validation_share=0.25)
    manifest = pack([folder], tmp_path / "out", options, workers=1).manifest
    assert (manifest["camera"], manifest["factor"], manifest["detector"]) == ("orthographic", 1.25, "labels")
    assert manifest["factor_found"]["median"] == pytest.approx(1.25, rel=0.02)
    box = read_labels(faces)["box"]
    key = read_labels(faces)["key"][0]
    scale = 96 / round(1.25 * box[0, 2:].max())
    example = examples(tmp_path / "out")[key][1]
    assert example.labels["pose"][3] == pytest.approx(0.5 * scale, rel=1e-5)
    assert example.labels["box"][2] == pytest.approx(box[0, 2] * scale, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(crop="centre"), "crop 'centre'; none, boxes, detect are known"),
        (Options(factor=2.0), "factor 2 has no meaning for crop none"),
        (Options(crop="boxes", factor=0.1), r"factor 0\.1; 0\.5 to 10"),
        (Options(size=8), "size 8; 32 to 1024 px"),
        (Options(validation_share=1.0), "validation share 1; a number between 0 and 1"),
        (Options(seed=-1), "seed -1"),
        (Options(max_residual=-1.0), "max-residual -1; a limit of 0 or more"),
    ],
)
def test_arguments_that_cannot_be(faces, tmp_path, options, message):
    with pytest.raises(PackError, match=message):
        pack([faces], tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_labels_that_cannot_be_packed(faces, tmp_path):
    def one_person(columns):
        columns["subject"][:] = "0000001"

    with pytest.raises(PackError, match="images of 1 people; 2 are needed, one in each split"):
        pack([copy_of(faces, tmp_path / "one", one_person)], tmp_path / "out", SMALL)
    with pytest.raises(PackError, match="no labels folder is named"):
        pack([], tmp_path / "out", SMALL)
    with pytest.raises(label_files.LabelError, match="no labels-NNNNN"):
        pack([tmp_path], tmp_path / "out", SMALL)
    flat = copy_of(faces, tmp_path / "flat", camera="orthographic")
    with pytest.raises(PackError, match=r"camera is 'pinhole' in .* and 'orthographic' in .*flat"):
        pack([faces, flat], tmp_path / "out", SMALL)
    with pytest.raises(PackError, match="the camera 'fisheye'; pinhole and orthographic are known"):
        pack([copy_of(faces, tmp_path / "fish", camera="fisheye")], tmp_path / "out", SMALL)
    (flat / "labels.json").unlink()
    with pytest.raises(PackError, match=r"labels\.json does not exist; finish the run"):
        pack([flat], tmp_path / "out", SMALL)


def test_a_split_of_which_nothing_can_be_packed_is_refused(faces, tmp_path):
    folder = copy_of(faces, tmp_path / "faces")
    for path in folder.glob("0*/*.jpg"):
        path.write_bytes(b"x")
    with pytest.raises(PackError, match=r"no image of the split train could be packed; .*failures\.csv says why"):
        pack([folder], tmp_path / "out", SMALL, workers=1)
    assert len((tmp_path / "out" / "failures.csv").read_text().splitlines()) == 13
