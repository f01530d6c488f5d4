"""Correspondence files: both forms give the points they name; every wrong one is told in a sentence."""

import csv
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.retarget import RetargetError
from expnet_tf.retarget.correspondence import Correspondence, read_correspondence
from expnet_tf.retarget.maps import fit
from expnet_tf.retarget.spaces import expression_space


def write_csv(path: Path, header: str, rows: object) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)  # type: ignore[arg-type]
    return path


def read(path: Path, pair) -> Correspondence:
    return read_correspondence(path, pair.source, pair.target)


@pytest.mark.parametrize("form", ["csv", "npz"])
def test_permuted_vertices(pair, codes, tmp_path, form) -> None:
    """The target without landmarks, its vertices in another order: the file alone says which is which."""
    target = replace(pair.target, landmark_ids=np.empty(0, np.int32))
    path = tmp_path / f"pairs.{form}"
    if form == "csv":
        write_csv(path, "source,target", zip(pair.order, range(120), strict=True))
    else:
        np.savez(path, source=pair.order, target=np.arange(120, dtype=np.int32))
    pairs = read_correspondence(path, pair.source, target)
    assert (len(pairs), pairs.name) == (120, path.name)
    done = fit(expression_space(pair.source), expression_space(target), pairs, 1e-6).solve(codes)
    np.testing.assert_allclose(done.codes, codes @ pair.mixing, atol=1e-9)


@pytest.mark.parametrize("form", ["csv", "npz"])
def test_points_within_triangles(pair, tmp_path, form) -> None:
    rng = np.random.default_rng(3)
    ids, shares = rng.integers(0, 120, (50, 3)), rng.dirichlet([1, 1, 1], 50)
    theirs, weights = rng.integers(0, 120, 50), rng.uniform(0, 2, 50)
    path = tmp_path / f"pairs.{form}"
    if form == "csv":
        header = "weight,source_a,source_b,source_c,source_u,source_v,source_w,target"
        rows = [[w, *i, *map(repr, s.tolist()), t] for w, i, s, t in zip(weights, ids, shares, theirs, strict=True)]
        write_csv(path, header, rows)
    else:
        np.savez(path, source=ids, source_barycentric=shares, target=theirs, weight=weights)
    pairs = read(path, pair)
    np.testing.assert_allclose(pairs.weights, weights)
    expected = np.einsum("kc,dkcx->dkx", shares, pair.source.expression_basis[:, ids])
    np.testing.assert_allclose(pairs.source.of(pair.source.expression_basis), expected, atol=1e-12)
    np.testing.assert_array_equal(pairs.target.of(pair.target.mean), pair.target.mean[theirs])


def test_a_table_as_spreadsheets_write_it(pair, tmp_path) -> None:
    path = tmp_path / "pairs.CSV"
    path.write_bytes("\ufeffsource, target\r\n1,2\r\n3.0,4\r\n5,6\r\n7,8\r\n".encode())
    np.testing.assert_array_equal(read(path, pair).source.ids[:, 0], [1, 3, 5, 7])


