"""A whole evaluation on a small CK+ of drawn pictures: record, report, pictures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from expnet_tf.evaluate import emotion, knn, measures, pictures, report, tables
from expnet_tf.evaluate.clips import DataError
from expnet_tf.evaluate.codes import END_TO_END, GIVEN, SETTINGS
from expnet_tf.evaluate.datasets import read_clips
from expnet_tf.evaluate.methods import FileCodes

SCALES = (1.0, 0.4, 0.2)  # at 0.2 the toy detector finds nothing


def rows(record: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in record["results"] if all(row[key] == value for key, value in wanted.items())]


@pytest.fixture
def run(ck: Path, tmp_path: Path, expressive: Any, brightness: Any, middle: Any) -> emotion.Run:
    return emotion.evaluate(read_clips(ck), [expressive, brightness], SCALES, tmp_path / "out", middle)


def test_every_accuracy_is_there_with_its_interval(run: emotion.Run) -> None:
    assert len(run.record["results"]) == 2 * 2 * 3 * 2 * 2 - 2 * 4  # nothing end to end at 0.2
    for row in run.record["results"]:
        assert 0 <= row["interval"][0] <= row["accuracy"] <= row["interval"][1] <= 1
        assert np.sum(row["confusion"]) == row["clips"] == 14
    # The two classes differ in brightness by far more than any two pictures of a class.
    assert all(row["accuracy"] == 1 for row in rows(run.record, setting=GIVEN))
    assert run.record["data"]["subjects"] == 7
    assert run.record["protocol"]["most frequent class"] == 0.5


def test_accuracy_is_that_of_a_plain_count(run: emotion.Run) -> None:
    codes = run.pooled(run.methods[0], GIVEN, 0.4)
    assert codes is not None
    subjects = [clip.subject for clip in run.dataset.clips]
    right = 0
    for one, label in enumerate(run.dataset.labels):
        distance = np.linalg.norm(codes - codes[one], axis=1)
        others = [n for n in np.argsort(distance) if subjects[n] != subjects[one]][: knn.NEIGHBOURS]
        right += bool(np.median(run.dataset.labels[others]) == label)
    (row,) = rows(run.record, method="expressive", setting=GIVEN, scale=0.4, scaling="as given",
                  protocol="leave one subject out")  # fmt: skip
    assert row["accuracy"] == pytest.approx(right / 14, abs=1e-4)


def test_abstentions_are_errors(ck: Path, tmp_path: Path, expressive: Any, middle: Any) -> None:
    (ck / "cohn-kanade-images/S003/001/S003_001_00000003.png").write_bytes(b"\x89PNG")
    done = emotion.evaluate(read_clips(ck), [expressive], [1.0], tmp_path / "out", middle)
    for row in done.record["results"]:
        assert row["accuracy"] == pytest.approx(13 / 14, abs=1e-4)
        assert row["clips abstained"] == 1
        assert row["confusion"] == [[6, 0, 1], [0, 7, 0]]
    assert "S003_001_00000003.png" in done.record["data"]["unreadable"][0]


def test_paired_rows_compare_the_first_method(run: emotion.Run) -> None:
    paired = run.record["paired"]
    assert {row["second"] for row in paired} == {"brightness"}
    assert len(paired) == 2 * (3 + 2)
    assert all(row["p"] == 1 and row["difference"] == 0 for row in paired)


def test_an_image_in_two_clips_is_told(ck: Path, tmp_path: Path, expressive: Any, middle: Any) -> None:
    names = [ck / f"cohn-kanade-images/S00{n}/001/S00{n}_001_00000003.png" for n in (1, 2)]
    names[0].write_bytes(names[1].read_bytes())
    done = emotion.evaluate(read_clips(ck), [expressive], [1.0], tmp_path / "out", middle)
    assert "2 clips share an image, byte for byte" in done.record["data"]["notes"][0]


def test_codes_from_a_file_take_part(ck: Path, tmp_path: Path, expressive: Any, middle: Any) -> None:
    data = read_clips(ck)
    paths = [clip.frames[0].key for clip in data.clips]
    np.savez(tmp_path / "ours.npz", path=np.array(paths), codes=data.labels[:, None] + np.arange(14)[:, None] / 100)
    done = emotion.evaluate(data, [expressive, FileCodes(tmp_path / "ours.npz")], [1.0, 0.5], tmp_path / "out", middle)
    assert {row["scale"] for row in rows(done.record, method="ours")} == {1.0}
    assert all(row["accuracy"] == 1 for row in rows(done.record, method="ours"))
    np.savez(tmp_path / "other.npz", path=np.array(["x.png"]), codes=np.ones((1, 2)))
    with pytest.raises(DataError, match=r"other has no codes of this data at the scales 1: .* called like cohn-kanade"):
        emotion.evaluate(data, [FileCodes(tmp_path / "other.npz")], [1.0], tmp_path / "out", middle)


def test_afew_has_no_subjects_to_leave_out(
    afew: Path, tmp_path: Path, brightness: Any, middle: Any
) -> None:
    done = emotion.evaluate(read_clips(afew), [brightness], [1.0], tmp_path / "out", middle)
    assert done.protocols == ("leave one clip out",)
    assert done.record["protocol"]["intervals over"] == "clips"
    assert done.record["data"]["images"] == 48
    assert done.record["failures"] == []  # codes that are no expressions have no amplitude
    assert done.record["results"][0]["accuracy"] == 1


@pytest.mark.slow
def test_report_and_pictures_repeat_to_the_byte(
    ck: Path, tmp_path: Path, expressive: Any, brightness: Any, middle: Any
) -> None:
    written = []
    for name in ("one", "one"):  # the second run reads the codes that the first left
        out = tmp_path / name
        done = emotion.evaluate(read_clips(ck), [expressive, brightness], (1.0, 0.4), out, middle)
        done.record.update(measures.measure(done, out))
        done.record["pictures"] = pictures.draw(done, out)
        report.write(out, done.record)
        written.append({path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.is_file()})
    assert written[0] == written[1]
    names = set(written[0])
    assert names == {"report.md", "report.json", "accuracy_clip.png", "accuracy_subject.png", "confusion_0.png",
                     "confusion_1.png", "examples.png", "conditions.png"}  # fmt: skip
    record = json.loads(written[0]["report.json"])
    assert {picture["file"] for picture in record["pictures"]} == names - {"report.md", "report.json"}
    text = written[0]["report.md"].decode()
    assert all(f"]({name})" in text for name in names if name.endswith(".png"))
    assert "| expressive | 100.0 [100.0, 100.0] |" in text
    assert "smile: happiness against the rest" in text
    assert "JPEG quality 30" in text
    for name in names:
        if name.endswith(".png"):
            with Image.open(tmp_path / "one" / name) as image:
                assert "Software" not in image.info
                assert min(image.size) > 200
            assert len(written[0][name]) < 1_000_000


def test_failures_are_shown(ck: Path, tmp_path: Path, expressive: Any, middle: Any, draw: Callable,
                            save: Callable) -> None:  # fmt: skip
    save(ck / "cohn-kanade-images/S003/001/S003_001_00000003.png", draw(5, 170))  # an angry one as bright as the happy
    done = emotion.evaluate(read_clips(ck), [expressive], [1.0], tmp_path / "out", middle)
    (failure,) = done.record["failures"]
    assert (failure["clip"], failure["label"], failure["predicted"]) == ("S003/001", "anger", "happy")
    assert failure["ratio"] > 1.5
    done.record["pictures"] = pictures.draw(done, tmp_path / "out")
    assert "failures.png" in {picture["file"] for picture in done.record["pictures"]}
    assert "| S003/001 | anger | happy |" in report.markdown(done.record)


def test_tables() -> None:
    assert tables.table(["a", "b"], [["x|y", 1]]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |"
    assert tables.percent({"accuracy": 0.5, "interval": [0.25, 0.75]}) == "50.0 [25.0, 75.0]"
    assert tables.percent({"accuracy": 0.5, "interval": None}) == "50.0"


def test_settings_are_told_apart(run: emotion.Run) -> None:
    assert run.pooled(run.methods[0], END_TO_END, 0.2) is None
    assert {row["setting"] for row in run.record["results"]} == set(SETTINGS)
