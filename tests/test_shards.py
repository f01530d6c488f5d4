"""Shards of faces: the same bytes whoever makes them and however often the run is stopped."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from expnet_tf import facejson, facerows
from expnet_tf.data.labelling.shard import ToolsDiffer
from expnet_tf.data.labelling.workers import Processes
from expnet_tf.faceshard import Ask, Record, ShardError, Share, make_shard
from expnet_tf.image import read_image
from expnet_tf.inputs import Inputs
from expnet_tf.models import ASSETS, DEFAULT, sha256
from expnet_tf.network import ExpNet, ModelInfo, save_model
from expnet_tf.predictor import load
from expnet_tf.shards import Summary, one_by_one, predict_shards

ASTRONAUT = ASSETS / "astronaut.jpg"
SHARDS = ["faces-00000-of-00003.jsonl", "faces-00001-of-00003.jsonl", "faces-00002-of-00003.jsonl"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(5)
    info = ModelInfo("toy", "1.0", "compact", 32, 1.25, ("expression", "identity", "pose"), "random", "Apache-2.0")
    path = tmp_path_factory.mktemp("toy") / "toy.keras"
    save_model(ExpNet("compact", size=32), path, info)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of a face, one of a wall, one that is none: shards of 2, 2 and 1 photos."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "b").mkdir()
    image = Image.open(ASTRONAUT)
    for name, left in (("a.png", 0), ("b/1.png", 20), ("c.png", 40)):
        image.crop((left, 0, 400, 300)).save(folder / name)
    (folder / "b/2.jpg").write_bytes(b"not an image")
    Image.new("RGB", (300, 200), (90, 120, 160)).save(folder / "d.png")
    return folder


@pytest.fixture(scope="module")
def ask(weights: Path) -> Ask:
    return Ask(model=str(weights))


def predict(photos: Path, out: Path, ask: Ask, run=one_by_one, size: int = 2, **more) -> Summary:
    return predict_shards(Inputs([str(photos)], out), out, ask, run, photos_per_shard=size, **more)


def files(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(photos: Path, ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from start to end, in this process."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done: list[tuple[int, int]] = []
    summary = predict(photos, out, ask, progress=lambda *numbers: done.append(numbers))
    assert summary == Summary(photos=3, faces=3, failed=2, made=3)
    assert done == [(0, 5), (2, 5), (4, 5), (5, 5)]
    return out


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(out.glob("faces-*")) for line in path.read_text().splitlines()]


def test_what_is_written(whole: Path, weights: Path) -> None:
    assert sorted(files(whole)) == sorted(
        [*SHARDS, *(f"records/{name[6:20]}.json" for name in SHARDS), "faces.json", "failures.jsonl", "run.json"]
    )
    assert [(row["file"], row["face"]) for row in rows(whole)] == [("a.png", 0), ("b/1.png", 0), ("c.png", 0)]
    record = json.loads((whole / "faces.json").read_text())
    assert record["schema"] == "expnet.faces/1"
    assert record["model"] == {"id": "toy-1.0", "sha256": sha256(weights), "size": 32, "crop_factor": 1.25}
    assert record["detector"]["name"] == "BlazeFace"
    assert record["numbers"] == {"photos": 5, "photos_with_faces": 3, "faces": 3, "failures": 2}
    assert record["files"] == [{"name": name, "faces": faces} for name, faces in zip(SHARDS, (2, 1, 0), strict=True)]


def test_failures_are_listed(whole: Path) -> None:
    unreadable, empty = map(json.loads, (whole / "failures.jsonl").read_text().splitlines())
    assert unreadable["file"] == "b/2.jpg"
    assert unreadable["sentence"].startswith("b/2.jpg is not a JPEG, PNG")
    assert empty["file"] == "d.png"
    assert empty["sentence"].startswith("d.png: no face was found")


def test_a_row_is_the_face_of_the_json(whole: Path, photos: Path, weights: Path) -> None:
    image = read_image(photos / "b/1.png")
    (face,) = load(weights).predict(image)
    expected = facerows.row("b/1.png", (image.shape[1], image.shape[0]), 0, face)
    found = rows(whole)[1]
    assert list(found) == list(expected)
    page = (Path(__file__).parents[1] / "docs" / "batch.md").read_text()
    assert [name for name in found if f"`{name}`" not in page] == []
    assert [len(found[name]) for name in ("box", "expression", "identity", "pose", "blendshapes")] == [4, 29, 99, 6, 52]
    one = facejson.face_record(face, {})
    assert (found["box"], found["score"], found["crop_side"]) == (one["box"], one["score"], one["crop"]["side"])
    # Another batch may round otherwise.
    np.testing.assert_allclose(found["expression"], one["expression"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["pose"][3:], one["pose"]["translation_mm"], rtol=1e-4)
    assert (found["focal_px"], found["center_px"]) == (one["pose"]["focal_px"], one["pose"]["center_px"])
    assert found["blendshapes"] == pytest.approx(one["blendshapes"], abs=1e-4)


def test_nothing_is_done_twice(whole: Path, photos: Path, ask: Ask) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.glob("faces-*")}
    assert predict(photos, whole, ask).made == 0
    assert before == {path: path.stat().st_mtime_ns for path in whole.glob("faces-*")}


@pytest.mark.parametrize("lost", [SHARDS[0], "records/00001-of-00003.json", "faces.json"])
def test_a_run_that_was_stopped_comes_to_the_same_bytes(
    whole: Path, photos: Path, ask: Ask, tmp_path: Path, lost: str
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    (out / lost).unlink()
    (out / ".0123.tmp").write_bytes(b"half a shard")
    assert predict(photos, out, ask).made == (lost != "faces.json")
    assert files(out) == files(whole)


def test_a_run_that_dies_keeps_its_shards(whole: Path, photos: Path, ask: Ask, tmp_path: Path) -> None:
    def dies(shares: list[Share]) -> Iterator[Record]:
        yield make_shard(shares[1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(photos, tmp_path / "out", ask, dies)
    assert [path.name for path in (tmp_path / "out").glob("faces*")] == [SHARDS[1]]
    assert predict(photos, tmp_path / "out", ask).made == 2
    assert files(tmp_path / "out") == files(whole)


@pytest.mark.slow
def test_two_processes_make_the_same_bytes(whole: Path, photos: Path, ask: Ask, tmp_path: Path) -> None:
    assert predict(photos, tmp_path / "out", ask, Processes(2, make_shard)).made == 3
    assert files(tmp_path / "out") == files(whole)


def test_another_run_is_refused(whole: Path, photos: Path, ask: Ask, tmp_path: Path) -> None:
    before = files(whole)
    with pytest.raises(ShardError, match="another all_faces: it was false, now it is true; use the same arguments"):
        predict(photos, whole, Ask(model=ask.model, all_faces=True))
    with pytest.raises(ShardError, match=rf'another model\.id: it was "toy-1\.0", now it is "{DEFAULT}-'):
        predict(photos, whole, Ask())
    with pytest.raises(ShardError, match="another photos_per_shard: it was 2, now it is 3"):
        predict(photos, whole, ask, size=3)
    more = shutil.copytree(photos, tmp_path / "more")
    (more / "b/2.jpg").write_bytes(b"of another size")
    with pytest.raises(ShardError, match=r'another inputs\.names_and_sizes: it was "[0-9a-f]{64}", now it is "'):
        predict(more, whole, ask)
    (more / "e.png").write_bytes(b"one more")
    with pytest.raises(ShardError, match=r"another inputs\.photos: it was 5, now it is 6"):
        predict(more, whole, ask)
    assert files(whole) == before


def test_foreign_and_damaged_folders(photos: Path, ask: Ask, tmp_path: Path) -> None:
    (tmp_path / SHARDS[0]).touch()
    with pytest.raises(ShardError, match=r"holds shards without their run\.json"):
        predict(photos, tmp_path, ask)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ShardError, match=r"run\.json is damaged"):
        predict(photos, tmp_path, ask)


def test_a_mistyped_folder_claims_nothing(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"fotos does not exist\.$"):
        predict(tmp_path / "fotos", tmp_path / "out", ask)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ShardError, match="holds no photo"):
        predict(tmp_path / "empty", tmp_path / "out", ask)
    assert not (tmp_path / "out").exists()


def test_a_worker_with_another_model_is_refused(photos: Path, ask: Ask, tmp_path: Path) -> None:
    share = Share(0, 1, (), ask, {"software": "expnet_tf 0.0.1"}, str(tmp_path))
    with pytest.raises(ToolsDiffer, match=r"a worker's software is expnet_tf .*; the run was started with .* 0\.0\.1"):
        make_shard(share)


def test_parquet_without_pyarrow(photos: Path, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ShardError, match=r"pip install 'expnet_tf\[parquet\]'"):
        predict(photos, tmp_path / "out", Ask("parquet", ask.model))
    assert not (tmp_path / "out").exists()


def test_parquet_holds_the_same_rows(whole: Path, photos: Path, ask: Ask, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    predict(photos, tmp_path / "out", Ask("parquet", ask.model))
    tables = [parquet.read_table(path) for path in sorted((tmp_path / "out").glob("faces-*.parquet"))]
    assert [table.num_rows for table in tables] == [2, 1, 0]
    assert len({str(table.schema) for table in tables}) == 1
    found = [row for table in tables for row in table.to_pylist()]
    for one, expected in zip(found, rows(whole), strict=True):
        for name in ("expression", "identity", "pose"):
            np.testing.assert_array_equal(np.float32(one.pop(name)), np.float32(expected.pop(name)))
        assert one.pop("blendshapes") == pytest.approx(expected.pop("blendshapes"), abs=1e-7)
        assert one == expected
    odd = {**rows(whole)[0], "file": "\udcff.jpg", "identity": None, "score": None}
    (tmp_path / "odd.parquet").write_bytes(facerows.parquet([odd], load(ask.model).face_model))
    (back,) = parquet.read_table(tmp_path / "odd.parquet").to_pylist()
    assert (back["file"], back["identity"], back["score"]) == ("\\udcff.jpg", None, None)
