import subprocess
import sys

import keras
import numpy as np
import pytest

from expnet_tf.train import state
from expnet_tf.train.config import JobError, TrainingError
from expnet_tf.train.state import CHECKPOINT, Progress


def toy(width=3, optimizer="adam"):
    image = keras.Input((4,), name="x")
    model = keras.Model(image, keras.layers.Dense(width, name="dense")(image))
    model.compile(keras.optimizers.get(optimizer), "mse")
    model.fit(np.ones((8, 4)), np.ones((8, width)), epochs=2, verbose=0)
    return model


def values(model):
    variables = [*model.weights, *model.optimizer.variables, *model.metrics_variables]
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def test_everything_comes_back(tmp_path):
    model = toy()
    progress = Progress(2, 17, 3, 0.5, 1, 1, history=[{"epoch": 1, "loss": 0.1 + 0.2}], curve=[[10, 1 / 3, 1e-3]])
    state.save(tmp_path, model, progress)
    other = toy()
    assert state.load(tmp_path, other) == progress
    for mine, theirs in zip(values(model), values(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_no_checkpoint(tmp_path):
    assert state.load(tmp_path, toy()) is None


@pytest.mark.parametrize("other", [{"width": 4}, {"optimizer": "sgd"}])
def test_checkpoint_of_another_network(tmp_path, other):
    state.save(tmp_path, toy(), Progress())
    with pytest.raises(JobError, match="another network or optimizer"):
        state.load(tmp_path, toy(**other))


def test_truncated_checkpoint(tmp_path):
    state.save(tmp_path, toy(), Progress())
    content = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: len(content) // 2])
    with pytest.raises(JobError, match=r"checkpoint\.npz cannot be read"):
        state.load(tmp_path, toy())


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = toy()
    state.save(tmp_path, model, Progress(step=1))
    good = (tmp_path / CHECKPOINT).read_bytes()
    model.get_layer("dense").bias.assign(np.full(3, np.nan))
    with pytest.raises(TrainingError, match=r"dense/bias is not finite after step 2\. The last good checkpoint is"):
        state.save(tmp_path, model, Progress(step=2))
    assert (tmp_path / CHECKPOINT).read_bytes() == good


# A file may not grow beyond the limit: the kernel refuses the write, as it does on a full disk.
FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from expnet_tf.train import state
from expnet_tf.train.config import TrainingError
from expnet_tf.train.state import Progress

class Variable:
    path = "kernel"
    def __array__(self, dtype=None, copy=None): return np.zeros(100_000, np.float32)
class Model:
    weights, metrics_variables = [Variable()], []
    class optimizer: variables = []

state.keras.ops.convert_to_numpy = np.asarray
folder = Path(sys.argv[1])
state.save(folder, Model, Progress(step=1))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    state.save(folder, Model, Progress(step=2))
except TrainingError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits there")
def test_a_disk_that_refuses_leaves_the_last_checkpoint(tmp_path, quick):
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path], env=quick, capture_output=True, text=True, timeout=120
    )
    assert "checkpoint.npz could not be written (File too large). The last good checkpoint is" in done.stdout, (
        done.stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    with np.load(tmp_path / CHECKPOINT) as data:
        assert '"step": 1' in str(data["progress"])
