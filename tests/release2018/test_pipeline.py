"""The whole program on its own input.csv, against its steps written out once more in numpy and OpenCV."""

import json
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from expnet_tf import cli, facemodels
from expnet_tf.backbones import Backbone
from expnet_tf.image import read_image
from expnet_tf.network import ModelInfo, save_model, with_heads
from expnet_tf.predictor import load
from expnet_tf.release2018 import ReleaseError, pixels
from expnet_tf.release2018.pipeline import Pipeline
from expnet_tf.release2018.ply import PlyWriter, lines
from expnet_tf.release2018.pose import DEPTH

RNG = np.random.default_rng(5)
SIZES = {"expression": 224, "shape": 224, "pose": 227}
HEADS = {"expression": ("expression",), "shape": ("identity", "texture"), "pose": ("pose",)}
BOXES = {"a": (60.0, 40.0, 90.5, 110.0), "b": (-10.0, -20.0, 100.0, 80.25), "c": (101.5, 33.0, 70.0, 70.0)}


def coarse(x: keras.KerasTensor) -> keras.KerasTensor:
    """A trunk that costs nothing, and still sees where a pixel is."""
    return layers.Flatten(name="features")(layers.AveragePooling2D(56, name="average")(x))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the right inputs and outputs, files as `expnet import-2018` writes them."""
    folder = tmp_path_factory.mktemp("networks")
    for name, heads in HEADS.items():
        keras.utils.set_random_seed(len(name))
        scale = 255.0 if name == "pose" else 100.0
        mean = RNG.uniform(80, 150, (SIZES[name],) * 2 + (3,))
        model = with_heads(Backbone(coarse, SIZES[name], scale), name, heads, mean_image=mean)
        info = ModelInfo(
            f"release2018-{name}", "1.0", "toy", SIZES[name], 1.5, heads, "none", "NOASSERTION", "release2018"
        )
        save_model(model, folder / f"{name}.keras", info)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the release's own: input.csv and the images that it names."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "images").mkdir()
    lines = ["ID,FILE,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT"]
    for name, box in BOXES.items():
        noise = RNG.integers(0, 256, (12, 15, 3), np.uint8)
        cv2.imwrite(str(folder / f"images/{name}.jpg"), cv2.resize(noise, (200, 180), interpolation=cv2.INTER_CUBIC))
        lines.append(f"{name},images/{name}.jpg,{','.join(map(str, box))}")
    (folder / "input.csv").write_text("\n".join(lines) + "\n")
    return folder


def arguments(
    photos: Path, networks: Path, face_model: Path, out: Path, *more: str, table: str = "input.csv"
) -> list[str]:
    return [
        "predict", "--pipeline", "release2018", "--input", str(photos / table), "--networks", str(networks),
        "--face-model", str(face_model), "--out", str(out), *more,
    ]  # fmt: skip


def released(photo: Path, box: tuple, networks: Path, basel: dict) -> tuple[np.ndarray, np.ndarray]:
    """The mesh [n, 3] and its colours, one image at a time, BGR and BFM arrays as they are in the files."""
    bgr = cv2.imread(str(photo))
    x, y, w, h = box
    side, centre = max(w, h), (x + w / 2, y + h / 2)
    low = [np.ceil(np.float32(c - side / 2) - np.float32(side) * np.float32(0.25)) for c in centre]
    high = [np.ceil(np.float32(c - side / 2) + np.float32(side) * np.float32(1.25)) for c in centre]
    (left, top), length = map(int, low), int(max(b - a for a, b in zip(low, high, strict=True)))
    room = 200
    padded = np.pad(bgr, ((room, room), (room, room), (0, 0)))
    cut = padded[top + room : top + room + length, left + room : left + room + length]
    crop = cv2.resize(cut, (227, 227), interpolation=cv2.INTER_CUBIC)
    crop = cv2.imdecode(cv2.imencode(".jpg", crop)[1], cv2.IMREAD_COLOR)
    small = tf.raw_ops.ResizeBilinear(images=crop[None].astype(np.float32), size=[224, 224])[0].numpy()
    code = {}
    for name, values in (("expression", small), ("shape", small), ("pose", crop.astype(np.float32))):
        model = keras.models.load_model(networks / f"{name}.keras")
        mean = model.get_layer("mean_image")  # (x - mean) / scale of RGB
        seen = values[..., ::-1] @ mean.get_weights()[0] + mean.get_weights()[1]
        cells = seen[: 4 * 56, : 4 * 56].reshape(4, 56, 4, 56, 3).mean((1, 3)).ravel()
        for head in HEADS[name]:
            layer = model.get_layer("pose_standardised" if head == "pose" else head)
            code[head] = cells @ layer.get_weights()[0] + layer.get_weights()[1]
    from expnet_tf.network import POSE_MEAN, POSE_STD

    ours = code["pose"] * POSE_STD + POSE_MEAN
    r, t = ours[:3], ours[3:] / [1, 1, DEPTH]  # the three signs are turned in ours already
    shape = basel["shapeMU"][:, 0] + basel["shapePC"] @ (basel["shapeEV"][:, 0] * code["identity"])
    shape = shape + basel["expMU"][:, 0] + basel["expPC"] @ (basel["expEV"][:, 0] * code["expression"])
    color = basel["texMU"][:, 0] + basel["texPC"] @ (basel["texEV"][:, 0] * code["texture"])
    return (cv2.Rodrigues(r)[0] @ shape.reshape(-1, 3).T).T + t, color.clip(0, 255).reshape(-1, 3)


def parsed(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    head, _, body = path.read_text().partition("end_header\n")
    lines = [line.split() for line in body.splitlines()]
    corners = [line for line in lines if line[0] == "3" and len(line) == 4 and "." not in line[1]]
    return head.splitlines(), np.array(lines[: len(lines) - len(corners)], float), np.array(corners, int)


def test_meshes_are_the_releases(
    photos: Path, networks: Path, basel: dict, basel_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments(photos, networks, basel_file, tmp_path, "--batch-size", "2")) == 0
    assert "3 faces done; meshes are in" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}_Shape_Expr_Pose.ply" for name in BOXES]
    for name, box in BOXES.items():
        head, vertices, corners = parsed(tmp_path / f"{name}_Shape_Expr_Pose.ply")
        assert head[:3] == ["ply", "format ascii 1.0", "element vertex 40"]
        assert head[-2:] == ["element face 60", "property list uchar int vertex_indices"]
        expected, _ = released(photos / f"images/{name}.jpg", box, networks, basel)
        assert np.abs(expected[:, :2]).max() < 1000
        np.testing.assert_allclose(vertices, expected, atol=3e-4)  # mm; four digits are written
        assert {frozenset(row) for row in corners[:, 1:]} == {frozenset(row) for row in basel["faces"].astype(int) - 1}


def test_batches_of_any_size_and_colours(
    photos: Path, networks: Path, basel: dict, basel_file: Path, tmp_path: Path
) -> None:
    for size in ("1", "16"):
        out = tmp_path / size
        assert cli.main(arguments(photos, networks, basel_file, out, "--batch-size", size, "--colors")) == 0
    for name, box in BOXES.items():
        file = f"{name}_Shape_Expr_Pose.ply"
        (_, one, _), (head, many, _) = parsed(tmp_path / "1" / file), parsed(tmp_path / "16" / file)
        np.testing.assert_allclose(one[:, :3], many[:, :3], atol=3e-4)
        assert head[6:9] == ["property uchar red", "property uchar green", "property uchar blue"]
        _, colors = released(photos / f"images/{name}.jpg", box, networks, basel)
        assert np.abs(many[:, 3:] - colors).max() <= 1.01  # cut off, not rounded


def test_a_bad_row_is_listed_and_the_others_go_on(
    photos: Path, networks: Path, basel_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = photos / "bad.csv"
    good = (photos / "input.csv").read_text()
    (photos / "images/broken.jpg").write_bytes((photos / "images/a.jpg").read_bytes()[:500])
    bad = ["d,images/none.jpg,1,2,30,40", "../e,images/a.jpg,1,2,30,40", "f,images/a.jpg,1000,2,30,40",
           "g,images/broken.jpg,1,2,30,40", "h,images/a.jpg,1,2,x,40"]  # fmt: skip
    table.write_text(good + "\n".join(bad) + "\n")
    assert cli.main(arguments(photos, networks, basel_file, tmp_path, "--no-jpeg", table="bad.csv")) == 1
    out, err = capsys.readouterr()
    assert "3 faces done, 5 failed; meshes are in" in out
    for said in (
        "none.jpg does not exist",
        "'../e' is no file name",
        "a.jpg: the box (1000, 2, 30, 40) lies outside",
        "broken.jpg is a truncated or damaged image",
        "row 9: the box 1, 2, x, 40 is not four numbers",
    ):
        assert said in err
    assert len(list(tmp_path.iterdir())) == 3


def test_usage(
    photos: Path, networks: Path, basel_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = arguments(photos, networks, basel_file, tmp_path / "out")
    png = tmp_path / "model.mat"
    png.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    for command, said in (
        (["predict", "--out", "x"], "no photo is named"),
        (["predict", "--out", "x", "--pipeline", "release2018"], "needs --input, --networks, --face-model."),
        (["predict", "a.jpg", "--out", "x", "--networks", "n"], "--networks needs --pipeline release2018."),
        ([*whole, "a.jpg"], "PHOTO does not go with --pipeline"),
        ([*whole, "--all-faces"], "--all-faces does not go with --pipeline"),
        ([*whole, "--camera", "0"], "--camera does not go with --pipeline"),
        ([*whole, "--smooth"], "--smooth does not go with --pipeline"),
        (arguments(photos, photos, basel_file, tmp_path / "out"), "expression.keras: no such model file"),
        (arguments(photos, networks, png, tmp_path / "out"), "model.mat"),
        (arguments(photos, networks, basel_file, tmp_path / "out", table="none.csv"), "none.csv cannot be read"),
    ):
        assert cli.main(command) == 2
        err = capsys.readouterr().err
        assert said in err
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_one_network_by_itself_is_shown_its_own_pixels(photos: Path, networks: Path, tmp_path: Path) -> None:
    predictor = load(networks / "expression.keras")
    photo = read_image(photos / "images/a.jpg")
    expected = pixels.crop(photo, BOXES["a"], 224)
    np.testing.assert_array_equal(predictor.crops(photo, [BOXES["a"]]), expected[None])
    (face,) = predictor.predict(photo, BOXES["a"])
    assert face.square == pixels.crop_square(BOXES["a"])
    np.testing.assert_allclose(face.expression, predictor.model(expected[None])["expression"][0], atol=1e-5)
    box = ",".join(map(str, BOXES["a"]))
    whole = ["predict", str(photos / "images/a.jpg"), "--model", str(networks / "expression.keras"), "--box", box]
    assert cli.main([*whole, "--format", "json", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "a.jpg.json").read_text())
    np.testing.assert_allclose(record["faces"][0]["expression"], face.expression, atol=1e-5)
    assert tuple(record["faces"][0]["crop"].values()) == face.square


def test_networks_of_another_kind(networks: Path, basel_file: Path, tmp_path: Path) -> None:
    for name in HEADS:
        (tmp_path / f"{name}.keras").write_bytes((networks / "pose.keras").read_bytes())
    face_model = facemodels.load(basel_file)
    with pytest.raises(
        ReleaseError, match=r"expression\.keras: release2018-pose-1\.0 has the heads pose .* are expected"
    ):
        Pipeline.load(tmp_path, face_model)


def test_ply_is_written_as_the_release_writes_it() -> None:
    vertices = np.array([[1.23456, -0.00001, 2000.0], [0.5, -1e-9, 3.99995]])
    colors = np.array([[255, 0, 127.9], [1.2, 3, 4]])
    head = ("ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n",
            "element face 1\nproperty list uchar int vertex_indices\nend_header\n")  # fmt: skip
    rows = "".join("%0.4f %0.4f %0.4f\n" % tuple(row) for row in vertices)  # noqa: UP031
    triangles = np.array([[0, 1, 0]])
    assert PlyWriter(triangles, 2).encode(vertices).decode() == f"{head[0]}{head[1]}{rows}3 0 1 0\n"
    colored = PlyWriter(triangles, 2, colors=True).encode(vertices, colors).decode()
    assert colored.splitlines()[-3] == "1.2346 -0.0000 2000.0000 255 0 127"


def test_numbers_are_formatted_as_python_does() -> None:
    ties = np.arange(-20_000, 20_000) / 1e4 + 0.00005  # near a half, some above it in binary, some below
    exact = np.arange(-500, 500) / 2**5 + 2.0**-13
    near = [0.0, -0.0, 1e-9, -1e-9, 0.99995, 9.99995, 99.99995, 999.99995, 9998.99995, -9998.99996, 1000, -10, 100.1]
    others = RNG.uniform(-1, 1, 30_000) * 10.0 ** RNG.integers(-5, 4, 30_000)
    values = np.concatenate([ties, exact, near, others])
    values = values[: len(values) // 3 * 3].reshape(-1, 3)
    for table in (values, values.astype(np.float32), np.array([[12345.6, -1, 2.5]])):
        expected = "".join("%0.4f %0.4f %0.4f\n" % tuple(row) for row in table.tolist())  # noqa: UP031
        assert lines(table).decode() == expected