FOUR = [[0, 0], [1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize(
    ("header", "rows", "sentence"),
    [
        ("source,target", [], "0 pairs have weight; at least 4"),
        ("source,target", FOUR[:3], "3 pairs have weight; at least 4"),
        ("source,target,weight", [[*row, row[0] % 2] for row in FOUR], "2 pairs have weight; at least 4"),
        ("source,target", [*FOUR, [120, 0]], "source uses vertices 0 to 120; toy-1 has 0 to 119"),
        ("source,target", [*FOUR, [0, -1]], "target uses vertices -1 to 3; other-2 has 0 to 119"),
        ("source,target", [*FOUR, [0.5, 0]], "source holds numbers that are not whole"),
        ("source,target", [*FOUR, ["nan", 0]], "source holds numbers that are not whole"),
        ("source,target", [*FOUR, ["1e999", 0]], "source holds numbers that are not whole"),
        ("source,target", [*FOUR, ["left", 0]], "line 6: 2 numbers are expected"),
        ("source,target", [*FOUR, [1]], "line 6: 2 numbers are expected"),
        ("source,target", [*FOUR, [1, 2, 3]], "line 6: 2 numbers are expected"),
        ("source,target,weight", [[*row, -1] for row in FOUR], "weight must be 4 finite numbers of at least 0"),
        ("source,target,weight", [[*row, "inf"] for row in FOUR], "weight must be 4 finite numbers of at least 0"),
        ("source", [[0]], "the column target is missing"),
        ("target,source,id", [], "unknown column 'id'; accepted: source, source_a"),
        ("source,source", FOUR, "a column comes twice"),
        ("source_a,source_b,target", [], "source_a, source_b, source_c belong together, in place of source"),
        ("source,source_a,source_b,source_c", [], "belong together, in place of source"),
        ("source_a,source_b,source_c,target", [[0, 1, 2, 0]] * 4, "source needs barycentric coordinates"),
        ("source,source_u,source_v,source_w,target", [[0, 1, 0, 0, 0]] * 4, "source needs barycentric coordinates"),
        (
            "source_a,source_b,source_c,source_u,source_v,source_w,target",
            [[0, 1, 2, 0.5, 0.5, 0.5, 0]] * 4,
            "barycentric coordinates of source are below 0, or do not sum to 1",
        ),
        (
            "source_a,source_b,source_c,source_u,source_v,source_w,target",
            [[0, 1, 2, 1.5, -0.5, 0, 0]] * 4,
            "barycentric coordinates of source are below 0, or do not sum to 1",
        ),
    ],
)
def test_wrong_tables(pair, tmp_path, header, rows, sentence) -> None:
    path = write_csv(tmp_path / "pairs.csv", header, rows)
    with pytest.raises(RetargetError) as caught:
        read(path, pair)
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"source": np.arange(5), "target": np.arange(6)}, "5 source points and 6 target points; they are no pairs"),
        ({"source": np.arange(5)}, "the column target is missing"),
        ({"source": np.arange(8).reshape(4, 2), "target": np.arange(4)}, "source has shape (4, 2)"),
        ({"source": np.array(3), "target": np.arange(4)}, "source has shape ()"),
        ({"source": np.array(list("abcd")), "target": np.arange(4)}, "source is <U1; numbers are expected"),
        ({"source": np.arange(4) + 0j, "target": np.arange(4)}, "source is complex128; numbers are expected"),
        ({"source": np.arange(4), "target": np.arange(4), "extra": np.arange(4)}, "unknown column 'extra'"),
        ({"source": np.arange(4), "target": np.arange(4), "weight": np.ones(5)}, "weight must be 4 finite numbers"),
        ({"source": np.ones((4, 3)), "source_barycentric": np.ones((4, 2)), "target": np.arange(4)}, "not (4, 3)"),
    ],
)
def test_wrong_archives(pair, tmp_path, arrays, sentence) -> None:
    np.savez(tmp_path / "pairs.npz", **arrays)
    with pytest.raises(RetargetError) as caught:
        read(tmp_path / "pairs.npz", pair)
    assert sentence in str(caught.value)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_pickles_do_not_run(pair, tmp_path) -> None:
    np.savez(tmp_path / "pairs.npz", source=np.array([Bomb(tmp_path / "ran")], object), target=np.arange(4))
    with pytest.raises(RetargetError, match=r"not a readable .npz file"):
        read(tmp_path / "pairs.npz", pair)
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_would_fill_the_memory(pair, tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "pairs.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("source.npy", bytes(120_000_000))
    with pytest.raises(RetargetError, match=r"unpacks to 120,000,000 bytes; 100,000,000 are accepted"):
        read(tmp_path / "pairs.npz", pair)


def test_an_array_that_claims_more_than_there_is(pair, tmp_path) -> None:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**14},)}}".encode().ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "pairs.npz", "w") as archive:
        archive.writestr("source.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(RetargetError, match=r"not a readable .npz file"):
        read(tmp_path / "pairs.npz", pair)


def test_an_empty_file(pair, tmp_path) -> None:
    (tmp_path / "pairs.csv").write_bytes(b"")
    with pytest.raises(RetargetError, match=r"pairs.csv is empty"):
        read(tmp_path / "pairs.csv", pair)


@pytest.mark.parametrize("name", ["pairs.npz", "pairs.csv", "pairs.txt", "none.csv", "none.npz"])
def test_no_such_file_or_kind(pair, tmp_path, name) -> None:
    path = tmp_path / name
    if not name.startswith("none"):
        path.write_bytes(b"\xff\xfe\x00PK")
    with pytest.raises(RetargetError) as caught:
        read(path, pair)
    assert str(caught.value).startswith(str(path))
