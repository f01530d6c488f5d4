"""`expnet evaluate` on the command line: what is written, exit codes, and one sentence for what cannot be."""

import argparse
import json
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from expnet_tf.commands import evaluate
from expnet_tf.commands.common import FAILED, FINE, UsageError
from expnet_tf.data.synth import synthesize
from expnet_tf.evaluate import runtime
from expnet_tf.network import ExpNet, ModelInfo, save_model


def expnet(*words: object) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add(parser.add_subparsers(dest="command"))
    return evaluate.run(parser.parse_args(["evaluate", *map(str, words)]))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve people, angry or happy, with boxes; no detector finds a face in them."""
    folder = tmp_path / "photos"
    lines = ["path,subject,box_x,box_y,box_w,box_h"]
    random = np.random.default_rng(3)
    for number in range(12):
        label = ("anger", "happiness")[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        noise = random.integers(0, 90, (6, 8, 3)).astype(np.uint8) + np.uint8(80 * (number % 2))
        cv2.imwrite(str(folder / label / f"{number}.png"), cv2.resize(noise, (64, 48)))
        lines.append(f"{label}/{number}.png,person {number},10,6,40,36")
    (folder / "boxes.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def codes(photos: Path, tmp_path: Path) -> Path:
    """Another program's codes of these photos, which tell the classes apart."""
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.glob("*/*.png"))
    values = np.array([[len(path.split("/")[0]), number / 9] for number, path in enumerate(paths)], float)
    np.savez(tmp_path / "theirs.npz", path=np.array(paths), codes=values, space=np.array("theirs"))
    return tmp_path / "theirs.npz"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights."""
    keras.utils.set_random_seed(5)
    path = tmp_path_factory.mktemp("toy") / "toy.keras"
    heads = ("expression", "identity", "pose")
    save_model(ExpNet("compact", size=32), path, ModelInfo("toy", "1.0", "compact", 32, 1.25, heads, "random", "none"))
    return path


@pytest.fixture
def no_stopwatch(monkeypatch: pytest.MonkeyPatch) -> None:
    """runtime.measure starts processes; tests/evaluate/test_runtime.py has it."""
    row = dict.fromkeys(("method", "runtime", "threads", *runtime.STAGES, "total"), 1)
    times = {"machine": runtime.machine(), "photos": 1, "rows": [row], "paper": runtime.PAPER}
    monkeypatch.setattr(runtime, "measure", lambda *words: times)


def test_codes_of_a_file_need_no_network(photos, codes, tmp_path, capsys):
    out = tmp_path / "out"
    assert expnet("emotion", photos, "--out", out, "--codes", codes, "--scales", "1,0.5") == FINE
    said = capsys.readouterr().out
    assert "Accuracy, %, leave one subject out" in said
    assert "| theirs | 100.0 [100.0, 100.0] |" in said
    record = json.loads((out / "report.json").read_bytes())
    assert [method["name"] for method in record["methods"]] == ["theirs"]
    assert record["schema"] == "expnet.evaluate.emotion/1"
    assert not (out / "runtime.json").exists()


@pytest.mark.slow
def test_a_network_beside_a_file(photos, codes, toy, tmp_path, capsys, no_stopwatch):
    (photos / "anger" / "0.png").write_bytes(b"\x89PNG")
    out = tmp_path / "out"
    words = ("emotion", photos, "--out", out, "--model", toy, "--model", toy.parent / "." / "toy.keras")
    assert expnet(*words, "--codes", codes, "--scales", "1,0.5") == FAILED
    captured = capsys.readouterr()
    assert "anger/0.png" in captured.err
    record = json.loads((out / "report.json").read_bytes())
    assert [method["name"] for method in record["methods"]] == ["toy-1.0", "theirs"]
    given = [row for row in record["results"] if row["method"] == "toy-1.0"]
    assert {row["setting"] for row in given} == {"box given"}  # end to end there is no face anywhere
    assert all(row["clips abstained"] == 1 for row in given)
    assert all(row["group"].startswith("turned by") for row in record["groups"])
    assert {"examples.png", "conditions.png"} <= {picture["file"] for picture in record["pictures"]}
    assert json.loads((out / "runtime.json").read_bytes())["photos"] == 1
    assert "# Seconds an image" in (out / "runtime.md").read_text()


@pytest.mark.slow
def test_synthetic(toy, tmp_path, capsys):
    faces = tmp_path / "faces"
    synthesize(faces, 3, 2, size=64, seed=5, workers=1)
    assert expnet("synthetic", faces, "--out", tmp_path / "out", "--model", toy) == FINE
    assert "6 images; the report is" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert record["schema"] == "expnet.evaluate.synthetic/1"
    assert record["methods"][0]["name"] == "toy-1.0"
    assert (tmp_path / "out" / "report.md").is_file()
    for name in record["pictures"]:
        assert (tmp_path / "out" / name).is_file()


def test_what_cannot_be(photos, codes, tmp_path):
    out = ("--out", tmp_path / "out")
    with pytest.raises(UsageError, match="nowhere does not exist"):
        expnet("emotion", tmp_path / "nowhere", *out)
    with pytest.raises(UsageError, match="lies within"):
        expnet("emotion", photos, "--out", photos / "report")
    with pytest.raises(UsageError, match="no baseline 'clnf'; accepted: dlib, dlib-prior"):
        expnet("emotion", photos, *out, "--baselines", "clnf")
    with pytest.raises(UsageError, match="no model 'huge'"):
        expnet("emotion", photos, *out, "--model", "huge")
    with pytest.raises(UsageError, match=r"no\.npz: no such file of codes"):
        expnet("emotion", photos, *out, "--codes", tmp_path / "no.npz")
    with pytest.raises(UsageError, match=r"theirs has no codes of this data at the scales 0\.5"):
        expnet("emotion", photos, *out, "--codes", codes, "--scales", "0.5")
    (photos / "anger" / "0.png").unlink()
    with pytest.raises(UsageError, match=r"too few clips of anger \(5\)"):
        expnet("emotion", photos, *out, "--codes", codes)
    with pytest.raises(UsageError, match=r"labels"):
        expnet("synthetic", photos, *out)


@pytest.mark.parametrize("scales", ["", "2", "0", "1,x", "-0.5"])
def test_scales(photos, tmp_path, scales, capsys):
    with pytest.raises(SystemExit) as caught:
        expnet("emotion", photos, "--out", tmp_path / "out", f"--scales={scales}")
    assert caught.value.code == 2
    assert "numbers above 0 and up to 1" in capsys.readouterr().err
