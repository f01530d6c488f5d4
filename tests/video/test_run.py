"""A video to a folder: rows, film, animation, summary; interrupted and continued; in constant memory."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import films
import numpy as np
import pytest

from expnet_tf.predictor import Predictor
from expnet_tf.video import run, table
from expnet_tf.video.claim import SCHEMA
from expnet_tf.video.reader import Dropped, Facts, Frame, VideoError, VideoFile
from expnet_tf.video.run import Summary, process
from expnet_tf.video.table import Chunks


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people for 20 frames, one of them for 10 more, nobody for 6, the first for 14."""
    both, one, none = films.pasted([(20, 30), (400, 250)]), films.pasted([(20, 30)]), films.empty()
    frames = [both] * 20 + [one] * 10 + [none] * 6 + [one] * 14
    return films.write(tmp_path_factory.mktemp("film") / "film.mp4", frames, rate=25)


@pytest.fixture(scope="module")
def done(predictor: Predictor, film: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    out = tmp_path_factory.mktemp("done")
    return out, process(VideoFile(film), out, predictor)


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_written(done: tuple[Path, Summary]) -> None:
    out, summary = done
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["chunks", "faces.csv", "faces.glb", "overlay.mp4", "run.json", "video.json"]
    )
    assert (summary.frames, summary.dropped, summary.resumed) == (50, [], 0)
    assert sorted((one.gaps, one.frames > 30) for one in summary.people) == [(0, False), (1, True)]
    assert summary.files == ["faces.csv", "overlay.mp4", "faces.glb"]
    record = json.loads((out / "video.json").read_text())
    assert record["schema"] == SCHEMA == "expnet.video/1"
    assert (record["source"], record["frames"], record["missing"]) == ("film.mp4", 50, [])
    assert [one["id"] for one in record["people"]] == [1, 2]
    assert all(len(one["identity"]) == 99 for one in record["people"])


def test_rows(done: tuple[Path, Summary], predictor: Predictor) -> None:
    out, summary = done
    rows = lines(out / "faces.csv")
    assert len(rows) == summary.faces == sum(one.frames for one in summary.people)
    kept = np.concatenate(list(Chunks(out).tables()))
    names = [str(name) for name in predictor.face_model.blendshape_names]
    assert set(names) < set(rows[0])
    weights = predictor.face_model.blendshapes(kept["expression"])
    for number in (0, 7, len(rows) - 1):
        row, raw = rows[number], kept[number]
        assert (int(row["frame"]), int(row["id"])) == (raw["frame"], raw["id"])
        assert float(row["time_s"]) == pytest.approx(raw["frame"] / 25, abs=1e-6)
        read = np.array([row[f"expression_{i:02d}"] for i in range(1, 30)], np.float32)
        np.testing.assert_array_equal(read, raw["expression"])
        np.testing.assert_allclose([float(row[name]) for name in names], weights[number], atol=1e-5)
        np.testing.assert_allclose(
            [float(row[name]) for name in ("box_x", "box_y", "box_w", "box_h")], raw["box"], atol=0.01
        )
        assert float(row["focal_px"]) == 4 * raw["square"][2]
    frames = {int(row["frame"]) for row in rows}
    assert not frames & set(range(30, 36))
    assert {*range(20), *range(41, 50)} <= frames


def test_the_film_has_the_meshes_over_it(done: tuple[Path, Summary], film: Path) -> None:
    out, _ = done
    before, after = list(VideoFile(film).frames()), VideoFile(out / "overlay.mp4")
    assert (after.facts.width, after.facts.height, after.facts.rate, after.facts.frames) == (640, 480, 25, 50)
    changed = [np.abs(one.image.astype(int) - other.image) for one, other in zip(before, after.frames(), strict=True)]
    for number, (left, right) in {5: (True, True), 25: (True, False), 33: (False, False), 45: (True, False)}.items():
        assert bool(changed[number][60:170, 70:140].mean() > 8) is left, number
        assert bool(changed[number][280:390, 450:520].mean() > 8) is right, number
        assert changed[number][300:400, 100:200].mean() < 4  # where nobody is: recoded, no more


