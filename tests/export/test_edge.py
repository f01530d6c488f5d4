"""The C example of docs/edge: built with the system's compiler, it answers what LiteRT answers in Python."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import expnet_tf
from expnet_tf.export import EXPORTERS
from expnet_tf.export.bundle import ExportResult
from expnet_tf.export.runners import LiteRTRunner
from expnet_tf.morphable import open_face

EDGE = Path(__file__).resolve().parents[2] / "docs" / "edge"
BLAZEFACE = Path(expnet_tf.__file__).parent / "assets" / "blazeface_full_range.tflite"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """docs/edge built as its Makefile does; skips where that cannot be done."""
    for tool in ("make", "cc"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool} on this machine")
    found = find_spec("ai_edge_litert")
    places = [Path(place) for place in (found.submodule_search_locations if found else None) or []]
    if not any(any(place.glob("libLiteRt.*")) for place in places):
        pytest.skip("the installed ai-edge-litert has no libLiteRt")
    if (installed := tuple(map(int, version("ai-edge-litert").split(".")[:2]))) < (2, 2):
        pytest.skip(f"docs/edge/litert.h declares LiteRT 2.2 and newer; installed is {installed}")
    build = tmp_path_factory.mktemp("edge")
    done = subprocess.run(
        ["make", "-C", str(EDGE), f"BUILD={build}", f"PYTHON={sys.executable}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return build / "predict"


@pytest.fixture(scope="module")
def golden(exported: ExportResult, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The lines of golden.jsonl, their files with the full path."""
    out = tmp_path_factory.mktemp("golden")
    subprocess.run([sys.executable, str(EDGE / "golden.py"), str(exported.directory), str(out)], check=True)
    lines = [json.loads(line) for line in (out / "golden.jsonl").read_text().splitlines()]
    return [{**line, "file": str(out / line["file"])} for line in lines]


def run(program: Path, *arguments: str | Path) -> tuple[int, list[dict], list[str]]:
    """Exit code, the JSON lines, and the program's own sentences among what LiteRT says."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    sentences = [line for line in done.stderr.splitlines() if line.startswith(("predict: ", "usage: "))]
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], sentences


@pytest.mark.parametrize("name", [name for name in EXPORTERS if name.startswith("tflite")])
def test_answers_as_litert_in_python(
    program: Path, exported: ExportResult, images: np.ndarray, golden: list[dict], name: str
) -> None:
    """Every precision takes the same pixels; the same runtime gives the same numbers."""
    code, answers, sentences = run(program, exported.written[name], *(line["file"] for line in golden))
    assert (code, sentences, len(answers)) == (0, [], len(images))
    runner = LiteRTRunner(exported.written[name])
    for image, answer in zip(images, answers, strict=True):
        expected = runner.run(image[None])
        assert set(answer) == {"file", "blendshapes", *expected}
        for head, (values,) in expected.items():
            np.testing.assert_allclose(answer[head], values, rtol=1e-5, atol=1e-5)


def test_reproduces_the_golden_answers(program: Path, exported: ExportResult, golden: list[dict]) -> None:
    """The float32 file against the Keras network in float64, and the blendshapes against the face model."""
    _, answers, _ = run(program, exported.written["tflite"], *(line["file"] for line in golden))
    for answer, expected in zip(answers, golden, strict=True):
        assert answer["file"] == expected["file"]
        for head in ("expression", "identity", "pose"):
            np.testing.assert_allclose(answer[head], expected[head], rtol=1e-5, atol=1e-4)
        weights = open_face().blendshapes(answer["expression"])
        assert list(answer["blendshapes"]) == list(expected["blendshapes"])
        np.testing.assert_allclose(list(answer["blendshapes"].values()), weights, atol=1e-6)
    assert any(0 < weight < 1 for answer in answers for weight in answer["blendshapes"].values())


def test_a_bad_crop_costs_only_itself(
    program: Path, exported: ExportResult, images: np.ndarray, tmp_path: Path
) -> None:
    pixels = images[0].tobytes()
    files = {
        "good.ppm": b"P6 # a comment\n32\t32\n#\n255\n" + pixels,
        "short.ppm": b"P6\n32 32\n255\n" + pixels[:-1],
        "size.ppm": b"P6\n64 32\n255\n" + pixels * 2,
        "grey.ppm": b"P5\n32 32\n255\n" + pixels,
        "deep.ppm": b"P6\n32 32\n65535\n" + pixels * 2,
        "huge.ppm": b"P6\n99999999999999999999 32\n255\n",
        "negative.ppm": b"P6\n-32 32\n255\n" + pixels,
        "header.ppm": b"P6 # without an end",
        "empty.ppm": b"",
        "again.ppm": b"P6\n32 32\n255\n" + pixels,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in [*files, "missing.ppm"]]
    code, answers, sentences = run(program, exported.written["tflite"], *paths)
    assert code == 1
    assert [Path(answer["file"]).name for answer in answers] == ["good.ppm", "again.ppm"]
    assert answers[0]["expression"] == answers[1]["expression"]
    no_ppm = "is not a binary PPM (P6) with 8 bits a channel."
    assert [sentence.removeprefix(f"predict: {tmp_path}/") for sentence in sentences] == [
        "short.ppm: ends before its last pixel.",
        "size.ppm: is 64x32 px; the model takes crops of 32x32 px.",
        *(f"{name}.ppm: {no_ppm}" for name in ("grey", "deep", "huge", "negative", "header", "empty")),
        "missing.ppm: cannot be read: No such file or directory.",
    ]


def test_says_what_is_wrong_with_a_model(program: Path, golden: list[dict], tmp_path: Path) -> None:
    crop = golden[0]["file"]
    for path, reason in {
        tmp_path / "missing.tflite": "cannot be read: No such file or directory.",
        Path(crop): "is not a TFLite model, or a damaged one.",
        BLAZEFACE: "its input is called input; image is expected.",
    }.items():
        assert run(program, path, crop) == (1, [], [f"predict: {path}: {reason}"])


def test_usage(program: Path) -> None:
    assert run(program, "model.tflite") == (2, [], ["usage: predict MODEL.tflite CROP.ppm..."])
