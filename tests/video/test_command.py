"""`expnet predict VIDEO`: arguments, exit codes, one sentence for what cannot be."""

from pathlib import Path

import films
import numpy as np
import pytest

from expnet_tf.cli import main
from expnet_tf.predictor import Predictor


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predictor: Predictor) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("expnet_tf.predictor.load", lambda *arguments: predictor)  # loaded already


def run(*arguments: str) -> int:
    return main(["predict", *arguments, "--out", "out"])


def test_a_video(capsys: pytest.CaptureFixture) -> None:
    films.write(Path("film.mp4"), [films.photo(dx=i) for i in range(12)])
    assert run("film.mp4", "--smooth") == 0
    printed = capsys.readouterr()
    assert printed.out == (
        "12 frames, 1 person, 12 faces; faces.csv, overlay.mp4, faces.glb and video.json are in out.\n"
    )
    assert "overlay: 100%" in printed.err
    assert "frame/s" in printed.err
    assert sorted(path.name for path in Path("out").glob("*.*")) == [
        "faces.csv", "faces.glb", "overlay.mp4", "run.json", "video.json",
    ]  # fmt: skip
    assert run("film.mp4", "--video-format", "webm") == 0
    assert Path("out/overlay.webm").stat().st_size > 1000
    capsys.readouterr()
    assert run("film.mp4", "--video-format", "webm") == 0
    assert capsys.readouterr().err == ""  # all is done: no bar


def test_damaged_frames_give_exit_code_1(capsys: pytest.CaptureFixture) -> None:
    film = films.write(Path("film.mp4"), [films.photo(dx=i) for i in range(12)])
    films.damaged(Path("bad.mp4"), film, (4,))
    assert run("bad.mp4", "--video-format", "csv") == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("11 frames, 1 person, 11 faces, 1 frame missing; faces.csv and video.json")
    assert "bad.mp4: frame 4 is missing: could not be decoded." in printed.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.mp4"], "nowhere.mp4 does not exist; a video that FFmpeg reads"),
        (["text.mp4"], "text.mp4 holds no video that can be decoded"),
        (["--camera", "97"], "camera 97 is not there, in use, or gives no picture"),
        (["--camera", "0", "film.mp4"], "--camera is read, or film.mp4; one of them is expected"),
        (["a.mp4", "b.jpg"], "a.mp4 is a video; one video at a time is expected"),
        (["a.jpg", "--smooth"], "--smooth needs a video, or --camera"),
        (["a.mp4", "--seconds", "3"], "--seconds needs --camera"),
        (["a.mp4", "--format", "json"], "--format is for photos"),
        (["a.mp4", "--video-format", "gif"], "unknown format 'gif'; accepted: csv, parquet, mp4, webm, glb"),
        (["a.mp4", "--video-format", "mp4,webm"], "mp4 and webm are the same film"),
        (["--camera", "front"], "'front' is no number of a camera"),
    ],
)
def test_usage(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture) -> None:
    Path("text.mp4").write_text("hello, world, this is no film")
    assert run(*arguments) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_folder_of_another_video(capsys: pytest.CaptureFixture) -> None:
    films.write(Path("a.mp4"), [films.empty((120, 160))] * 3)
    films.write(Path("b.mp4"), [np.zeros((120, 160, 3), np.uint8)] * 4)
    assert run("a.mp4", "--video-format", "csv") == 0
    assert run("b.mp4", "--video-format", "csv") == 2
    assert "out holds a run with another source: it was a.mp4, now it is b.mp4" in capsys.readouterr().err


class Network:
    """In a runtime's place: the shipped network itself."""

    predictor: Predictor

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.run = Network.predictor.run


@pytest.fixture
def exported(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as `expnet export` leaves it, but for the file's own content."""
    from expnet_tf.export import manifest
    from expnet_tf.video import artifact

    monkeypatch.setitem(artifact.RUNNERS, ".tflite", Network)
    monkeypatch.setattr(Network, "predictor", predictor, raising=False)
    folder = Path("exported")
    folder.mkdir()
    for name in ("model.tflite", "reference.keras", "parity_inputs.npz"):
        (folder / name).write_bytes(name.encode())
    info = predictor.info
    manifest.write_json(folder / "manifest.json", {
        "schema": manifest.SCHEMA,
        "model": {"name": info.name, "version": info.version, "backbone": info.backbone},
        "input": {"shape": [None, info.size, info.size, 3], "crop_factor": info.crop_factor},
        "outputs": {head: {} for head in info.heads},
        "reference": {
            "model": manifest.entry(folder, "reference.keras"),
            "inputs": manifest.entry(folder, "parity_inputs.npz"),
        },
        "artifacts": {"tflite": manifest.entry(folder, "model.tflite", precision="float32", verified="pass")},
    })  # fmt: skip
    return folder / "model.tflite"


def test_an_exported_network(exported: Path, predictor: Predictor) -> None:
    films.write(Path("film.mp4"), [films.photo(dx=i) for i in range(4)])
    assert run("film.mp4", "--video-format", "csv") == 0
    assert main(["predict", "film.mp4", "--model", str(exported), "--video-format", "csv", "--out", "other"]) == 0
    assert Path("other/faces.csv").read_bytes() == Path("out/faces.csv").read_bytes()


def test_a_network_that_is_not_as_exported(exported: Path, capsys: pytest.CaptureFixture) -> None:
    films.write(Path("film.mp4"), [films.empty((120, 160))] * 2)
    for content, sentence in ((b"longer than before", "the manifest says 12"), (b"model.tflitE", "its sha256 is not")):
        exported.write_bytes(content)
        assert run("film.mp4", "--model", str(exported)) == 2
        assert sentence in capsys.readouterr().err
    exported.with_name("manifest.json").unlink()
    assert run("film.mp4", "--model", str(exported)) == 2
    assert "model.tflite needs the manifest that was exported with it" in capsys.readouterr().err
    assert run("film.mp4", "--model", "nowhere.onnx") == 2
    assert "nowhere.onnx does not exist; `expnet export` writes such files" in capsys.readouterr().err