def test_nothing_is_done_twice(done: tuple[Path, Summary], film: Path, predictor: Predictor) -> None:
    out, summary = done
    before = {path: path.stat().st_mtime_ns for path in out.glob("faces.*")}
    again = process(VideoFile(film), out, predictor)
    assert (again.resumed, again.faces) == (50, summary.faces)
    assert {path: path.stat().st_mtime_ns for path in out.glob("faces.*")} == before


def test_smooth_needs_no_network(
    done: tuple[Path, Summary], film: Path, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, summary = done
    raw = (out / "faces.csv").read_bytes()
    monkeypatch.setattr(type(predictor), "run", None)
    process(VideoFile(film), out, predictor, ("csv",), smooth=True)
    calm = lines(out / "faces.csv")
    assert len(calm) == summary.faces
    assert (out / "faces.csv").read_bytes() != raw
    process(VideoFile(film), out, predictor, ("csv", "glb"))
    assert (out / "faces.csv").read_bytes() == raw


def interrupt_at(frame: int):
    def progress(stage: str, done: int, total: int | None) -> None:
        if stage == "faces" and done == frame:
            raise KeyboardInterrupt

    return progress


def test_interrupted_and_continued_is_the_same(
    film: Path, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "CHUNK", 12)
    process(VideoFile(film), tmp_path / "whole", predictor, ("csv", "glb"))
    for stop in (15, 40):
        with pytest.raises(KeyboardInterrupt):
            process(VideoFile(film), tmp_path / "parts", predictor, ("csv", "glb"), progress=interrupt_at(stop))
        assert not (tmp_path / "parts" / "faces.csv").exists()
    summary = process(VideoFile(film), tmp_path / "parts", predictor, ("csv", "glb"))
    assert summary.resumed == 36
    for name in ("faces.csv", "faces.glb", "video.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_damaged_frames_are_listed(film: Path, predictor: Predictor, tmp_path: Path) -> None:
    bad = films.damaged(tmp_path / "bad.mp4", film, (3, 4))
    sentences: list[str] = []
    summary = process(VideoFile(bad), tmp_path / "out", predictor, ("csv",), report=sentences.append)
    assert sentences == ["bad.mp4: frames 3 to 4 are missing: could not be decoded."]
    assert summary.frames == 48
    record = json.loads((tmp_path / "out" / "video.json").read_text())
    assert record["missing"] == [{"index": 3, "count": 2, "reason": "could not be decoded"}]
    # The second time they are known from the chunks.
    assert process(VideoFile(bad), tmp_path / "out", predictor, ("csv",)).dropped == summary.dropped


def test_another_video_does_not_go_on_here(done: tuple[Path, Summary], predictor: Predictor, tmp_path: Path) -> None:
    out, _ = done
    other = films.write(tmp_path / "film.mp4", [films.empty((120, 160))] * 3)
    with pytest.raises(VideoError, match="holds a run with another bytes: it was"):
        process(VideoFile(other), out, predictor)
    (tmp_path / "strange" / "chunks").mkdir(parents=True)
    with pytest.raises(VideoError, match=r"holds chunks without their run\.json; choose an empty folder"):
        process(VideoFile(other), tmp_path / "strange", predictor)


def test_nobody_in_it(predictor: Predictor, tmp_path: Path) -> None:
    film = films.write(tmp_path / "empty.mp4", [films.empty((120, 160))] * 6)
    sentences: list[str] = []
    summary = process(VideoFile(film), tmp_path / "out", predictor, report=sentences.append)
    assert (summary.frames, summary.faces) == (6, 0)
    assert sentences == ["empty.mp4: no face was found, so there is no faces.glb."]
    assert lines(tmp_path / "out" / "faces.csv") == []
    assert len((tmp_path / "out" / "faces.csv").read_text().splitlines()) == 1  # the names
    assert VideoFile(tmp_path / "out" / "overlay.mp4").facts.frames == 6


def test_a_camera_is_recorded(
    predictor: Predictor, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the camera's place; stopped by hand after 20 frames."""
    capture = cv2.VideoCapture(str(film))
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", lambda number: capture)
        camera = run.Camera(0)
    out = tmp_path / "out"
    summary = process(camera, out, predictor, progress=interrupt_at(20))
    assert summary.frames == 20
    assert {"camera.mp4", "overlay.mp4", "faces.csv", "faces.glb", "video.json"} < {path.name for path in out.iterdir()}
    assert VideoFile(out / "camera.mp4").facts.frames == VideoFile(out / "overlay.mp4").facts.frames == 20
    with pytest.raises(VideoError, match="a camera cannot go on with one"):
        process(camera, out, predictor)


def test_parquet(done: tuple[Path, Summary], film: Path, predictor: Predictor) -> None:
    out, summary = done
    try:
        from pyarrow.parquet import read_table
    except ImportError:
        with pytest.raises(VideoError, match=r"parquet needs pyarrow \(pip install 'expnet_tf\[parquet\]'\)"):
            process(VideoFile(film), out, predictor, ("parquet",))
        pytest.skip("pyarrow is not installed; that this is said was tested")
    process(VideoFile(film), out, predictor, ("parquet",))
    read = read_table(out / "faces.parquet").to_pydict()
    rows = lines(out / "faces.csv")
    assert list(read) == list(rows[0])
    assert len(read["frame"]) == summary.faces
    for name in ("frame", "id", "expression_05", "mouthSmileLeft"):
        np.testing.assert_allclose(read[name], [float(row[name]) for row in rows], atol=1e-5)


def test_4k(predictor: Predictor, tmp_path: Path) -> None:
    large = cv2.resize(films.photo(), (3840, 2880), interpolation=cv2.INTER_LINEAR)[:2160]
    summary = process(VideoFile(films.write(tmp_path / "4k.mp4", [large] * 3)), tmp_path / "out", predictor)
    assert [one.frames for one in summary.people] == [3]
    facts = VideoFile(tmp_path / "out" / "overlay.mp4").facts
    assert (facts.width, facts.height) == (1920, 1080)  # no player needs more


class Endless:
    """A source of as many frames as asked for, made as they are read."""

    def __init__(self, count: int) -> None:
        self.facts = Facts("endless", 320, 240, 30.0, count, 0)

    def frames(self, start: int = 0) -> Iterator[Frame | Dropped]:
        frame = films.photo(zoom=0.8, size=(240, 320))
        for index in range(start, self.facts.frames or 0):
            yield Frame(index, index / 30, np.roll(frame, round(20 * np.sin(index / 30)), axis=1))


def resident() -> float:
    """MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read off /proc, as Linux has it")
def test_memory_does_not_grow(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "CHUNK", 64)
    used: dict[int, float] = {}

    def progress(stage: str, done: int, total: int | None) -> None:
        if stage == "faces" and done in (300, 1100):
            used[done] = resident()

    chunks = Chunks(tmp_path)
    run.follow(Endless(1101), chunks, predictor, print, progress, Summary())
    assert chunks.count() == 18
    assert sum(map(len, chunks.tables())) > 1090
    # 800 frames of it are 184 MB, their crops 22 MB.
    assert used[1100] - used[300] < 6


@pytest.mark.slow
def test_killed_and_continued(
    film: Path, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL while the film is written: what was finished is whole, nothing else is left, and it goes on."""
    out = tmp_path / "out"
    program = f"""
import os, signal
from pathlib import Path
from expnet_tf.predictor import load
from expnet_tf.video import table
from expnet_tf.video.reader import VideoFile
from expnet_tf.video.run import process
table.CHUNK = 20
def progress(stage, done, total):
    if stage == "overlay" and done == 30:
        os.kill(os.getpid(), signal.SIGKILL)
process(VideoFile({str(film)!r}), Path({str(out)!r}), load(), progress=progress)
"""
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-500:]
    assert not (out / "overlay.mp4").exists()
    assert not (out / "video.json").exists()
    monkeypatch.setattr(table, "CHUNK", 20)
    summary = process(VideoFile(film), out, predictor)
    assert summary.resumed == 50
    assert VideoFile(out / "overlay.mp4").facts.frames == 50
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
