"""`expnet retarget` on what `expnet predict` really writes: exit codes, what is said, what is written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.cli import main
from expnet_tf.data.expressions import BLENDSHAPES
from expnet_tf.facemodels import save
from expnet_tf.models import ASSETS
from expnet_tf.morphable import MorphableModel


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """faces/ of two photos, table/ of the same as shards."""
    folder = tmp_path_factory.mktemp("predicted")
    (folder / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / "photos" / name).write_bytes((ASSETS / "astronaut.jpg").read_bytes())
    line = ["predict", str(folder / "photos"), "--out"]
    assert main([*line, str(folder / "faces"), "--format", "json"]) == 0
    assert main([*line, str(folder / "table"), "--shards", "jsonl", "--workers", "1"]) == 0
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, face: MorphableModel) -> Path:
    """The open face model as another: bigger, its expressions in another order and sign, its vertices turned round."""
    order = np.arange(face.n_vertices)[::-1]
    model = replace(
        face,
        mean=(1.1 * face.mean)[order],
        identity_basis=face.identity_basis[:2, order],
        identity_variance=face.identity_variance[:2],
        identity_mirror=face.identity_mirror[:2],
        identity_explained=face.identity_explained[:2],
        expression_basis=(-1.1 * face.expression_basis)[::-1, order],
        triangles=(face.n_vertices - 1 - face.triangles).astype(np.int32),
        landmark_ids=(face.n_vertices - 1 - face.landmark_ids).astype(np.int32),
        blendshape_names=np.empty(0, str),
        expression_to_blendshapes=np.empty((0, 0)),
        blendshapes_to_expression=np.empty((0, 0)),
        provenance={"name": "other", "version": 1},
    )
    path = tmp_path_factory.mktemp("model") / "other.npz"
    save(model, path)
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def retarget(*words: object) -> int:
    return main(["retarget", *map(str, words)])


def faces(path: Path) -> list[dict]:
    return json.loads(path.read_text())["faces"]


def test_photos_to_another_model_and_back(predicted, other, here, capsys) -> None:
    assert retarget(predicted / "faces", "--to", other, "--out", "there") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("open_face-1 to other-1 through 68 points (landmarks); scale 1.1, neutral faces 0.00 mm")
    assert said[1] == "2 rows done; see there."
    assert said[2].startswith("Residual 0.0")
    (before,), (there,) = faces(predicted / "faces" / "a.jpg.json"), faces(here / "there" / "a.jpg.json")
    np.testing.assert_allclose(there["expression"], -np.array(before["expression"])[::-1], atol=0.01)
    assert there["residual_mm"] < 0.01 < 1 < there["motion_mm"]
    assert (there["identity"], there["pose"], there["blendshapes"]) == (None, before["pose"], before["blendshapes"])
    assert retarget("there", "--from", other, "--to", "open", "--out", "back") == 0
    (back,) = faces(here / "back" / "a.jpg.json")
    np.testing.assert_allclose(back["expression"], before["expression"], atol=0.02)
    assert json.loads((here / "back" / "a.jpg.json").read_text())["face_model"] == "open_face-1"


def test_a_table_to_arkit(predicted, face, here, capsys) -> None:
    assert retarget(predicted / "table", "--to", "arkit", "--out", "out", "--map", "map.npz") == 0
    assert "The map without bounds is in map.npz." in capsys.readouterr().out
    rows = [json.loads(text) for text in (here / "out" / "faces-00000-of-00001.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == ["a.jpg", "b.jpg"]
    for row in rows:
        weights = np.array([row["blendshapes"][name] for name in BLENDSHAPES])
        shown = (weights @ face.blendshapes_to_expression - row["expression"]) @ face.expression_basis.reshape(29, -1)
        seen = face.region("skin", "lips", "eyelids", "brows", "nose")
        apart = np.sqrt((shown.reshape(-1, 3)[seen] ** 2).sum(1).mean())
        np.testing.assert_allclose(apart, row["residual_mm"], atol=1e-4)
        assert row["blendshapes"]["mouthSmileLeft"] > 0.3  # she smiles
    assert retarget(here / "out", "--from", "arkit", "--to", "open", "--out", "back") == 0


def test_some_rows_fail(predicted, here, capsys) -> None:
    text = (predicted / "table" / "faces-00000-of-00001.jsonl").read_text()
    Path("a.jsonl").write_text(text + '{"expression": [1, 2]}\n')
    assert retarget("a.jsonl", "--to", "arkit", "--out", "b.jsonl") == 1
    out, err = capsys.readouterr()
    assert "2 rows done, 1 failed; see b.jsonl." in out
    assert err == "a.jsonl, row 2: it has 2 codes; 29 are expected.\n"
    assert len(Path("b.jsonl").read_text().splitlines()) == 2


def test_a_map_alone(here, capsys) -> None:
    assert retarget("--from", "arkit", "--to", "open", "--map", "map.npz") == 0
    with np.load("map.npz") as found:
        assert found["matrix"].shape == (52, 29)


def test_correspondence_and_ridge(other, here, capsys) -> None:
    Path("pairs.csv").write_text("source,target\n" + "".join(f"{at},{5292 - at}\n" for at in range(0, 5293, 5)))
    np.savez("z.npz", expression=np.eye(29))
    line = ("z.npz", "--to", other, "--correspondence", "pairs.csv", "--out", "out.npz")
    assert retarget(*line) == 0
    assert "through 1,059 points (pairs.csv)" in capsys.readouterr().out
    with np.load("out.npz") as found:
        np.testing.assert_allclose(found["expression"], -np.eye(29)[::-1], atol=0.01)
    assert retarget(*line, "--ridge", 30) == 0
    with np.load("out.npz") as found:
        assert np.abs(found["expression"]).max() < 0.2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--to arkit", "nothing to do: name IN and --out, or --map."),
        ("z.npz --to arkit", "IN and --out belong together; --out is missing."),
        ("--to arkit --out o.npz --map m.npz", "IN and --out belong together; IN is missing."),
        ("z.npz --to arkit --from arkit --out o.npz", "--from and --to are both arkit"),
        ("none.npz --to arkit --out o.npz", "none.npz does not exist."),
        ("z.npz --to arkit --out o.csv", "o.csv must be a file that ends with .npz"),
        ("z.npz --to arkit --out z.npz/o.npz", "is a file; a folder is expected"),
        ("z.npz --to none.npz --out o.npz", "none.npz: no such face model file"),
        ("z.npz --to z.npz --out o.npz", "z.npz: not a face model, it lacks"),
        ("z.npz --to bare.npz --out o.npz", "bare-1 has no 68 landmarks, and the two meshes differ"),
        ("z.npz --to bare.npz --correspondence none.csv --out o.npz", "none.csv: not a readable correspondence file"),
        ("z.npz --to arkit --out o.npz --ridge 0", "'0' is not a number of mm above 0"),
        ("z.npz --to arkit --out o.npz --ridge x", "'x' is not a number of mm above 0"),
        ("--to arkit --map m.txt", "--map m.txt must be a file that ends with .npz."),
        ("--to arkit --map none/m.npz", "its folder does not exist, or cannot be written to"),
        ("bad.npz --to arkit --out o.npz", "bad.npz has neither an array expression nor"),
    ],
)
def test_not_understood(face, here, capsys, words, sentence) -> None:
    np.savez("z.npz", expression=np.eye(29))
    np.savez("bad.npz", codes=np.eye(29))
    if "bare" in words:
        save(replace(face, landmark_ids=np.empty(0, np.int32), triangles=face.triangles[1:],
                     uv_triangles=face.uv_triangles[1:], provenance={"name": "bare", "version": 1}),
             Path("bare.npz"))  # fmt: skip
    assert retarget(*words.split()) == 2
    assert sentence in capsys.readouterr().err
    assert {path.name for path in here.iterdir()} <= {"z.npz", "bad.npz", "bare.npz"}


def test_all_rows_fail(here, capsys) -> None:
    np.savez("z.npz", expression=np.full((2, 29), np.nan))
    assert retarget("z.npz", "--to", "arkit", "--out", "o.npz") == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "0 rows done, 2 failed."
    assert len(err.splitlines()) == 2
    assert not Path("o.npz").exists()


def test_results_that_cannot_be_written(here, capsys, monkeypatch) -> None:
    np.savez("z.npz", expression=np.eye(29))
    Path("o.npz").write_text("before")

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert retarget("z.npz", "--to", "arkit", "--out", "o.npz") == 1
    assert capsys.readouterr().err == "expnet retarget: o.npz cannot be written (No space left on device).\n"
    assert retarget("z.npz", "--to", "arkit", "--out", "o.npz", "--map", "m.npz") == 1
    assert capsys.readouterr().err == "expnet retarget: m.npz cannot be written (No space left on device).\n"
    assert Path("o.npz").read_text() == "before"
