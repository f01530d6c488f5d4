"""Codes at scales and in both settings: which pixels and boxes a method gets, and what is kept between runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from expnet_tf.evaluate.clips import Clip, Dataset, Frame
from expnet_tf.evaluate.codes import END_TO_END, GIVEN, SETTINGS, Job, choose, code, scaled
from expnet_tf.evaluate.datasets import read_clips
from expnet_tf.evaluate.methods import FileCodes
from expnet_tf.evaluate.store import Store

BOX = (8.0, 6.0, 40.0, 30.0)


@pytest.fixture
def photos(tmp_path: Path, draw: Callable, save: Callable) -> Dataset:
    """Two clips of one photo each, the first with a box; the second's box is to be detected."""
    paths = [save(tmp_path / "data" / f"{number}.png", draw(number)) for number in range(2)]
    frames = [Frame(path, box, path.name) for path, box in zip(paths, (BOX, None), strict=True)]
    clips = tuple(Clip(frame.key, label, None, (frame,)) for frame, label in zip(frames, "ab", strict=True))
    return Dataset("folder", tmp_path / "data", clips, ("a", "b"))


def jobs(method: Any, *scales: float) -> list[Job]:
    return [Job(method, setting, scale) for setting in SETTINGS for scale in scales]


def test_scaling_is_area_and_boxes_go_with_it(
    photos: Dataset, tmp_path: Path, draw: Callable, brightness: Any, middle: Any
) -> None:
    coded = code(photos, jobs(brightness, 1.0, 0.5), tmp_path / "out", middle)
    np.testing.assert_allclose(coded.boxes[GIVEN, 1.0], [BOX, (16, 12, 32, 24)])
    np.testing.assert_allclose(coded.boxes[GIVEN, 0.5], [(4, 3, 20, 15), (8, 6, 16, 12)])
    # End to end the detector's face in the middle is the one that overlaps the given box most.
    np.testing.assert_allclose(coded.boxes[END_TO_END, 0.5], [(8, 6, 16, 12)] * 2)
    small = cv2.resize(draw(0), (32, 24), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(scaled(draw(0), 0.5), small)
    found = coded.codes[brightness.id, GIVEN, 0.5][0]
    np.testing.assert_allclose(found, small[3:18, 4:24].reshape(-1, 3).mean(0))


def test_where_no_face_is_found_there_is_no_code(photos: Dataset, tmp_path: Path, brightness: Any, middle: Any) -> None:
    coded = code(photos, jobs(brightness, 1.0, 0.3), tmp_path / "out", middle)  # 19 px: not searched
    assert np.isnan(coded.codes[brightness.id, END_TO_END, 0.3]).all()
    assert not np.isnan(coded.codes[brightness.id, GIVEN, 0.3]).any()
    assert np.isnan(coded.pooled(Job(brightness, END_TO_END, 0.3), 2)).all()


def test_a_clip_is_the_mean_of_its_images_with_a_code(ck: Path, tmp_path: Path, brightness: Any, middle: Any) -> None:
    paths = sorted((ck / "cohn-kanade-images" / "S000" / "001").iterdir())
    tiny = (0.0, 0.0, 3.0, 3.0)  # the toy method abstains
    frames = tuple(Frame(path, box, path.name) for path, box in zip(paths, (BOX, tiny, BOX), strict=True))
    data = Dataset("folder", ck, (Clip("c", "a", None, frames),), ("a",))
    job = Job(brightness, GIVEN, 1.0)
    coded = code(data, [job], tmp_path / "out", middle)
    rows = coded.codes[brightness.id, GIVEN, 1.0]
    assert np.isnan(rows).any(axis=1).tolist() == [False, True, False]
    np.testing.assert_allclose(coded.pooled(job, 1)[0], rows[[0, 2]].mean(0))


def test_a_second_run_reads_what_the_first_computed(
    photos: Dataset, tmp_path: Path, brightness: Any, middle: Any
) -> None:
    first = code(photos, jobs(brightness, 1.0, 0.5), tmp_path / "out", middle)
    coded, searched = brightness.coded, middle.searched
    second = code(photos, jobs(brightness, 1.0, 0.5), tmp_path / "out", middle)
    assert (brightness.coded, middle.searched) == (coded, searched)
    for key, values in first.codes.items():
        np.testing.assert_array_equal(second.codes[key], values)
    code(photos, jobs(brightness, 1.0, 0.5, 0.25), tmp_path / "out", middle)
    assert brightness.coded == coded + 2  # box given at the new scale; end to end there is no face
    brightness.id = "brightness:2"
    code(photos, jobs(brightness, 1.0), tmp_path / "out", middle)
    # Another version codes all anew: two boxes of the first photo, one of the second, whose boxes are the same.
    assert brightness.coded == coded + 2 + 3


def test_an_interrupted_run_goes_on(photos: Dataset, tmp_path: Path, brightness: Any, middle: Any) -> None:
    class Fails:
        name, id, space, blendshapes = "fails", "fails:1", "none", None

        def codes(self, images: Any, boxes: Any) -> np.ndarray:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        code(photos, [*jobs(brightness, 1.0), Job(Fails(), GIVEN, 1.0)], tmp_path / "out", middle)
    coded = brightness.coded
    code(photos, jobs(brightness, 1.0), tmp_path / "out", middle)
    assert brightness.coded == coded


def test_a_changed_photo_is_coded_anew(
    photos: Dataset, tmp_path: Path, draw: Callable, save: Callable, brightness: Any, middle: Any
) -> None:
    job = Job(brightness, GIVEN, 1.0)
    first = code(photos, [job], tmp_path / "out", middle).codes[brightness.id, GIVEN, 1.0]
    save(tmp_path / "data" / "0.png", draw(7, 200))
    second = code(photos, [job], tmp_path / "out", middle).codes[brightness.id, GIVEN, 1.0]
    assert (second[0] > first[0] + 50).all()
    np.testing.assert_array_equal(second[1], first[1])


def test_unreadable_files_are_named(photos: Dataset, tmp_path: Path, brightness: Any, middle: Any) -> None:
    (tmp_path / "data" / "0.png").write_bytes(b"\x89PNG\r\n")
    coded = code(photos, jobs(brightness, 1.0), tmp_path / "out", middle)
    assert len(coded.problems) == 1
    assert "0.png" in coded.problems[0]
    pooled = coded.pooled(Job(brightness, GIVEN, 1.0), 2)
    assert np.isnan(pooled).any(axis=1).tolist() == [True, False]


def test_codes_of_a_file_are_found_by_path(
    photos: Dataset, tmp_path: Path, brightness: Any, middle: Any
) -> None:
    np.savez(tmp_path / "theirs.npz", path=np.array(["1.png", "9.png"]), codes=np.array([[1.0, 2], [3, 4]]))
    theirs = FileCodes(tmp_path / "theirs.npz")
    coded = code(photos, jobs(theirs, 1.0), tmp_path / "out", middle)
    np.testing.assert_array_equal(coded.codes[theirs.id, GIVEN, 1.0], [[np.nan, np.nan], [1, 2]])


def test_frames_of_data_sets_are_called_by_their_path(ck: Path, tmp_path: Path, brightness: Any, middle: Any) -> None:
    coded = code(read_clips(ck), [Job(brightness, GIVEN, 1.0)], tmp_path / "out", middle)
    assert coded.keys[0] == "cohn-kanade-images/S000/001/S000_001_00000003.png"
    assert coded.clip == list(range(14))


def test_choosing_a_face() -> None:
    found = [(0, 0, 50, 50), (60, 0, 20, 20), (100, 0, 10, 10)]
    assert choose(found, None) == (0, 0, 50, 50)
    assert choose(found, (62, 2, 20, 20)) == (60, 0, 20, 20)
    assert choose(found, (300, 300, 5, 5)) == (0, 0, 50, 50)
    assert choose([], (1, 1, 1, 1)) is None


def test_a_damaged_store_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path, "kind", "id", 1.0)
    store["a"] = np.arange(3)
    store.save()
    np.testing.assert_array_equal(Store(tmp_path, "kind", "id", 1.0)["a"], [0, 1, 2])
    data = store.path.read_bytes()
    store.path.write_bytes(data[: len(data) // 2])
    assert "a" not in Store(tmp_path, "kind", "id", 1.0)
    assert "a" not in Store(tmp_path, "kind", "another", 1.0)
