"""Rows by image key, and what is said of files that are not what they should be."""

import re

import numpy as np
import pytest

from expnet_tf.data.labelling.tables import Table, TableError, TrueLabels, digest, stem
from expnet_tf.data.labels import read_labels


def write(path, **fields):
    np.savez(path, **fields)
    return path


def test_rows_by_key_with_suffix_or_without(tmp_path):
    path = write(tmp_path / "t.npz", key=np.array(["a/1.jpg", "a/2"]), value=np.array([[1, 2], [3, 4]], np.float32))
    table = Table(path, {"value": (2,)}, {"weight": ()})
    assert table.row("a/1.jpg")["value"].tolist() == [1, 2]
    assert table.row("a/2.jpg")["value"].tolist() == [3, 4]
    assert table.row("a/3.jpg") is None
    assert set(table.row("a/2.png")) == {"value"}  # the optional column is not there
    assert table.row("a/2.png")["value"].dtype == np.float64


@pytest.mark.parametrize(("fields", "words"), [
    ({"value": np.zeros((1, 2))}, "a column key, text [n], the images' keys, is needed"),
    ({"key": np.array([1])}, "a column key, text [n]"),
    ({"key": np.array(["a", "a"]), "value": np.zeros((2, 2))}, "1 of its keys come twice"),
    ({"key": np.array(["a"])}, "lacks the column value, float [1, 2]"),
    ({"key": np.array(["a"]), "value": np.zeros((1, 3))}, "value is float64 [1, 3]; float [1, 2] is needed"),
    ({"key": np.array(["a"]), "value": np.array([["1", "2"]])}, "value is <U1 [1, 2]"),
    ({"key": np.array([{}], object), "value": np.zeros((1, 2))}, "not a readable npz file"),
])  # fmt: skip
def test_tables_that_do_not_fit(tmp_path, fields, words):
    path = write(tmp_path / "t.npz", **fields)
    with pytest.raises(TableError, match=f"^{re.escape(f'{path}: {words}')}"):
        Table(path, {"value": (2,)}, {})


def test_no_table(tmp_path):
    with pytest.raises(TableError, match=r"none\.npz: not a readable npz file"):
        Table(tmp_path / "none.npz", {}, {})


def test_stem():
    assert [stem(key) for key in ("0000045/001.jpg", "a.b/c", "a.b/c.d.png")] == ["0000045/001", "a.b/c", "a.b/c.d"]


def test_digest_of_a_folder_tells_names_and_sizes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1").write_bytes(b"one")
    first = digest(tmp_path)
    assert digest(tmp_path) == first
    assert len(digest(tmp_path / "a/1")) == 64
    (tmp_path / "a/1").write_bytes(b"three")
    assert digest(tmp_path) != first


def test_true_labels(faces):
    columns = read_labels(faces)
    truth = TrueLabels(faces)
    for row, key in enumerate(columns["key"].tolist()):
        np.testing.assert_array_equal(truth.row(key)["points"], columns["points"][row])
    assert truth.row("nobody/1.jpg") is None
    with pytest.raises(TableError, match="no labels-NNNNN"):
        TrueLabels(faces / "0000001")
