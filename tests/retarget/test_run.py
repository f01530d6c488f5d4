"""Files in, files out: each kind comes back as its kind, bad rows are told and left out, and files are whole."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.data.expressions import BLENDSHAPES
from expnet_tf.retarget import RetargetError
from expnet_tf.retarget.correspondence import between
from expnet_tf.retarget.maps import Map, fit
from expnet_tf.retarget.run import Summary, retarget
from expnet_tf.retarget.spaces import expression_space


@pytest.fixture
def mapping(pair) -> Map:
    return fit(expression_space(pair.source), expression_space(pair.target), between(pair.source, pair.target))


def run(source: Path, out: Path, mapping: Map) -> tuple[Summary, list[str]]:
    sentences: list[str] = []
    return retarget(source, out, mapping, sentences.append), sentences


def face_row(code: np.ndarray, **more: object) -> dict:
    """What a row of `expnet predict` has, as far as it matters here."""
    return {"box": [1.5, 2, 3, 4], "score": None, "expression": code.tolist(), "identity": [0.1, 0.2], **more}


def photo(path: Path, faces: list, **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"schema": "expnet.predict/1", "file": "a.jpg", "face_model": "toy-1", "faces": faces, "new": {"x": [1]}}
    path.write_text(json.dumps({**record, **more}))
    return path


def lines(path: Path, rows: list) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def near(got: object, expected: np.ndarray) -> None:
    np.testing.assert_allclose(np.array(got, float), expected, atol=2e-6)


def test_photo(mapping, codes, tmp_path) -> None:
    expected = mapping.solve(codes[:2])
    faces = [face_row(code, files={"obj": "a.jpg.obj"}) for code in codes[:2]]
    summary, sentences = run(photo(tmp_path / "a.jpg.json", faces), tmp_path / "b.json", mapping)
    assert (summary.rows, summary.failed, sentences) == (2, 0, [])
    found = json.loads((tmp_path / "b.json").read_text())
    assert (found["schema"], found["file"], found["new"]) == ("expnet.predict/1", "a.jpg", {"x": [1]})
    assert found["face_model"] == "other-2"
    assert {name: found["retarget"][name] for name in ("from", "to", "points", "count", "ridge_mm")} == {
        "from": "toy-1", "to": "other-2", "points": "landmarks", "count": 68, "ridge_mm": 0.01}  # fmt: skip
    for at, face in enumerate(found["faces"]):
        np.testing.assert_array_equal(np.float32(face["expression"]), expected.codes[at].astype(np.float32))
        near([face["residual_mm"], face["motion_mm"]], [expected.residual[at], expected.motion[at]])
        # What belongs to the mesh of the other model is gone, the rest is as it was.
        assert (face["identity"], face["files"], face["box"], face["score"]) == (None, {}, [1.5, 2, 3, 4], None)
    np.testing.assert_allclose(summary.rms, np.sqrt((expected.residual**2).mean()))
    np.testing.assert_allclose(summary.kept, 1 - np.sqrt((expected.residual**2).sum() / (expected.motion**2).sum()))
    assert summary.worst == expected.residual.max()


def test_folder_of_photos(mapping, codes, tmp_path) -> None:
    """Good ones go on; each bad one is a sentence, also where the whole file is bad."""
    source, out = tmp_path / "in", tmp_path / "out"
    photo(source / "a.jpg.json", [face_row(codes[0]), face_row(codes[1, :5]), face_row(codes[2])])
    photo(source / "b" / "a.jpg.json", [face_row(codes[1])])
    photo(source / "c.json", [face_row(codes[1])], face_model="open_face-1")
    photo(source / "d.json", [])
    photo(source / "e.json", [face_row(codes[1])], schema="expnet.predict/2")
    (source / "f.json").write_text('{"schema": "expnet.predict/1", "faces": [{"expression": [NaN]}]}')
    (source / "g.json").write_bytes(b"\xff{")
    photo(source / "h.json", ["face"])
    (source / "a.jpg.obj").write_text("v 0 0 0\n")
    summary, sentences = run(source, out, mapping)
    assert (summary.rows, summary.failed) == (3, 7)
    assert sentences == [
        "a.jpg.json, row 1: it has 5 codes; 6 are expected.",
        f"{source}/c.json: its codes belong to open_face-1; --from is toy-1.",
        f"{source}/d.json has no rows.",
        f"{source}/e.json is no JSON of a photo (expnet.predict/1).",
        f"{source}/f.json is no JSON of a photo (expnet.predict/1).",
        f"{source}/g.json is no JSON of a photo (expnet.predict/1).",
        "h.json, row 0: it is no JSON object.",
    ]
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == ["a.jpg.json", "b/a.jpg.json"]
    near([face["expression"] for face in json.loads((out / "a.jpg.json").read_text())["faces"]],
         mapping.solve(codes[[0, 2]]).codes)  # fmt: skip


BAD = [
    ("{", "it is no JSON object"),
    ("[1]", "it is no JSON object"),
    ("[" * 100_000, "it is no JSON object"),
    ({"expression": None}, "it has no expression"),
    ({}, "it has no expression"),
    ({"expression": "123456"}, "its codes are no list of numbers"),
    ({"expression": ["1", "2", "3", "4", "5", "6"]}, "its codes are no list of numbers"),
    ({"expression": [True] * 6}, "its codes are no list of numbers"),
    ({"expression": [[1], [1, 2], 3, 4, 5, 6]}, "its codes are no list of numbers"),
    ({"expression": [[1, 2, 3, 4, 5, 6]]}, "its codes are no list of numbers"),
    ({"expression": {"a": 1}}, "its codes are no list of numbers"),
    ({"expression": [10**400, 0, 0, 0, 0, 0]}, "its codes are no list of numbers"),
    ({"expression": [1e300, 0, 0, 0, 0, 0]}, "its codes are not finite, or out of range"),
    ('{"expression": [1e999, 0, 0, 0, 0, 0]}', "its codes are not finite, or out of range"),
    ({"expression": []}, "its codes are no list of numbers"),
]


def test_bad_rows(mapping, codes, tmp_path) -> None:
    rows = [face_row(codes[0], file="x"), *(row for row, _ in BAD), face_row(codes[1], file="\udcff")]
    summary, sentences = run(lines(tmp_path / "a.jsonl", rows), tmp_path / "b.jsonl", mapping)
    assert (summary.rows, summary.failed) == (2, len(BAD))
    told = [text.partition(": ")[2].rstrip(".") for text in sentences]
    assert [text.replace("it has 0 codes; 6 are expected", "its codes are no list of numbers") for text in told] == [
        sentence for _, sentence in BAD
    ]
    found = [json.loads(text) for text in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [row["file"] for row in found] == ["x", "\udcff"]
    near([row["expression"] for row in found], mapping.solve(codes[:2]).codes)


def test_no_row_is_left(mapping, tmp_path) -> None:
    source = lines(tmp_path / "a.jsonl", [{}])
    summary, sentences = run(source, tmp_path / "b.jsonl", mapping)
    assert (summary.rows, summary.failed, summary.kept, summary.rms) == (0, 1, 1.0, 0.0)
    assert not (tmp_path / "b.jsonl").exists()
    assert len(sentences) == 1


def shards(folder: Path, codes: np.ndarray, **more: object) -> Path:
    folder.mkdir()
    lines(folder / "faces-00000-of-00002.jsonl", [face_row(code) for code in codes[:3]])
    lines(folder / "faces-00001-of-00002.jsonl", [])
    (folder / "failures.jsonl").write_text('{"file": "b.jpg", "sentence": "no face."}\n')
    (folder / "run.json").write_text("{}")
    run = {
        "schema": "expnet.faces/1", "face_model": "toy-1",
        "numbers": {"photos": 5, "photos_with_faces": 4, "faces": 3, "failures": 1},
        "files": [{"name": f"faces-{at:05d}-of-00002.jsonl", "faces": 3 - 3 * at} for at in (0, 1)],
    }  # fmt: skip
    (folder / "faces.json").write_text(json.dumps({**run, **more}))
    return folder


def test_shards(mapping, codes, tmp_path) -> None:
    source, out = shards(tmp_path / "in", codes), tmp_path / "out"
    with (source / "faces-00000-of-00002.jsonl").open("a") as file:
        file.write("{}\n")
    summary, sentences = run(source, out, mapping)
    assert (summary.rows, summary.failed) == (3, 1)
    assert sentences == ["faces-00000-of-00002.jsonl, row 3: it has no expression."]
    assert sorted(path.name for path in out.iterdir()) == [
        "faces-00000-of-00002.jsonl", "faces-00001-of-00002.jsonl", "faces.json", "failures.jsonl"]  # fmt: skip
    found = json.loads((out / "faces.json").read_text())
    assert found["face_model"] == "other-2"
    assert found["retarget"]["from"] == "toy-1"
    assert found["numbers"] == {"photos": 5, "photos_with_faces": 4, "faces": 3, "failures": 2}
    assert [file["faces"] for file in found["files"]] == [3, 0]
    assert [json.loads(text)["sentence"] for text in (out / "failures.jsonl").read_text().splitlines()] == [
        "no face.", sentences[0]]  # fmt: skip
    near([json.loads(text)["expression"] for text in (out / "faces-00000-of-00002.jsonl").read_text().splitlines()],
         mapping.solve(codes[:3]).codes)  # fmt: skip
    again, _ = run(source, out, mapping)  # the same files anew
    assert again == summary


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"files": [{"name": "../a.jsonl"}]}, "names '../a.jsonl', which is no shard"),
        ({"files": [{"name": "run.json"}]}, "names 'run.json', which is no shard"),
        ({"files": 3}, "is not what expnet predict --shards writes"),
        ({"numbers": None}, "is not what expnet predict --shards writes"),
        ({"face_model": "open_face-1"}, "its codes belong to open_face-1; --from is toy-1"),
    ],
)
def test_shards_of_something_else(mapping, codes, tmp_path, facts, sentence) -> None:
    with pytest.raises(RetargetError) as caught:
        run(shards(tmp_path / "in", codes, **facts), tmp_path / "out", mapping)
    assert sentence in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_lost_shard(mapping, codes, tmp_path) -> None:
    source = shards(tmp_path / "in", codes)
    (source / "faces-00001-of-00002.jsonl").unlink()
    summary, sentences = run(source, tmp_path / "out", mapping)
    assert (summary.rows, summary.failed) == (3, 1)
    assert "faces-00001-of-00002.jsonl cannot be read (No such file or directory)" in sentences[0]


def test_npz(mapping, codes, tmp_path) -> None:
    codes[3, 2] = np.nan
    np.savez(tmp_path / "a.npz", expression=codes.astype(np.float32), key=np.array([f"{at}" for at in range(40)]),
             identity=np.zeros((40, 2)))  # fmt: skip
    summary, sentences = run(tmp_path / "a.npz", tmp_path / "b.npz", mapping)
    assert (summary.rows, summary.failed) == (39, 1)
    assert sentences == ["a.npz, row 3: its codes are not finite, or out of range."]
    with np.load(tmp_path / "b.npz", allow_pickle=False) as found:
        assert set(found) == {"expression", "key", "residual_mm", "motion_mm"}
        assert found["key"].tolist() == [f"{at}" for at in range(40)]
        good = np.arange(40) != 3
        assert np.isnan(found["expression"][3]).all()
        assert np.isnan(found["residual_mm"][3])
        expected = mapping.solve(codes[good].astype(np.float32))
        near(found["expression"][good], expected.codes)
        near(found["motion_mm"][good], expected.motion)


def test_csv(mapping, codes, tmp_path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", *(f"expression_{at}" for at in reversed(range(6))), "note"])
        for at in range(3):
            writer.writerow([at, *map(repr, codes[at, ::-1].tolist()), 'a, "b"'])
        writer.writerow([3, 1, 2, 3, 4, 5, "", "no code"])
        writer.writerow([4])
        writer.writerow([])
    summary, sentences = run(path, tmp_path / "b.csv", mapping)
    assert (summary.rows, summary.failed) == (3, 2)
    assert sentences == [f"a.csv, row {at}: it does not have 6 numbers." for at in (3, 4)]
    with (tmp_path / "b.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    names = [f"expression_{at}" for at in range(6)]
    assert list(found[0]) == ["frame", "note", *names, "residual_mm", "motion_mm"]
    assert [(row["frame"], row["note"]) for row in found] == [(str(at), 'a, "b"') for at in range(3)]
    near([[row[name] for name in names] for row in found], mapping.solve(codes[:3]).codes)


def test_arkit_tables(from_arkit, to_arkit, tmp_path) -> None:
    """Names as Live Link Face spells them, few of them; then the codes back to weights, as CSV and as npz."""
    path = tmp_path / "take.csv"
    path.write_text("Timecode,JawOpen,mouthSmileLeft,HeadYaw\n00:01,0.5,0.25,-0.3\n00:02,1.0,0,0\n00:03,50,0,0\n")
    summary, sentences = run(path, tmp_path / "codes.csv", from_arkit)
    assert (summary.rows, sentences) == (2, ["take.csv, row 2: weights are 0 to 50; 0 to 1 is expected."])
    run(tmp_path / "codes.csv", tmp_path / "back.csv", to_arkit)
    with (tmp_path / "back.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["Timecode", "HeadYaw", *BLENDSHAPES, "residual_mm", "motion_mm"]
    assert [row["Timecode"] for row in found] == ["00:01", "00:02"]
    np.testing.assert_allclose([float(row["jawOpen"]) for row in found], [0.5, 1], atol=0.02)
    np.testing.assert_allclose(float(found[0]["mouthSmileLeft"]), 0.25, atol=0.02)
    np.savez(tmp_path / "w.npz", blendshapes=np.float32([[1, 0]]), blendshape_names=np.array(["jawOpen", "mouthClose"]))
    run(tmp_path / "w.npz", tmp_path / "z.npz", from_arkit)
    run(tmp_path / "z.npz", tmp_path / "v.npz", to_arkit)
    with np.load(tmp_path / "v.npz") as back:
        assert back["blendshape_names"].tolist() == BLENDSHAPES
        np.testing.assert_allclose(back["blendshapes"][0, BLENDSHAPES.index("jawOpen")], 1, atol=0.02)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ([0.5], "blendshapes are no weights by name"),
        ({}, "it names no blendshape of ARKit"),
        ({"jawOpen": 0.5, "smirk": 1}, "'smirk' is no blendshape of ARKit"),
        ({"jawOpen": None}, "its codes are no list of numbers"),
        ({"jawOpen": -0.5}, "weights are -0.5 to -0.5; 0 to 1 is expected"),
        (None, "it has no blendshapes"),
    ],
)
def test_bad_weights(from_arkit, tmp_path, weights, sentence) -> None:
    source = lines(tmp_path / "a.jsonl", [{"blendshapes": weights}, {"blendshapes": {"jawOpen": 1.0005}}])
    summary, sentences = run(source, tmp_path / "b.jsonl", from_arkit)
    assert (summary.rows, sentences) == (1, [f"a.jsonl, row 0: {sentence}."])


def test_parquet(mapping, to_arkit, codes, tmp_path, face) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    from expnet_tf import facerows

    def row(code: np.ndarray) -> dict:
        names = "face image_width image_height crop_x crop_y crop_side focal_px pose center_px".split()
        weights = dict.fromkeys(map(str, face.blendshape_names), 0.0)
        return face_row(code, file="a.jpg", blendshapes=weights, **dict.fromkeys(names))

    columns = ["expression", "identity", "blendshapes"]
    (tmp_path / "a.parquet").write_bytes(facerows.parquet([row(codes[0]), row(codes[1, :2]), row(codes[2])], face))
    summary, sentences = run(tmp_path / "a.parquet", tmp_path / "b.parquet", mapping)
    assert (summary.rows, sentences) == (2, ["a.parquet, row 1: it has 2 codes; 6 are expected."])
    before, after = (parquet.read_table(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    assert after.schema.names == [*before.schema.names, "residual_mm", "motion_mm"]
    assert [after.schema.field(name).type for name in columns] == [before.schema.field(name).type for name in columns]
    assert after["identity"].to_pylist() == [None, None]
    near(after["expression"].to_pylist(), mapping.solve(codes[[0, 2]]).codes)
    (tmp_path / "c.parquet").write_bytes(facerows.parquet([row(np.zeros(29) + 0.1)], face))
    run(tmp_path / "c.parquet", tmp_path / "d.parquet", to_arkit)
    (weights,) = parquet.read_table(tmp_path / "d.parquet")["blendshapes"].to_pylist()
    near(list(weights.values()), to_arkit.solve(np.full((1, 29), 0.1)).codes[0])
    (tmp_path / "e.parquet").write_bytes(b"PAR1")
    with pytest.raises(RetargetError, match=r"is no readable Parquet file"):
        run(tmp_path / "e.parquet", tmp_path / "f.parquet", mapping)


def test_parquet_without_pyarrow(mapping, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(RetargetError, match=r"needs pyarrow \(pip install 'expnet_tf\[parquet\]'\)"):
        run(tmp_path / "a.parquet", tmp_path / "b.parquet", mapping)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"frame,x\n1,2\n", "has no columns expression_0"),
        ("a.csv", b"", "has no columns expression_0"),
        ("a.csv", b"expression_0,expression_2\n1,2\n", "have gaps, or come twice"),
        ("a.csv", b"jawOpen,JawOpen\n1,2\n", "a blendshape has two columns"),
        ("a.csv", b"\xff\xfe", "is no readable CSV file in UTF-8"),
        ("a.csv", b"expression_0\n", "has no rows"),
        ("a.npz", b"PK", "not a readable .npz file"),
        ("a.json", b"[]", "is no JSON of a photo"),
        ("a.jsonl", b"", "has no rows"),
        ("a.txt", b"", "ends with '.txt'; accepted: .json, .jsonl, .parquet, .csv, .npz"),
    ],
)
def test_files_that_are_something_else(mapping, tmp_path, name, content, sentence) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RetargetError) as caught:
        run(tmp_path / name, tmp_path / f"out{Path(name).suffix}", mapping)
    assert sentence in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"codes": np.zeros((2, 6))}, "has neither an array expression nor"),
        ({"expression": np.zeros(6)}, "expression is float64 [6]; numbers [m, d] are expected"),
        ({"expression": np.array([["a"]])}, "expression is <U1 [1, 1]; numbers"),
        ({"expression": np.array([[None]])}, "not a readable .npz file"),
        ({"blendshapes": np.zeros((2, 3))}, "blendshapes need blendshape_names, text [3]"),
        ({"expression": np.zeros((3, 6)), "blendshapes": np.zeros((2, 1)), "blendshape_names": np.array(["jawOpen"])},
         "different numbers of rows"),
    ],
)  # fmt: skip
def test_archives_that_are_something_else(mapping, tmp_path, arrays, sentence) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(RetargetError) as caught:
        run(tmp_path / "a.npz", tmp_path / "b.npz", mapping)
    assert sentence in str(caught.value)


def test_places_that_cannot_be(mapping, codes, tmp_path) -> None:
    source = photo(tmp_path / "in" / "a.json", [face_row(codes[0])]).parent
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "file").write_text("")
    for given, out, sentence in (
        (tmp_path / "none", tmp_path / "out", "none does not exist"),
        (source, source, "lie in each other"),
        (source, source / "out", "lie in each other"),
        (source / "a.json", source / "a.json", "lie in each other"),
        (source, tmp_path, "lie in each other"),
        (source, tmp_path / "run", "holds a run of expnet predict"),
        (source, tmp_path / "file", "is a file"),
        (source / "a.json", tmp_path / "b.csv", "must be a file that ends with .json"),
        (source / "a.json", tmp_path / "run", "must be a file that ends with .json"),
        (tmp_path / "run", tmp_path / "file2", "is no JSON of a photo"),
    ):
        if sentence == "is no JSON of a photo":
            assert run(given, out, mapping)[1] == [f"{given}/run.json is no JSON of a photo (expnet.predict/1)."]
            continue
        with pytest.raises(RetargetError) as caught:
            run(given, out, mapping)
        assert sentence in str(caught.value)


def test_a_full_disk_leaves_no_half_file(mapping, codes, tmp_path, monkeypatch) -> None:
    source = lines(tmp_path / "a.jsonl", [face_row(codes[0])])
    (tmp_path / "b.jsonl").write_text("before")

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left"):
        run(source, tmp_path / "b.jsonl", mapping)
    assert (tmp_path / "b.jsonl").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]
