"""Several devices mean the same as one: two virtual devices of the CPU, and two processes on JAX."""

import importlib.util
import json
import socket
import subprocess
import sys

import keras
import pytest

from expnet_tf.train.config import JobError
from expnet_tf.train.distribute import Hosts, spread

MIRRORED = """
import json
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from expnet_tf.train.distribute import Hosts, spread, synchronise
from expnet_tf.train.inference import forward
from expnet_tf.train.losses import HalfSquare

def run(devices):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (32, 8, 8, 3), np.uint8)
    codes = rng.normal(size=(32, 29)).astype(np.float32)
    with spread(Hosts(), 8, devices) as place:
        keras.utils.set_random_seed(0)
        image = keras.Input((8, 8, 3), dtype="uint8", name="image")
        x = keras.layers.Conv2D(4, 3)(keras.ops.cast(image, "float32") / 128.0)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        model = keras.Model(image, {"expression": keras.layers.Dense(29)(keras.layers.Flatten()(x))})
        synchronise(model, place.replicas > 1)
        for variable in model.trainable_variables:
            variable.regularizer = keras.regularizers.L2(0.05)
        model.compile(keras.optimizers.SGD(0.01, 0.9), {"expression": HalfSquare()}, jit_compile=False)
        # Under `fit` of Keras each epoch's loss is the mean over its steps.
        data = tf.data.Dataset.from_tensor_slices((images, {"expression": codes})).batch(8, drop_remainder=True)
        losses = model.fit(data, epochs=3, verbose=0).history["loss"]
        read = forward(model)(images[:5])["expression"]
    return {"replicas": place.replicas, "losses": losses, "rows": len(read), "read": float(np.abs(read).sum())}

print(json.dumps([run(["CPU:0"]), run(["CPU:0", "CPU:1"])]))
"""


tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="MirroredStrategy is TensorFlow's")


@tensorflow_only
@pytest.mark.slow
def test_two_replicas_lose_what_one_loses(quick):
    done = subprocess.run([sys.executable, "-c", MIRRORED], env=quick, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = json.loads(done.stdout.splitlines()[-1])
    assert (one["replicas"], two["replicas"]) == (1, 2)
    # Statistics of the whole batch, and the penalty once, not twice: without either the losses differ by percents.
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert two["read"] == pytest.approx(one["read"], rel=1e-3)
    assert two["rows"] == 5


HOSTS = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
sys.modules["tensorflow"] = None  # whoever imports it fails
data, out, coordinator, count, number = sys.argv[1:]
from expnet_tf.train.config import Job, modern
from expnet_tf.train.distribute import Hosts
from expnet_tf.train.run import train
job = Job((Path(data),), Path(out), replace(modern(), batch_size=8, epochs=2, learning_rate=1e-4), size=32)
lines = []
made = train(job, Hosts(coordinator, int(number), int(count)), say=lines.append)
import jax
print(json.dumps({"processes": jax.process_count(), "devices": jax.device_count(), "own": jax.local_device_count(),
                  "said": lines, "epochs": made.get("epochs")}))
"""


@pytest.mark.slow
def test_two_processes_lose_what_one_loses(packed, tmp_path, quick):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed (pip install jax)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{probe.getsockname()[1]}"
    env = {**quick, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}

    def start(out, count, number):
        arguments = [str(packed), str(tmp_path / out), coordinator, str(count), str(number)]
        return subprocess.Popen(
            [sys.executable, "-c", HOSTS, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )

    def result(process):
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        return json.loads(out.splitlines()[-1])

    pair = [start("pair", 2, number) for number in range(2)]
    first, second = map(result, pair)
    alone = result(start("alone", 1, 0))
    assert [(r["processes"], r["devices"], r["own"]) for r in (first, second, alone)] == [(2, 2, 1)] * 2 + [(1, 1, 1)]
    assert any("on 2 devices" in line for line in first["said"])
    assert second["epochs"] is None  # process 0 alone writes
    for mine, theirs in zip(first["epochs"], alone["epochs"], strict=True):
        for name in ("loss", "expression_loss", "val_loss"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4)
    assert (tmp_path / "pair/compact.keras").exists()


def test_several_hosts_need_jax():
    if keras.backend.backend() == "jax":
        pytest.skip("this is JAX")
    with pytest.raises(JobError, match=f"need KERAS_BACKEND=jax; this is {keras.backend.backend()}"):
        spread(Hosts("127.0.0.1:1", 0, 2), 8).__enter__()


@tensorflow_only
def test_a_batch_that_does_not_divide():
    with pytest.raises(JobError, match="batch of 9 does not divide over 2 devices"):
        spread(Hosts(), 9, ["CPU:0", "CPU:1"]).__enter__()
