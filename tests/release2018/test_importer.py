"""`expnet import-2018` on checkpoints of the true names and shapes, against a TF1 graph of the release's networks."""

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from expnet_tf import cli
from expnet_tf.network import load_model, mean_image, read_info

v1 = tf.compat.v1
RNG = np.random.default_rng(2018)
FILES = {
    "expression": ("Expression_Model", "ini_exprNet_model.ckpt", "exprCNN"),
    "shape": ("Shape_Model", "ini_ShapeTextureNet_model.ckpt", "shapeCNN"),
    "pose": ("fpn_new_model", "model_0_1.0_1.0_1e-07_1_16000.ckpt", "Spatial_Transformer"),
}
MEAN = RNG.uniform(80, 150, (3, 224, 224)).astype(np.float32)  # BGR
VECTOR = np.array([0.36, 0.41, 0.51])  # BGR, 0..1
LABELS = {
    "mean_labels": np.array([0.05, -0.1, 0.02, 2.0, -4.0, -2600.0]),
    "std_labels": np.array([0.2, 0.4, 0.1, 9, 9, 90]),
}
COARSE = RNG.integers(0, 256, (2, 9, 9, 3), np.uint8)  # all white noise looks the same to a network
IMAGES = {
    side: np.stack([cv2.resize(c, (side, side), interpolation=cv2.INTER_CUBIC) for c in COARSE]) for side in (224, 227)
}

Get = Callable[[str], tf.Tensor]


def resnet101(x: tf.Tensor, get: Get, scope: str) -> tf.Tensor:
    def convolved(x: tf.Tensor, name: str, bn: str, stride: int) -> tf.Tensor:
        x = tf.nn.conv2d(x, get(f"{scope}/{name}/weights"), stride, "SAME")
        mean, variance, offset, scale = (
            get(f"{scope}/{bn}/{part}") for part in ("mean", "variance", "offset", "scale")
        )
        return tf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-5)

    x = tf.nn.max_pool2d(tf.nn.relu(convolved(x, "conv1", "bn_conv1", 2)), 3, 2, "SAME")
    long = "a " + " ".join(f"b{number}" for number in range(1, 23))
    for stage, blocks in (("2", "a b c"), ("3", "a b1 b2 b3"), ("4", long), ("5", "a b c")):
        for block in blocks.split():
            name, first = stage + block, block == "a"
            stride = 2 if first and stage != "2" else 1
            shortcut = convolved(x, f"res{name}_branch1", f"bn{name}_branch1", stride) if first else x
            x = tf.nn.relu(convolved(x, f"res{name}_branch2a", f"bn{name}_branch2a", stride))
            x = tf.nn.relu(convolved(x, f"res{name}_branch2b", f"bn{name}_branch2b", 1))
            x = tf.nn.relu(shortcut + convolved(x, f"res{name}_branch2c", f"bn{name}_branch2c", 1))
    features = tf.reshape(tf.nn.avg_pool2d(x, 7, 1, "VALID"), [-1, 2048])
    return tf.matmul(features, get(f"{scope}/{scope}_fc1/weights")) + get(f"{scope}/{scope}_fc1/biases")


