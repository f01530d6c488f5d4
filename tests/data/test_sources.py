"""Folder trees and synthetic folders: which kind a path is, what is taken, and what is listed as unreadable."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.data.labels import read_labels, shard_name, write_shard
from expnet_tf.data.sources import SourceError, open_source


@pytest.fixture
def tree(faces, tmp_path) -> Path:
    """CASIA's form: four people, three images each, no labels."""
    for folder in sorted(path for path in faces.iterdir() if path.is_dir()):
        shutil.copytree(folder, tmp_path / "casia" / folder.name)
    return tmp_path / "casia"


def test_a_folder_a_person(tree):
    source = open_source(tree)
    assert source.kind == "casia"
    assert list(source.keys) == [f"{p:07d}/{n:03d}.jpg" for p in range(1, 5) for n in range(1, 4)]
    samples = list(source)
    assert [sample.key for sample in samples] == list(source.keys)
    assert [sample.identity for sample in samples] == [f"{p:07d}" for p in range(1, 5) for _ in range(3)]
    assert samples[4].image_bytes == (tree / "0000002/002.jpg").read_bytes()
    assert source.unreadable == []


def test_one_folder_deeper_the_people_have_the_same_names(tree, tmp_path):
    outer = tmp_path / "outer"
    outer.mkdir()
    tree.rename(outer / "CASIA-WebFace")
    source = open_source(outer)
    assert source.keys[0] == "CASIA-WebFace/0000001/001.jpg"
    assert set(source.identities) == {f"{p:07d}" for p in range(1, 5)}
    assert source.read(0).image_bytes == (outer / source.keys[0]).read_bytes()


def test_people_of_two_sets_with_one_name_stay_two_people(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "both" / "a")
    shutil.copytree(tree, tmp_path / "both" / "b")
    assert len(set(open_source(tmp_path / "both").identities)) == 8


def test_hidden_files_other_files_and_loose_images_are_left_out(tree):
    (tree / "0000001" / ".hidden.jpg").write_bytes(b"x")
    (tree / "0000001" / "notes.txt").write_text("x")
    (tree / ".cache").mkdir()
    (tree / ".cache" / "001.jpg").write_bytes(b"x")
    (tree / "loose.jpg").write_bytes(b"x")
    (tree / "0000004" / "003.jpg").rename(tree / "0000004" / "003.PNG")
    source = open_source(tree)
    assert len(source) == 12
    assert source.keys[-1] == "0000004/003.PNG"
    assert source.notes == ["1 images directly in casia belong to nobody and are left out."]


def test_links_to_folders_are_followed_once(tree, tmp_path):
    """To a person elsewhere, to one that is there, into itself, up and out, and to a set whose part is linked too."""
    other = tmp_path / "other"
    shutil.copytree(tree / "0000001", other / "a" / "deep")
    shutil.copytree(tree / "0000001", other / "b")
    for name, target in {
        "0000000": tree / "0000002", "0000001/again": tree / "0000001", "0000003/up": tmp_path, "0000009": other,
        "0000008": other / "b",
    }.items():  # fmt: skip
        (tree / name).symlink_to(target)
    source = open_source(tree)
    expected = [f"{p:07d}/{n:03d}.jpg" for p in range(1, 5) for n in range(1, 4)]
    expected += [f"{p}/{n:03d}.jpg" for p in ("0000008", "0000009/a/deep") for n in range(1, 4)]
    assert list(source.keys) == expected
    assert [sample.key for sample in source] == expected
    assert source.notes == ["4 links lead to folders that were read already and are left out."]
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "7").symlink_to(tree / "0000004")
    assert list(open_source(tmp_path / "linked").identities) == ["7"] * 3


