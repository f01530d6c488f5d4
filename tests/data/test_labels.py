"""Label shards: written whole, read back, and refused in one sentence when they do not fit the schema."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.data import labels
from expnet_tf.data.labels import LabelError, read_labels, shard_name, write_shard, write_summary


def columns(count: int = 3, first: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(first)
    out = {name: rng.normal(size=(count, *width)).astype(np.float32) for name, width in labels.WIDTHS.items()}
    numbers = range(first, first + count)
    return {
        "key": np.array([f"{n:07d}/001.jpg" for n in numbers]),
        "subject": np.array([f"{n:07d}" for n in numbers]),
        **out,
    }


def folder_of(tmp_path: Path, *counts: int) -> Path:
    first = 0
    for index, count in enumerate(counts):
        write_shard(tmp_path / shard_name(index, len(counts)), columns(count, first))
        first += count
    return tmp_path


def test_the_widths_of_the_schema():
    """The schema of labels.py: 29 expression and 99 identity codes, pose 6, camera f cx cy, box of four, 68 points."""
    assert labels.WIDTHS == {
        "expression": (29,), "identity": (99,), "pose": (6,), "camera": (3,), "box": (4,), "points": (68, 2),
        "quality": (),
    }  # fmt: skip
    assert shard_name(3, 60) == "labels-00003-of-00060.npz"


def test_written_shards_are_read_in_order(tmp_path):
    back = read_labels(folder_of(tmp_path, 3, 2))
    assert set(back) == {"key", "subject", *labels.WIDTHS}
    for name, part in columns(3, 0).items():
        np.testing.assert_array_equal(back[name][:3], part)
    np.testing.assert_array_equal(back["points"][3:], columns(2, 3)["points"])
    assert back["points"].dtype == np.float32
    # What numpy says of the files agrees: plain arrays, nothing pickled.
    with np.load(tmp_path / shard_name(0, 2), allow_pickle=False) as data:
        assert data["pose"].shape == (3, 6)


def test_nothing_but_whole_files(tmp_path):
    folder_of(tmp_path, 3)
    assert [p.name for p in tmp_path.iterdir()] == [shard_name(0, 1)]
    bad = columns()
    bad["pose"][1, 2] = np.nan
    with pytest.raises(LabelError, match="pose holds values that are not finite"):
        write_shard(tmp_path / shard_name(0, 1), bad)
    np.testing.assert_array_equal(read_labels(tmp_path)["pose"], columns()["pose"])  # the old one stays


def test_a_leftover_temporary_file_is_no_shard(tmp_path):
    folder_of(tmp_path, 3)
    (tmp_path / f".{shard_name(1, 2)}.123.tmp").write_bytes(b"half")
    assert len(read_labels(tmp_path)["key"]) == 3


def test_an_empty_folder(tmp_path):
    with pytest.raises(LabelError, match=f"^{re.escape(str(tmp_path))}: no labels-NNNNN-of-MMMMM.npz in it$"):
        read_labels(tmp_path)
    with pytest.raises(LabelError, match="nowhere: no labels"):
        read_labels(tmp_path / "nowhere")


def test_missing_shards(tmp_path):
    folder_of(tmp_path, 1, 1, 1)
    (tmp_path / shard_name(1, 3)).unlink()
    with pytest.raises(LabelError, match="2 of 3 label shards are there"):
        read_labels(tmp_path)


def test_damaged_shards(tmp_path):
    folder_of(tmp_path, 2)
    path = tmp_path / shard_name(0, 1)
    whole = path.read_bytes()
    for damaged in (b"", b"not an archive", whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(damaged)
        with pytest.raises(LabelError, match=f"^{re.escape(str(path))}: not a readable label shard"):
            read_labels(tmp_path)
    np.savez(path, **{**columns(), "key": np.array([{}, {}, {}], object)})
    with pytest.raises(LabelError, match="not a readable label shard"):
        read_labels(tmp_path)


@pytest.mark.parametrize(("name", "value", "words"), [
    ("expression", np.zeros((3, 28), np.float32), "expression has shape (3, 28), expected (3, 29)"),
    ("points", np.zeros((3, 136), np.float32), "points has shape (3, 136), expected (3, 68, 2)"),
    ("box", np.zeros((2, 4), np.float32), "box has shape (2, 4), expected (3, 4)"),
    ("quality", np.zeros((3, 1), np.float32), "quality has shape (3, 1), expected (3,)"),
    ("subject", np.array(["a", "b"]), "subject has shape (2,), expected (3,)"),
    ("key", np.array("only one"), "key has shape (), expected (1,)"),
    ("camera", np.full((3, 3), np.inf, np.float32), "camera holds values that are not finite"),
    ("pose", np.full((3, 6), "0"), "pose has the wrong type <U1"),
    ("subject", np.arange(3), "subject has the wrong type int64"),
])  # fmt: skip
def test_columns_that_do_not_fit(tmp_path, name, value, words):
    path = tmp_path / shard_name(0, 1)
    with pytest.raises(LabelError, match=re.escape(f"{path}: {words}")):
        write_shard(path, {**columns(), name: value})
    assert not list(tmp_path.iterdir())
    # The same from a file that someone else wrote.
    np.savez(path, **{**columns(), name: value})
    with pytest.raises(LabelError, match=re.escape(words)):
        read_labels(tmp_path)


def test_missing_columns(tmp_path):
    short = columns()
    del short["quality"], short["box"]
    with pytest.raises(LabelError, match="lacks the columns box, quality"):
        write_shard(tmp_path / shard_name(0, 1), short)


def test_a_further_column_is_left_out(tmp_path):
    np.savez(tmp_path / shard_name(0, 2), **columns(2), extra=np.zeros(2))
    np.savez(tmp_path / shard_name(1, 2), **columns(2, 2))
    assert "extra" not in read_labels(tmp_path)


def test_summary(tmp_path):
    folder_of(tmp_path, 3, 2)
    write_summary(tmp_path, {"source": "test", "camera": "pinhole"})
    summary = json.loads((tmp_path / "labels.json").read_text())
    assert summary["schema"] == "expnet.labels/1"
    assert (summary["images"], summary["subjects"]) == (5, 5)
    assert summary["source"] == "test"
    pose = np.concatenate([columns(3, 0)["pose"], columns(2, 3)["pose"]])
    np.testing.assert_allclose(summary["statistics"]["pose"]["mean"], pose.mean(0), atol=1e-4)
    np.testing.assert_allclose(summary["statistics"]["pose"]["std"], pose.std(0), atol=1e-4)
    assert not list(tmp_path.glob(".*"))
