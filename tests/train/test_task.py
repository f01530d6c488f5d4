from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from expnet_tf.network import ExpNet, ModelInfo, load_model, mean_image, save_model
from expnet_tf.train.config import CONFIGS, TARGETS, Job, JobError, modern, paper
from expnet_tf.train.task import averaged, build, compile_for, losses

SIZE = 32


def job(config, **more):
    return Job((Path("data"),), Path("out"), config, size=SIZE, **more)


def batch(model, seed=0):
    rng = np.random.default_rng(seed)
    targets = {name: rng.normal(size=(4, *value.shape[1:])).astype(np.float32) for name, value in model.output.items()}
    return rng.integers(0, 256, (4, SIZE, SIZE, 3), np.uint8), targets


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("target", TARGETS)
def test_every_output_has_a_loss(name, target):
    config = replace(CONFIGS[name](), target=target)
    model = build(job(config))
    made, weights = losses(config)
    assert set(model.output) == set(made) == set(weights)
    assert set(TARGETS[target]) == set(model.output) - {"points", "seen"}
    assert ("seen" in model.output) == (name == "modern")


def test_the_paper_steps_as_caffe_does():
    """Two steps of SGD by hand: v = 0.9 v + rate (gradient of 1/2N sum d^2 + 5e-4 w), w -= v, on every weight."""
    config = replace(paper(), learning_rate=0.01)
    model = build(job(config))
    compile_for(model, config, 100)
    head = model.get_layer("expression")
    features = keras.Model(model.input, model.get_layer("features").output)
    images, targets = batch(model)
    kernel, bias = head.get_weights()
    bias += 1  # biases decay too: one that is zero would not show it
    head.set_weights([kernel, bias])
    gamma = model.get_layer("stem1_bn").gamma
    before = keras.ops.convert_to_numpy(gamma)
    # Freeze the trunk by a rate of zero for all but the head: what the head sees must not depend on the trunk's step.
    seen = keras.ops.convert_to_numpy(features(images, training=True))
    velocity = [0, 0]
    error = seen @ kernel + bias - targets["expression"]
    gradients = [seen.T @ error / 4 + 5e-4 * kernel, error.mean(0) + 5e-4 * bias]
    velocity = [0.01 * g for g in gradients]
    model.train_on_batch(images, targets)
    for weight, value, moved in zip(head.get_weights(), (kernel, bias), velocity, strict=True):
        np.testing.assert_allclose(weight, value - moved, atol=2e-5)
    assert np.abs(keras.ops.convert_to_numpy(gamma) - before).max() > 0
    penalty = sum(float((keras.ops.convert_to_numpy(v) ** 2).sum()) for v in model.trainable_variables) * 5e-4 / 2
    assert abs(float(sum(model.losses)) - penalty) < 1e-3 * penalty
    assert len(model.losses) == len(model.trainable_variables)


def test_the_decay_does_not_enter_the_file(tmp_path):
    config = paper()
    model = build(job(config))
    compile_for(model, config, 100)
    info = ModelInfo("compact", "0", "compact", SIZE, 1.25, ("expression",), "none", "NOASSERTION")
    save_model(model, tmp_path / "m.keras", info)
    loaded = load_model(tmp_path / "m.keras")
    assert not loaded.losses
    assert loaded.get_layer("stem1_conv").kernel_regularizer is None


def test_the_average_is_beside_the_weights():
    config = modern()
    model = build(job(config))
    compile_for(model, config, 100)
    for seed in range(3):
        model.train_on_batch(*batch(model, seed))
    kernel = model.get_layer("expression").kernel
    own = keras.ops.convert_to_numpy(kernel)
    with averaged(model):
        inside = keras.ops.convert_to_numpy(kernel)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel), own)
    assert np.abs(inside - own).max() > 0
    model.optimizer.finalize_variable_values(model.trainable_variables)  # as `fit` does when it ends
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel), own)


def test_starting_from_a_model(tmp_path):
    keras.utils.set_random_seed(1)
    other = ExpNet("compact", size=SIZE, mean_image=np.full((SIZE, SIZE, 3), 99.0))
    info = ModelInfo("m", "0", "compact", SIZE, 1.25, ("expression", "identity", "pose"), "none", "NOASSERTION")
    save_model(other, tmp_path / "m.keras", info)
    model = build(job(replace(modern(), target="expression"), initial=tmp_path / "m.keras"))
    for name in ("mean_image", "stem1_conv", "stage4_block3_1_bn", "expression"):
        for a, b in zip(model.get_layer(name).get_weights(), other.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_starting_from_a_network_of_another_crop(tmp_path):
    """A larger network of a larger crop begins with nearly what the smaller one answers."""
    keras.utils.set_random_seed(1)
    mean = np.linspace(60, 180, SIZE)[:, None, None] + np.zeros((SIZE, SIZE, 3))
    other = ExpNet("compact", size=SIZE, mean_image=mean)
    info = ModelInfo("m", "0", "compact", SIZE, 1.25, ("expression", "identity", "pose"), "none", "NOASSERTION")
    save_model(other, tmp_path / "m.keras", info)
    started = replace(job(modern(), initial=tmp_path / "m.keras"), backbone="base", size=2 * SIZE)
    model = build(started)
    kernel, own = (m.get_layer("features_conv").get_weights()[0] for m in (other, model))
    assert own.shape[:2] == (2 * kernel.shape[0],) * 2
    np.testing.assert_allclose(own.sum((0, 1)), kernel.sum((0, 1)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mean_image(model)[::2, 5, 0], mean[:, 0, 0], atol=2)
    crop = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8), (SIZE, SIZE))
    twice = cv2.resize(crop, (2 * SIZE, 2 * SIZE))
    z, same = (keras.ops.convert_to_numpy(m(x[None])["expression"]) for m, x in ((other, crop), (model, twice)))
    assert np.corrcoef(z[0], same[0])[0, 1] > 0.6
    assert not np.abs(keras.ops.convert_to_numpy(model.get_layer("stage4_block4_2_bn").gamma)).any()


def test_starting_from_a_stranger_is_refused(tmp_path):
    info = ModelInfo("m", "0", "resnet50", SIZE, 1.25, ("expression",), "none", "NOASSERTION")
    save_model(ExpNet("resnet50", ("expression",), SIZE), tmp_path / "m.keras", info)
    said = r"m\.keras is expnet_resnet50 with 32 px; expnet_compact with 32 px has \d+ layers"
    with pytest.raises(JobError, match=said):
        build(job(modern(), initial=tmp_path / "m.keras"))