def face_pose_net(x: tf.Tensor, get: Get) -> tf.Tensor:
    def weights(name: str) -> tuple[tf.Tensor, tf.Tensor]:
        return get(f"Spatial_Transformer/ST2/{name}/W"), get(f"Spatial_Transformer/ST2/{name}/baises")

    def convolved(x: tf.Tensor, name: str, stride: int = 1, groups: int = 1) -> tf.Tensor:
        kernel, bias = weights(name)
        pairs = zip(tf.split(x, groups, 3), tf.split(kernel, groups, 3), strict=True)
        return tf.nn.relu(tf.concat([tf.nn.conv2d(part, own, stride, "SAME") for part, own in pairs], 3) + bias)

    def pooled(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.max_pool2d(x, 3, 2, "VALID")

    def normalised(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.local_response_normalization(x, depth_radius=2, bias=1.0, alpha=2e-5, beta=0.75)

    x = normalised(pooled(convolved(x, "conv1", 4)))
    x = normalised(pooled(convolved(x, "conv2", groups=2)))
    x = convolved(convolved(x, "conv3"), "conv4", groups=2)
    x = tf.reshape(pooled(convolved(x, "conv5", groups=2)), [-1, 9216])
    for name in ("fc6", "fc7"):
        x = tf.nn.relu(tf.matmul(x, weights(name)[0]) + weights(name)[1])
    theta = tf.matmul(x, weights("fc8")[0]) + weights("fc8")[1]
    return theta * LABELS["std_labels"].astype(np.float32) + LABELS["mean_labels"].astype(np.float32)


def numbers(name: str, shape: list[int]) -> np.ndarray:
    """Well conditioned: a deep random network turns float32 rounding into large errors where branches are not small."""
    if name.endswith("variance"):
        return RNG.uniform(0.5, 1.5, shape) * (2 * 64.0**2 if "bn_conv1" in name else 1)
    if name.endswith("scale"):
        return RNG.uniform(0.8, 1.2, shape) * (0.2 if "branch2c" in name else 1)
    if len(shape) == 1:
        return RNG.normal(0, 0.05, shape)
    gain = 0.1 if "_fc1" in name else 1.0 if "fc8" in name else 2.0
    # The pose network's pixels lie in -0.5..0.5: brighter here, or the normalisation would do nothing.
    brighter = 100.0 if name.endswith("ST2/conv1/W") else 0.1 if "ST2/conv3" in name else 1.0
    return RNG.standard_normal(shape, np.float32) * np.float32(brighter * np.sqrt(gain / np.prod(shape[:-1])))


def released(network: str, variables: dict[str, list[int]], prefix: Path) -> np.ndarray:
    """Save a checkpoint as the release did, and answer to IMAGES as its program would."""
    with tf.Graph().as_default(), v1.Session() as session:
        made, feed = {}, {}
        for name, shape in variables.items():
            start = v1.placeholder(tf.float32, shape)
            made[name] = v1.Variable(start, name=name, use_resource=False)
            feed[start] = numbers(name, shape)
        session.run([variable.initializer for variable in made.values()], feed)
        v1.train.Saver(list(made.values())).save(session, str(prefix), write_meta_graph=False)
        bgr = IMAGES[227 if network == "pose" else 224][..., ::-1].astype(np.float32)
        if network == "pose":
            return session.run(face_pose_net(tf.constant(bgr / 255 - VECTOR.astype(np.float32)), made.__getitem__))
        seen = tf.constant(bgr - MEAN.transpose(1, 2, 0))
        return session.run(resnet101(seen, made.__getitem__, FILES[network][2]))


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, variables: dict) -> tuple[Path, dict[str, np.ndarray]]:
    """The release's folder, and {network: what its program answers}."""
    root = tmp_path_factory.mktemp("release")
    answers = {}
    for network, (folder, file, scope) in FILES.items():
        (root / folder).mkdir()
        answers[network] = released(network, variables[scope], root / folder / file)
    np.save(root / "Shape_Model/3DMM_shape_mean.npy", MEAN)
    np.save(root / "Expression_Model/3DMM_expr_mean.npy", MEAN[::-1] + 9)
    np.savez(root / "fpn_new_model/perturb_Oxford_train_imgs_mean.npz", train_mean_vec=VECTOR)
    np.savez(root / "fpn_new_model/perturb_Oxford_train_labels_mean_std.npz", **LABELS)
    return root, answers


def command(root: Path, out: Path, *networks: str) -> list[str]:
    given = [part for name in networks for part in (f"--{name}", str(root / FILES[name][0]))]
    return ["import-2018", *given, "--out", str(out)]


@pytest.fixture(scope="module")
def imported(release: tuple, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "networks"
    assert cli.main(command(release[0], out, *FILES)) == 0
    return out


@pytest.mark.slow
@pytest.mark.parametrize("network", FILES)
def test_networks_answer_as_the_release(release: tuple, imported: Path, network: str) -> None:
    expected = release[1][network]
    assert sorted(path.name for path in imported.iterdir()) == ["expression.keras", "pose.keras", "shape.keras"]
    path = imported / f"{network}.keras"
    info = read_info(path)
    assert (info.pixels, info.crop_factor, info.licence) == ("release2018", 1.5, "NOASSERTION")
    assert FILES[network][1] in info.training
    model = load_model(path)
    outputs = model(IMAGES[info.size], training=False)
    if network == "pose":
        np.testing.assert_allclose(mean_image(model)[100, 100], 255 * VECTOR[::-1], rtol=1e-6)
        assert expected[:, 5].std() < 300  # mm
        ours = np.stack(
            [sign * column for sign, column in zip((1, -1, -1, -1, 1, 896 / 2880), expected.T, strict=True)], 1
        )
        spread = LABELS["std_labels"]  # of the poses, in which the network counts
        np.testing.assert_allclose(outputs["pose"] / spread, ours / spread, atol=1e-4)
        return
    np.testing.assert_allclose(mean_image(model), MEAN.transpose(1, 2, 0)[..., ::-1], rtol=1e-6)
    got = np.concatenate([outputs[head] for head in info.heads], axis=1)
    assert 0.1 < expected.std() < 10
    assert np.abs(expected[0] - expected[1]).max() > 0.05  # it looks at the image
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.slow
def test_a_checkpoint_of_the_other_network(release: tuple, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, _ = release
    wrong = ["import-2018", "--expression", str(root / "Shape_Model"), "--out", str(tmp_path / "out")]
    assert cli.main(wrong) == 2
    err = capsys.readouterr().err
    assert "not this network's 522 variables by name and shape: 522 missing: exprCNN/conv1/weights" in err
    assert "522 left over: shapeCNN/bn2a_branch1/mean" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_damaged_data_of_the_second_network(release: tuple, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Found only when the values are read: the first network is not written either."""
    root, _ = release
    folder, file, _ = FILES["pose"]
    for part in (root / folder).iterdir():
        data = part.read_bytes()
        (tmp_path / part.name).write_bytes(data[: len(data) // 2] if ".data" in part.name else data)
    asked = [*command(root, tmp_path / "out", "expression", "shape"), "--pose", str(tmp_path)]
    assert cli.main(asked) == 2
    assert f"{file}: Spatial_Transformer/ST2/" in (err := capsys.readouterr().err)
    assert "cannot be read" in err
    assert not (tmp_path / "out").exists()


def test_files_that_are_missing_or_hostile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for network, (folder, file, _) in FILES.items():
        (tmp_path / folder).mkdir()
        with tf.Graph().as_default(), v1.Session() as session:
            variable = v1.Variable(1.0, name=network, use_resource=False)
            session.run(variable.initializer)
            v1.train.Saver([variable]).save(session, str(tmp_path / folder / file), write_meta_graph=False)
    np.save(tmp_path / "Expression_Model/3DMM_expr_mean.npy", MEAN)
    np.save(tmp_path / "small.npy", MEAN[:, :100, :100])
    (tmp_path / "hostile.npy").write_bytes(pickle.dumps(Payload(tmp_path / "left")))
    expression, pose = command(tmp_path, tmp_path / "out", "expression"), command(tmp_path, tmp_path / "out", "pose")
    labels = tmp_path / "labels.npz"
    np.savez(labels, mean_labels=np.array([Payload(tmp_path / "left")]), std_labels=np.ones(6))
    images = tmp_path / "images.npz"
    np.savez(images, train_mean_vec=255 * VECTOR)
    good = tmp_path / "good.npz"
    np.savez(good, train_mean_vec=VECTOR)
    for asked, said in (
        (command(tmp_path, tmp_path / "out"), "no network is named"),
        (expression, "3DMM_expr_mean.npy, which is there, the release loads and never uses"),
        ([*expression, "--mean-image", str(tmp_path / "small.npy")], "the shape [3, 100, 100]; [3, 224, 224]"),
        ([*expression, "--mean-image", str(tmp_path / "hostile.npy")], "hostile.npy: it holds pickled Python objects"),
        (pose, "perturb_Oxford_train_imgs_mean.npz is not in"),
        ([*pose, "--pose-images", str(images), "--pose-labels", str(labels)], "train_mean_vec reaches beyond 0..1"),
        ([*pose, "--pose-images", str(good), "--pose-labels", str(labels)], "labels.npz: it holds pickled"),
        (["import-2018", "--pose", str(tmp_path / "none"), "--out", str(tmp_path / "out")], "none does not exist"),
    ):
        assert cli.main(asked) == 2
        err = capsys.readouterr().err
        assert said in err
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "left").exists()
    assert not (tmp_path / "out").exists()


class Payload:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)
