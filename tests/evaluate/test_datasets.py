"""Layouts of emotion data sets: what counts as a clip, and what is said about data that does not fit."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from expnet_tf.evaluate.clips import shots
from expnet_tf.evaluate.datasets import DataError, check, read_clips
from expnet_tf.image import ImageError


def test_ck_takes_the_peak_of_labelled_sequences(ck: Path) -> None:
    data = read_clips(ck)
    assert (data.kind, len(data.clips), data.classes) == ("CK+", 14, ("anger", "happy"))
    first = data.clips[0]
    assert (first.key, first.label, first.subject) == ("S000/001", "anger", "S000")
    assert [frame.key for frame in first.frames] == ["cohn-kanade-images/S000/001/S000_001_00000003.png"]
    assert data.notes == ()
    assert data.subjects_known
    assert len(set(data.people)) == 7
    assert check(data, 5) == []


def test_ck_names_labels_that_are_none_and_sequences_without_images(ck: Path) -> None:
    (ck / "Emotion/S000/001/S000_001_00000003_emotion.txt").write_text("   8.0000000e+00\n")
    (ck / "Emotion/S001/001/S001_001_00000003_emotion.txt").write_text("happy")
    for file in (ck / "cohn-kanade-images/S002/001").iterdir():
        file.unlink()
    data = read_clips(ck)
    assert len(data.clips) == 12
    left_out, unread, empty = data.notes
    assert "S000_001_00000003_emotion.txt is left out: it holds no number from 1 to 7" in left_out
    assert "S001_001" in unread
    assert "holds no images" in empty
    assert "S002/001" in {clip.key for clip in data.clips}  # it counts, as an error


def test_ck_without_labels(ck: Path) -> None:
    (ck / "Emotion").rename(ck / "Labels")
    with pytest.raises(DataError, match="lacks the folder Emotion"):
        read_clips(ck)


@pytest.mark.parametrize("below", ["", "Train"])
def test_afew_with_and_without_splits(afew: Path, below: str) -> None:
    data = read_clips(afew / below)
    assert data.kind == "AFEW"
    assert data.classes == ("Angry", "Happy", "Sad")
    assert len(data.clips) == (12 if below else 24)
    assert data.clips[0].key == ("Angry/000000000" if below else "Train/Angry/000000000")
    assert len(data.clips[0].frames) == 2
    assert not data.subjects_known
    assert all("AlignedFaces is left out" in note for note in data.notes)
    assert "no subject can be left out" in check(data, 3)[0]


def test_videos_are_clips_of_all_their_frames(afew: Path, draw: Callable) -> None:
    path = afew / "Train" / "Sad" / "000000009.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(3):
        writer.write(draw(number, 40 * number)[..., ::-1])
    writer.release()
    clip = next(clip for clip in read_clips(afew).clips if clip.key.endswith(".avi"))
    found = list(shots(clip.frames[0]))
    assert [shot.ref.key for shot in found] == [f"Train/Sad/000000009.avi#{number}" for number in range(3)]
    assert len({shot.ref.digest for shot in found}) == 3
    for number, shot in enumerate(found):  # RGB, in order
        np.testing.assert_allclose(shot.read().mean((0, 1)), draw(number, 40 * number).mean((0, 1)), atol=4)


def test_a_broken_video_is_told(afew: Path) -> None:
    path = afew / "Train" / "Sad" / "000000009.mp4"
    path.write_bytes(b"no video")
    clip = next(clip for clip in read_clips(afew).clips if clip.key.endswith(".mp4"))
    with pytest.raises(ImageError, match="not a video that can be decoded"):
        list(shots(clip.frames[0]))


def test_plain_folder_with_boxes(tmp_path: Path, draw: Callable, save: Callable) -> None:
    for label in ("a", "b"):
        for number in range(2):
            save(tmp_path / label / f"{number}.png", draw(number))
        save(tmp_path / label / "clip" / "1.png", draw(3))
    (tmp_path / "empty").mkdir()
    (tmp_path / "boxes.csv").write_text(
        "path,subject,box_x,box_y,box_w,box_h,age,label\n"
        "a/0.png,Ann,1,2,30,40,33,a\nb/clip/1.png,Bob,1,2,3,4,,a\na/9.png,Ann,1,2,3,4,,a\n"
    )
    data = read_clips(tmp_path)
    assert data.kind == "folder"
    assert [clip.key for clip in data.clips] == ["a/0.png", "a/1.png", "a/clip", "b/0.png", "b/1.png", "b/clip"]
    assert data.clips[0].frames[0].box == (1, 2, 30, 40)
    assert (data.clips[0].subject, data.clips[0].age) == ("Ann", 33)
    assert data.clips[5].subject == "Bob"
    assert data.clips[1].frames[0].box is None
    assert "names 1 files that are not there, such as a/9.png" in data.notes[0]
    assert "labels 1 files otherwise than their folders (which count), as b/clip/1.png" in data.notes[1]
    assert "empty is left out" in data.notes[2]
    assert not data.subjects_known
    assert "of 2 clips alone, out of 6" in check(data, 2)[0]


def test_photos_without_class_folders_go_by_boxes_csv(tmp_path: Path, draw: Callable, save: Callable) -> None:
    for number in range(2):
        save(tmp_path / f"{number}.png", draw(number))
    (tmp_path / "boxes.csv").write_text("path,label\n0.png,a\n1.png,b\n")
    data = read_clips(tmp_path)
    assert (data.kind, data.classes) == ("CSV", ("a", "b"))


def test_csv_groups_frames_into_clips(tmp_path: Path, draw: Callable, save: Callable) -> None:
    for number in range(4):
        save(tmp_path / "photos" / f"{number}.png", draw(number))
    table = tmp_path / "list.csv"
    table.write_text(
        "\ufeffpath,label,subject,clip\n"
        "photos/0.png,glad,Ann,one\nphotos/1.png,glad,Ann,one\nphotos/2.png,sad,Ann,\nphotos/3.png,sad,Bob,\n",
        encoding="utf-8",
    )
    data = read_clips(table)
    assert data.kind == "CSV"
    assert {clip.key: len(clip.frames) for clip in data.clips} == {"one": 2, "photos/2.png": 1, "photos/3.png": 1}
    assert data.people.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file,label\na.png,x\n", "no column path; it has file, label"),
        ("path,label\na.png,\n", "line 2: the label is empty"),
        ("path,label\na.png,x\na.png,y\n", "lines 2 and 3: both name a.png"),
        ("path,label,clip\na.png,x,c\nb.png,y,c\n", "the clip c is y of None here and x of None before"),
        ("path,label,box_x,box_y,box_w,box_h\na.png,x,1,2,0,4\n", "the box is 0 px wide"),
        ("path,label,box_x,box_y,box_w,box_h\na.png,x,1,2,,4\n", "box_w is '?'; a number is expected"),
        ("path,label,age\na.png,x,old\n", "age is 'old'"),
        ("path,label\nz.png,x\n", "none of the files it names exists"),
    ],
)
def test_csv_that_contradicts_itself(
    tmp_path: Path, draw: Callable, save: Callable, text: str, expected: str
) -> None:
    save(tmp_path / "a.png", draw(0))
    save(tmp_path / "b.png", draw(1))
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=expected.replace("?", r"\?")) as caught:
        read_clips(tmp_path / "list.csv")
    assert "list.csv" in str(caught.value)


def test_csv_naming_missing_files_goes_on(tmp_path: Path, draw: Callable, save: Callable) -> None:
    save(tmp_path / "a.png", draw(0))
    (tmp_path / "list.csv").write_text("path,label\na.png,x\ngone.png,y\n")
    data = read_clips(tmp_path / "list.csv")
    assert len(data.clips) == 2
    assert "line 3: gone.png does not exist; it counts as an error" in data.notes[0]


def test_what_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_clips(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no labelled clips"):
        read_clips(tmp_path)
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(DataError, match=r"a \.csv with the columns path and label"):
        read_clips(tmp_path / "x.txt")


def test_check_of_the_protocol(tmp_path: Path, draw: Callable, save: Callable) -> None:
    table = tmp_path / "list.csv"
    lines = [f"{label}{number}.png,{label},{who}" for label, who in (("a", "Ann"), ("b", "Ann")) for number in range(6)]
    for line in lines:
        save(tmp_path / line.split(",")[0], draw(0))

    def said(text: str) -> list[str]:
        table.write_text("path,label,subject\n" + text)
        return check(read_clips(table), 5)

    assert "All clips are of one subject (Ann)" in said("\n".join(lines))[0]
    assert "Of b there is one subject alone" in said("\n".join(lines).replace("a0.png,a,Ann", "a0.png,a,Bob"))[0]
    with pytest.raises(DataError, match="one class alone"):
        said("\n".join(lines[:6]))
    with pytest.raises(DataError, match=r"too few clips of b \(5\); 5 neighbours need 6"):
        said("\n".join(lines[:11]))
