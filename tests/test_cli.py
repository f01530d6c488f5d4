"""The `expnet` command: exit codes, what is said where, and that it calls the right part of the package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import expnet_tf
from expnet_tf import batch
from expnet_tf.cli import main
from expnet_tf.commands import COMMANDS
from expnet_tf.commands.predict import FACE_FORMATS
from expnet_tf.export import choose
from expnet_tf.models import ASSETS, sha256
from expnet_tf.network import ExpNet, ModelInfo, save_model

ASTRONAUT = ASSETS / "astronaut.jpg"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    keras.utils.set_random_seed(5)
    info = ModelInfo("toy", "1.0", "compact", 32, 1.25, ("expression", "identity", "pose"), "random", "Apache-2.0")
    path = tmp_path_factory.mktemp("toy") / "toy.keras"
    save_model(ExpNet("compact", size=32), path, info)
    return str(path)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def files(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"expnet {expnet_tf.__version__}\n"


def test_every_command_has_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    overview = capfd.readouterr().out
    for command in COMMANDS:
        assert f"\n    {command}" in overview
        assert main([command, "--help"]) == 0
        assert len(capfd.readouterr().out) > 150


def test_formats_are_those_of_the_job() -> None:
    assert FACE_FORMATS == batch.FORMATS


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "required: COMMAND"),
        ("predct a.jpg", "invalid choice: 'predct'"),
        ("predict a.jpg", "required: --out"),
        ("predict --out o", "required: PHOTO|DIR|GLOB"),
        ("predict a.jpg --out o --format json,bmp", "unknown format 'bmp'; accepted: all, json, obj, ply, glb, png"),
        ("predict a.jpg --out o --format ,", "no format"),
        ("predict a.jpg --out o --box 1,2,3", "'1,2,3' is not four numbers X,Y,W,H in px"),
        ("predict a.jpg --out o --box 1,2,3,x", "is not four numbers"),
        ("predict a.jpg --out o --box 1,2,0,4", "W and H above 0"),
        ("predict a.jpg --out o --box 1,nan,3,4", "finite numbers are expected"),
        ("predict a.jpg --out o --model gone.keras", "gone.keras does not exist; a .keras file or a shipped model"),
        ("predict a.jpg --out o --model resnet101", "`expnet train --backbone resnet101 "),
        ("predict a.jpg --out o --model file.txt", "file.txt: not a .keras file"),
        ("predict a.jpg --out file.txt", "--out file.txt is a file; a folder is expected"),
        ("predict a.jpg --out file.txt/o", "--out file.txt/o lies below the file file.txt"),
        ("predict . --out .", "is searched for photos"),
        ("synth --out o --identities 0 --per-identity 1", "'0' is not a whole number of at least 1"),
        ("synth --out o --identities 1 --per-identity 1 --size 9", "64 to 512 px"),
        ("export compact --out o --format tflight", "Unknown format tflight; accepted: all, savedmodel"),
        ("export gone.keras --out o", "gone.keras does not exist"),
        ("verify o", "no manifest.json there"),
    ],
)
def test_usage_errors(line: str, sentence: str, capfd: pytest.CaptureFixture[str]) -> None:
    Path("file.txt").write_text("x")
    assert main(line.split()) == 2
    out, err = capfd.readouterr()
    assert sentence in err
    assert "Traceback" not in err
    assert out == ""
    assert files(".") == ["file.txt"]


def test_predict(weights: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(ASTRONAUT), "--out", "out/new", "--model", weights, "--format", "all"]) == 0
    assert capfd.readouterr() == ("1 photo done, 1 face; results are in out/new.\n", "")
    assert files("out/new") == sorted(f"astronaut.jpg.{form}" for form in FACE_FORMATS)
    found = json.loads(Path("out/new/astronaut.jpg.json").read_text())
    (face,) = expnet_tf.load(weights).predict(expnet_tf.read_image(ASTRONAUT))
    np.testing.assert_array_equal(np.float32(found["faces"][0]["expression"]), face.expression)
    assert tuple(found["faces"][0]["box"]) == face.box


def test_predict_goes_on_after_bad_photos(weights: str, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a/1.jpg", "b/1.jpg"):
        Path(name).parent.mkdir()
        shutil.copy(ASTRONAUT, name)
    Path("a/bad.jpg").write_bytes(b"")
    line = ["predict", "a", "b/*.jpg", "gone.jpg", "--out", "out", "--model", weights, "--format", "json"]
    assert main([*line, "--box", "183,55,88,119"]) == 1
    out, err = capfd.readouterr()
    assert out == "2 photos done, 2 faces, 2 failed; results are in out.\n"
    assert "a/bad.jpg is empty (0 bytes)" in err
    assert "gone.jpg does not exist" in err
    assert "4/4" in err  # the progress bar
    assert files("out") == ["a/1.jpg.json", "b/1.jpg.json"]
    assert json.loads(Path("out/a/1.jpg.json").read_text())["faces"][0]["box"] == [183, 55, 88, 119]


def test_predict_says_how_far_it_came(
    weights: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    def interrupted(*_: object, summary: batch.Summary, **__: object) -> None:
        summary.photos, summary.faces = 3, 4
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "predict_files", interrupted)
    assert main(["predict", str(ASTRONAUT), "--out", "out", "--model", weights]) == 130
    out, err = capfd.readouterr()
    assert out == "3 photos done, 4 faces before the interruption; every file in out is whole.\n"
    assert err == "expnet predict: interrupted.\n"


@pytest.mark.slow
def test_a_process_of_its_own_is_quiet(weights: str) -> None:
    code = "import sys; from expnet_tf.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", code, "predict", "gone.jpg", "--out", "o", "--model", weights]
    quiet = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, env=quiet)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "gone.jpg does not exist; a JPEG, PNG, WebP, BMP, TIFF or GIF file is expected."
    ]
    assert done.stdout == "0 photos done, 0 faces, 1 failed.\n"


def test_synth(capfd: pytest.CaptureFixture[str]) -> None:
    line = "synth --out s --identities 2 --per-identity 1 --size 64 --seed 3 --workers 1".split()
    assert main(line) == 0
    assert "2 images rendered, 2 in s; have a look at s/contact.png." in capfd.readouterr().out
    assert {"0000001/001.jpg", "0000002/001.jpg", "contact.png", "labels.json"} < set(files("s"))


@pytest.mark.slow
def test_export_then_verify(weights: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["export", weights, "--out", "e", "--format", "tflite"]) == 0
    out = capfd.readouterr().out
    assert "2 of 2 pass" in out
    certificate = {"parity.json", "parity.md", "parity.png"}
    made = {"model.tflite", "manifest.json", "reference.keras", "parity_inputs.npz"}
    assert made | certificate == set(files("e"))
    content = bytearray(Path("e/model.tflite").read_bytes())
    content[len(content) // 2] ^= 0xFF
    Path("e/model.tflite").write_bytes(content)
    assert main(["verify", "e"]) == 1
    assert "1 of 2 pass" in capfd.readouterr().out


def test_models(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    heads, *rows = capfd.readouterr().out.splitlines()
    assert heads.split("  ")[0] == "name"
    (row,) = [row.split() for row in rows if row.startswith("compact ")]
    assert row[2] == "96"
    assert int(row[3].replace(",", "")) <= 1_500_000
    assert row[-2:] == ["Apache-2.0", sha256(ASSETS / "compact.keras")]


@pytest.mark.slow
def test_demo(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    out = capfd.readouterr().out
    judged = sum(len(exporter.runners) for exporter in choose("all")) + 1
    assert f"{judged} of {judged} pass" in out
    assert "Its strongest blendshapes" in out
    picture = out.splitlines()[-1].split("Look at ")[1]
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    assert "FAILED" not in out