def test_names_that_are_not_utf_8_are_listed(tree, faces, tmp_path):
    (tree / "0000001" / "001.jpg").rename(tree / "0000001" / os.fsdecode(b"\xff.jpg"))
    (tree / "0000004").rename(tree / os.fsdecode(b"\xe9milie"))
    source = open_source(tree)
    assert [sample.key for sample in source] == list(source.keys)
    assert len(source) == 8
    assert [key for key, _ in source.unreadable] == [
        r"0000001/\udcff.jpg",
        *(rf"\udce9milie/{n:03d}.jpg" for n in (1, 2, 3)),
    ]
    assert all("has a name that is not UTF-8" in reason for _, reason in source.unreadable)
    assert json.dumps(source.describe()).encode()
    for folder in [path for path in tree.iterdir() if path.name[0] == "0"]:
        shutil.rmtree(folder)
    with pytest.raises(
        SourceError, match=r"not UTF-8 and cannot stand in label files; rename it\. So it is with all 3"
    ):
        open_source(tree)

    folder, columns = shutil.copytree(faces, tmp_path / "faces"), read_labels(faces)
    columns["key"][1], columns["subject"][2] = "0000001/\ud800.jpg", "\udcff"
    write_shard(folder / shard_name(0, 1), columns)
    source = open_source(folder)
    assert list(source.keys) == np.delete(columns["key"], [1, 2]).tolist()
    assert [key for key, _ in source.unreadable] == [r"0000001/\ud800.jpg", columns["key"][2]]
    assert source.describe()["images"] == 10


def test_unreadable_images_are_listed_and_the_others_come(tree):
    (tree / "0000001" / "001.jpg").write_bytes(b"")
    whole = (tree / "0000001" / "002.jpg").read_bytes()
    (tree / "0000001" / "002.jpg").write_bytes(whole[: len(whole) // 2])
    (tree / "0000002" / "001.jpg").write_bytes(b"<html>not found</html>")
    source = open_source(tree)
    (tree / "0000003" / "001.jpg").unlink()
    (tree / "0000003" / "002.jpg").unlink()
    (tree / "0000003" / "002.jpg").mkdir()
    for _ in range(2):  # once each, however often it is gone through
        assert len(list(source)) == 7
        assert [key for key, _ in source.unreadable] == [
            "0000001/001.jpg", "0000001/002.jpg", "0000002/001.jpg", "0000003/001.jpg", "0000003/002.jpg",
        ]  # fmt: skip
    reasons = [reason for _, reason in source.unreadable]
    parts = ["is empty (0 bytes)", "truncated or damaged", "is not a JPEG", "does not exist", "is no plain file"]
    assert all(part in reason for part, reason in zip(parts, reasons, strict=True))


def test_the_synthetic_folder_follows_its_labels(faces):
    source = open_source(faces)
    columns = read_labels(faces)
    assert source.kind == "synthetic"
    assert list(source.keys) == columns["key"].tolist()
    assert list(source.identities) == columns["subject"].tolist()
    assert len(list(source)) == 12


def test_labels_without_their_images_are_no_source(faces, tmp_path):
    for path in faces.glob("labels*"):
        shutil.copy(path, tmp_path)
    with pytest.raises(SourceError, match=r"holds labels but not their images \(0000001/001\.jpg is not there\)"):
        open_source(tmp_path)


def test_describe_names_the_images(tree):
    facts = open_source(tree).describe()
    assert (facts["kind"], facts["images"], facts["identities"]) == ("casia", 12, 4)
    assert len(facts["fingerprint"]) == 64
    (tree / "0000004" / "003.jpg").rename(tree / "0000004" / "004.jpg")
    assert open_source(tree).describe()["fingerprint"] != facts["fingerprint"]


def test_a_source_travels_to_a_worker_whole_or_in_part(tree):
    source = open_source(tree)
    assert [s.key for s in pickle.loads(pickle.dumps(source))] == list(source.keys)
    part = source.part([5, 2])
    assert [sample.key for sample in part] == ["0000002/003.jpg", "0000001/003.jpg"]
    assert len(source) == 12


def test_what_is_no_source_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(SourceError, match="The path of the images is empty; a folder with a folder a person"):
        open_source("")
    with pytest.raises(SourceError, match="nowhere does not exist; a folder with a folder a person"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "list.txt").write_text("x")
    with pytest.raises(SourceError, match=r"list\.txt is no folder and no \.rec file"):
        open_source(tmp_path / "list.txt")
    with pytest.raises(SourceError, match="holds no image; a folder a person"):
        open_source(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(SourceError, match="holds 1 images but no folder with images"):
        open_source(tmp_path)
    for name in ("a.rec", "b.rec"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match=r"holds a\.rec, b\.rec; name the one to read"):
        open_source(tmp_path)
