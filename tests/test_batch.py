"""Many photos, good and bad: each gives its whole files or one sentence, and none holds up the others."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import trimesh
from PIL import Image

from expnet_tf import batch, facejson
from expnet_tf.batch import FORMATS, Job, Summary, predict_files
from expnet_tf.image import read_image
from expnet_tf.inputs import Inputs, Photo
from expnet_tf.models import ASSETS
from expnet_tf.morphable import open_face
from expnet_tf.network import ExpNet, ModelInfo, save_model
from expnet_tf.predictor import Predictor, load

ASTRONAUT = ASSETS / "astronaut.jpg"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    keras.utils.set_random_seed(5)
    info = ModelInfo("toy", "1.0", "compact", 32, 1.25, ("expression", "identity", "pose"), "random", "Apache-2.0")
    path = tmp_path_factory.mktemp("toy") / "toy.keras"
    save_model(ExpNet("compact", size=32), path, info)
    return load(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    return Path("photos")


def run(predictor: Predictor, *arguments: str | Path, **options: object) -> tuple[Summary, list[str]]:
    out = Path("out")
    inputs = Inputs([str(argument) for argument in arguments], out)
    sentences: list[str] = []
    options = {"formats": ("json",), **options}
    job = Job(out, protected=frozenset(inputs.files), **options)  # type: ignore[arg-type]
    return predict_files(predictor, inputs, job, sentences.append), sentences


def written() -> list[str]:
    return sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.is_file())


def record(name: str) -> dict:
    return json.loads((Path("out") / f"{name}.json").read_text())


def two_faces() -> np.ndarray:
    """The astronaut beside herself at half the size, the small one to the left."""
    image = read_image(ASTRONAUT)
    small = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)
    canvas = np.full((512, 768, 3), 128, np.uint8)
    canvas[100:356, :256], canvas[:, 256:] = small, image
    return canvas


def test_all_formats(predictor: Predictor, folder: Path) -> None:
    summary, sentences = run(predictor, ASTRONAUT, formats=FORMATS)
    assert (summary, sentences) == (Summary(photos=1, faces=1, failed=0), [])
    assert written() == sorted(f"astronaut.jpg.{form}" for form in FORMATS)
    (face,) = predictor.predict(read_image(ASTRONAUT))
    lines = [line.split() for line in Path("out/astronaut.jpg.obj").read_text().splitlines() if line.startswith("v ")]
    np.testing.assert_allclose(np.array(lines)[:, 1:4].astype(float), face.vertices(), atol=1e-5)
    for form, scale in (("ply", 1.0), ("glb", 1000.0)):
        mesh = trimesh.load(f"out/astronaut.jpg.{form}", process=False, force="mesh")
        np.testing.assert_allclose(np.asarray(mesh.vertices) * scale, face.vertices(), atol=2e-3)
    assert cv2.imread("out/astronaut.jpg.png").shape[2] == 3


def test_json_is_as_documented(predictor: Predictor, folder: Path) -> None:
    run(predictor, ASTRONAUT, formats=("json", "ply"))
    text = Path("out/astronaut.jpg.json").read_text()
    found = json.loads(text)
    assert set(found) == set("schema file image model face_model detector software timing_ms faces".split())
    assert found["schema"] == facejson.SCHEMA == "expnet.predict/1"
    assert (found["file"], found["image"]) == ("astronaut.jpg", {"width": 512, "height": 512})
    assert found["model"] == {"id": "toy-1.0", "size": 32, "crop_factor": 1.25}
    assert found["detector"] == "BlazeFace"
    assert set(found["timing_ms"]) == {"read", "detect", "network"}
    assert min(found["timing_ms"].values()) > 0
    (face,) = found["faces"]
    documented = "box score quality crop expression blendshapes identity pose files"
    assert set(face) == set(documented.split())
    assert [len(face[name]) for name in ("box", "expression", "blendshapes", "identity")] == [4, 29, 52, 99]
    assert set(face["pose"]) == {"rotation_vector", "translation_mm", "focal_px", "center_px"}
    assert face["files"] == {"ply": "astronaut.jpg.ply"}
    page = (Path(__file__).parents[1] / "docs" / "face-json.md").read_text()
    for name in [
        *found,
        *face,
        *(f"pose.{name}" for name in face["pose"]),
        *(f"timing_ms.{n}" for n in found["timing_ms"]),
    ]:
        assert f"`{name}`" in page or f"`{name}." in page, name
    # Readable: coefficients on one line.
    assert max(text.count("\n"), 0) < 120


def test_json_equals_the_python_api(predictor: Predictor, folder: Path) -> None:
    run(predictor, ASTRONAUT)
    (face,) = predictor.predict(read_image(ASTRONAUT))
    (found,) = record("astronaut.jpg")["faces"]
    assert tuple(found["box"]) == face.box
    assert found["score"] == face.score
    np.testing.assert_array_equal(np.float32(found["expression"]), face.expression)
    np.testing.assert_array_equal(np.float32(found["identity"]), face.identity)
    assert face.pose is not None
    pose = found["pose"]
    np.testing.assert_array_equal(np.float32(pose["rotation_vector"] + pose["translation_mm"]), face.pose)
    assert (pose["focal_px"], tuple(pose["center_px"])) == (face.focal, face.center)
    assert found["blendshapes"] == pytest.approx(face.blendshapes, abs=1e-6)
    assert list(found["blendshapes"]) == list(map(str, open_face().blendshape_names))


def test_given_box(predictor: Predictor, folder: Path) -> None:
    box = (180.5, 50.0, 90.0, 120.0)
    run(predictor, ASTRONAUT, box=box)
    found = record("astronaut.jpg")
    assert (found["detector"], found["timing_ms"]["detect"], found["faces"][0]["score"]) == (None, None, None)
    (face,) = predictor.predict(read_image(ASTRONAUT), box)
    assert tuple(found["faces"][0]["box"]) == box
    np.testing.assert_array_equal(np.float32(found["faces"][0]["expression"]), face.expression)


def test_names_never_collide(predictor: Predictor, folder: Path) -> None:
    data = ASTRONAUT.read_bytes()
    for name in ("a/1.jpg", "b/1.jpg"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(data)
    Image.fromarray(read_image(ASTRONAUT)[:400]).save(folder / "a/1.png")
    summary, _ = run(predictor, folder)
    assert summary.photos == 3
    assert written() == ["a/1.jpg.json", "a/1.png.json", "b/1.jpg.json"]
    assert [record(name)["image"]["height"] for name in ("a/1.jpg", "a/1.png", "b/1.jpg")] == [512, 400, 512]
    assert record("b/1.jpg")["file"] == "b/1.jpg"


def test_largest_face_or_all(predictor: Predictor, folder: Path) -> None:
    Image.fromarray(two_faces()).save(folder / "two.png")
    assert run(predictor, folder, formats=("json", "ply"))[0].faces == 1
    assert written() == ["two.png.json", "two.png.ply"]
    (largest,) = record("two.png")["faces"]
    summary, _ = run(predictor, folder, formats=("json", "ply"), all_faces=True)
    assert (summary.photos, summary.faces) == (1, 2)
    assert written() == ["two.png.0.ply", "two.png.1.ply", "two.png.json", "two.png.ply"]
    first, second = record("two.png")["faces"]
    assert first["box"] == largest["box"]
    assert first["box"][0] > 256 > second["box"][0]
    assert first["box"][3] > 1.5 * second["box"][3]
    assert [face["files"]["ply"] for face in (first, second)] == ["two.png.0.ply", "two.png.1.ply"]


def save_unusual(folder: Path) -> list[str]:
    """The astronaut as files of kinds that trip readers up."""
    image = Image.open(ASTRONAUT).convert("RGB")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("L").save(folder / "grey.png")
    image.convert("RGBA").save(folder / "alpha.png")
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(folder / "sixteen.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    # Stored lying on its side, in a frame that is not square; to be turned back by a quarter.
    image.crop((0, 0, 512, 400)).rotate(90, expand=True).save(folder / "exif.jpg", exif=exif, quality=95)
    image.convert("P").save(folder / "palette.gif")
    return ["alpha.png", "cmyk.jpg", "exif.jpg", "grey.png", "palette.gif", "sixteen.png"]


def test_unusual_photos(predictor: Predictor, folder: Path) -> None:
    names = save_unusual(folder)
    summary, sentences = run(predictor, folder)
    assert (summary.photos, sentences) == (len(names), [])
    (face,) = predictor.predict(read_image(ASTRONAUT))
    for name in names:
        np.testing.assert_allclose(record(name)["faces"][0]["box"], face.box, atol=8, err_msg=name)
    assert record("exif.jpg")["image"] == {"width": 512, "height": 400}


def save_bad(folder: Path) -> dict[str, str]:
    """Files that give no face, with a part of the sentence that each must get."""
    data = ASTRONAUT.read_bytes()
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not an image")
    (folder / "half.jpg").write_bytes(data[: len(data) // 2])
    (folder / "magic.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (300, 200), (90, 120, 160)).save(folder / "wall.png")
    Image.new("RGB", (40_000, 2)).save(folder / "line.png")
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    (folder / "folder.jpg").mkdir()
    return {
        "empty.jpg": "is empty (0 bytes)",
        "text.jpg": "is not a JPEG, PNG",
        "half.jpg": "truncated or damaged",
        "magic.png": "is not a JPEG, PNG",
        "dot.png": "no face was found",
        "wall.png": "no face was found",
        "line.png": "no face was found",
        "huge.png": "400,000,000 px; at most 50,000,000",
    }


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_photos_get_one_sentence_each_and_the_others_go_on(predictor: Predictor, folder: Path) -> None:
    expected = save_bad(folder)
    (folder / "a.jpg").write_bytes(ASTRONAUT.read_bytes())
    (folder / "z.jpg").write_bytes(ASTRONAUT.read_bytes())
    summary, sentences = run(predictor, folder, "missing/photo.jpg", "x*.jpg", formats=FORMATS)
    expected |= {"missing/photo.jpg": "does not exist", "x*.jpg": "matches no file"}
    assert (summary.photos, summary.faces, summary.failed) == (2, 2, len(expected))
    assert len(sentences) == len(expected)
    for name, part in expected.items():
        (sentence,) = [text for text in sentences if name in text]
        assert part in sentence
        assert "\n" not in sentence
        assert sentence.count(name) == 1
    assert written() == sorted(f"photos/{name}.jpg.{form}" for name in "az" for form in FORMATS)


def test_box_outside_a_photo(predictor: Predictor, folder: Path) -> None:
    (folder / "a.jpg").write_bytes(ASTRONAUT.read_bytes())
    Image.new("RGB", (100, 50)).save(folder / "small.png")
    summary, sentences = run(predictor, folder, box=(180.0, 55.0, 90.0, 120.0))
    assert summary == Summary(photos=1, faces=1, failed=1)
    (sentence,) = sentences
    assert sentence.startswith(f"{folder / 'small.png'}: the box (180, 55, 90, 120) lies outside the 100x50 px photo")


def test_photos_are_never_written_over(predictor: Predictor, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ASTRONAUT.read_bytes()
    Path("out").mkdir()
    for name in ("a.jpg", "a.jpg.png"):
        (Path("out") / name).write_bytes(data)
    summary, sentences = run(predictor, "out/a.jpg", "out/a.jpg.png", formats=("png",))
    assert (Path("out") / "a.jpg.png").read_bytes() == data
    assert summary == Summary(photos=1, faces=1, failed=1)
    assert "a.jpg.png is one of the photos" in sentences[0]
    assert written() == ["a.jpg", "a.jpg.png", "a.jpg.png.png"]


def test_results_that_cannot_be_written(predictor: Predictor, folder: Path) -> None:
    for name in "ab":
        (folder / f"{name}.jpg").write_bytes(ASTRONAUT.read_bytes())
    Path("out/a.jpg.json").mkdir(parents=True)  # a folder where the file should go
    summary, sentences = run(predictor, folder)
    assert summary == Summary(photos=1, faces=1, failed=1)
    assert "photos/a.jpg: its results cannot be written (Is a directory)" in sentences[0]
    assert written() == ["b.jpg.json"]


def test_memory_is_bounded(predictor: Predictor, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MAX_HELD", 512 * 512)  # one photo

    def photos() -> Iterator[Photo]:
        for number in range(4):
            yield Photo(str(ASTRONAUT), f"{number}.jpg")
            # A photo is asked for only when no more than two are waiting.
            assert len(written()) >= number - 1

    job = Job(Path("out"), ("png",), box=(180.0, 55.0, 90.0, 120.0))
    assert predict_files(predictor, photos(), job, print).photos == 4


def test_interruption_leaves_whole_files(predictor: Predictor, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(facejson, "photo_record", interrupt)
    summary = Summary()
    with pytest.raises(KeyboardInterrupt):
        predict_files(predictor, Inputs([str(ASTRONAUT)], "out"), Job(Path("out")), print, summary=summary)
    assert summary == Summary()
    assert written() == ["astronaut.jpg.obj", "astronaut.jpg.png"]


def test_strings_survive_the_json_layout() -> None:
    record = {"file": "a [1,   2].jpg", "list": [1, 2.5, -3e-7], "empty": [], "odd": "\udcff"}
    assert json.loads(facejson.dumps(record)) == record
    assert "[1, 2.5, -3e-07]" in facejson.dumps(record)
    with pytest.raises(ValueError, match="JSON compliant"):
        facejson.dumps({"x": float("nan")})
