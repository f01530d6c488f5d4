"""The parts of the trunks, against TensorFlow's own operations, and in the runtimes of the exports."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from expnet_tf.backbones import Backbone
from expnet_tf.export import ExportError, certificate, choose, manifest
from expnet_tf.export.bundle import export_model
from expnet_tf.network import ModelInfo, load_model, save_model, with_heads
from expnet_tf.release2018.networks import caffe_resnet, grouped, local_response_normalization
from expnet_tf.serving import artifacts

RNG = np.random.default_rng(0)


def test_normalisation_is_tensorflows() -> None:
    x = RNG.normal(0, 100, (2, 5, 5, 16)).astype(np.float32)
    image = keras.Input((5, 5, 16))
    model = keras.Model(image, local_response_normalization(image, "norm"))
    expected = tf.nn.local_response_normalization(x, depth_radius=2, bias=1.0, alpha=2e-5, beta=0.75)
    assert np.abs(expected - x).max() > 10  # it does something
    np.testing.assert_allclose(model(x), expected, rtol=2e-6)
    assert not model.trainable_weights


def test_groups_are_halves_of_the_channels() -> None:
    x = RNG.normal(0, 1, (2, 6, 6, 8)).astype(np.float32)
    kernel, bias = RNG.normal(0, 1, (5, 5, 4, 12)).astype(np.float32), RNG.normal(0, 1, 12).astype(np.float32)
    image = keras.Input((6, 6, 8))
    model = keras.Model(image, grouped(image, 12, 5, "conv"))
    for number, layer in enumerate(("conv_1", "conv_2")):
        half = slice(6 * number, 6 * number + 6)
        model.get_layer(layer).set_weights([kernel[..., half], bias[half]])
    pairs = zip(tf.split(x, 2, 3), tf.split(kernel, 2, 3), strict=True)
    expected = tf.nn.relu(tf.concat([tf.nn.conv2d(a, b, 1, "SAME") for a, b in pairs], 3) + bias)
    np.testing.assert_allclose(model(x), expected, atol=1e-5)


def test_padding_is_tf1s_same_and_the_stride_is_in_the_first_convolution() -> None:
    """conv1 and pool1, then a block of stage 3: against tf.nn with padding SAME, at an even side."""
    x = RNG.uniform(-100, 100, (1, 48, 48, 3)).astype(np.float32)
    image = keras.Input((48, 48, 3))
    model = keras.Model(image, caffe_resnet(image, (1, 1)))
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([RNG.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    value = {layer.name: layer.get_weights() for layer in model.layers}

    def convolved(x: tf.Tensor, name: str, bn: str, stride: int) -> tf.Tensor:
        scale, offset, mean, variance = value[bn]
        x = tf.nn.conv2d(x, value[name][0], stride, "SAME")
        return tf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-5)

    def block(x: tf.Tensor, name: str, stride: int) -> tf.Tensor:
        shortcut = convolved(x, f"res{name}_branch1", f"bn{name}_branch1", stride)
        for part, step in (("a", stride), ("b", 1), ("c", 1)):
            branch = convolved(x, f"res{name}_branch2{part}", f"bn{name}_branch2{part}", step)
            x = tf.nn.relu(branch)
        return tf.nn.relu(shortcut + branch)

    expected = tf.nn.relu(convolved(tf.constant(x), "conv1", "bn_conv1", 2))
    expected = block(block(tf.nn.max_pool2d(expected, 3, 2, "SAME"), "2a", 1), "3a", 2)
    expected = tf.reduce_mean(expected, [1, 2])
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-3 * float(tf.reduce_max(expected)))
    assert float(tf.math.reduce_std(expected)) > 2


def trunk(x: keras.KerasTensor) -> keras.KerasTensor:
    """Everything that the two networks are made of, small."""
    x = layers.ZeroPadding2D(((2, 3), (2, 3)))(x)
    x = layers.Conv2D(16, 7, 2, use_bias=False, name="conv1")(x)
    x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5)(x))
    x = layers.MaxPooling2D(3, 2, "valid")(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
    x = grouped(local_response_normalization(x, "norm1"), 16, 3, "conv2")
    x = layers.Conv2D(24, x.shape[1], activation="relu", name="fc6")(x)
    return layers.Dense(24, activation="relu", name="features")(layers.GlobalAveragePooling2D()(x))


INFO = ModelInfo(
    "release2018-shape", "1.0", "toy", 32, 1.5, ("identity", "texture"), "none", "NOASSERTION", "release2018"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(0)
    model = with_heads(Backbone(trunk, 32, 1.0), "toy", INFO.heads)
    made = tmp_path_factory.mktemp("toy") / "shape.keras"
    save_model(model, made, INFO)
    return made


def test_vanilla_keras_opens_the_file(path: Path) -> None:
    image = RNG.integers(0, 256, (2, 32, 32, 3), np.uint8)
    plain, ours = keras.models.load_model(path, safe_mode=True), load_model(path)
    for head in INFO.heads:
        np.testing.assert_array_equal(plain(image)[head], ours(image)[head])


@pytest.mark.slow
def test_exports_with_their_certificate(path: Path, tmp_path: Path) -> None:
    """Texture is judged like any head; what would cut other pixels is left out, or refused by name."""
    images = RNG.integers(0, 256, (4, 32, 32, 3), np.uint8)
    said: list[str] = []
    formats = ["savedmodel", "onnx", "tflite", "onnx-fp16"]
    result = export_model(path, tmp_path, [*formats, "savedmodel-bytes"], images=images, progress=said.append)
    assert list(result.failures) == ["savedmodel-bytes"]
    assert "takes the pixels release2018, which this graph cannot cut" in result.failures["savedmodel-bytes"]
    report = certificate.certify(tmp_path)
    assert report.passed
    assert {row.artifact for row in report.results} == {"reference", *formats}
    assert all(set(row.other_heads) == {"identity", "texture"} and row.passed for row in report.results)
    assert "max texture" in (tmp_path / "parity.md").read_text()
    record = manifest.read(tmp_path)
    assert record["input"]["pixels"] == "release2018"
    assert record["outputs"]["texture"]["shape"] == [None, 99]
    for place in (tmp_path, tmp_path / "alone"):  # with the manifest, and an ONNX file by itself
        if not place.exists():
            place.mkdir()
            (place / "model.onnx").write_bytes((tmp_path / "model.onnx").read_bytes())
        artifact = artifacts.find(place)
        assert artifact is not None
        with pytest.raises(artifacts.ArtifactError, match=r"takes the pixels release2018, and this server cuts"):
            artifacts.describe(place, artifact, artifacts.check(place, artifact))


def test_all_formats_are_those_that_can_be() -> None:
    names = [exporter.name for exporter in choose("all", "release2018")]
    assert "savedmodel-bytes" not in names
    assert [exporter.name for exporter in choose("all") if exporter.name in names] == names
    assert [exporter.name for exporter in choose("savedmodel-bytes", "release2018")] == ["savedmodel-bytes"]
    with pytest.raises(ExportError, match="Unknown format"):
        choose("ply", "release2018")
