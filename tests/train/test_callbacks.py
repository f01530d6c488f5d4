"""The callbacks by themselves, with a network of one layer."""

import csv
import json
import math

import keras
import numpy as np
import pytest

from expnet_tf.train import logs, state
from expnet_tf.train.callbacks import CURVE_STEPS, Log, Plateau, Steps
from expnet_tf.train.config import TrainingError
from expnet_tf.train.state import Progress


class Bar:
    def __init__(self):
        self.steps = 0

    def update(self, steps):
        self.steps += steps


def toy(rate=0.1):
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Dense(2)(image))
    model.compile(keras.optimizers.SGD(rate), "mse", jit_compile=False)
    return model


def fit(model, callbacks, steps, epoch=0, x=None):
    x = np.linspace(-1, 1, 4 * steps).reshape(steps, 4) if x is None else x
    model.fit(x, np.ones((len(x), 2)), batch_size=1, initial_epoch=epoch, epochs=epoch + 1, shuffle=False,
              verbose=0, callbacks=callbacks)  # fmt: skip


def test_steps_are_counted_and_saved(tmp_path):
    progress, bar = Progress(), Bar()
    steps = Steps(tmp_path, progress, 3, True, bar)
    steps.in_epoch = 7
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if (tmp_path / state.CHECKPOINT).exists():
                with np.load(tmp_path / state.CHECKPOINT) as data:
                    seen.append(json.loads(str(data["progress"]))["step"])

    fit(toy(), [steps, Look()], 7)
    assert seen == [3, 3, 3, 6, 6]
    assert (progress.step, progress.epoch, progress.done, bar.steps) == (7, 1, 0, 7)


def test_the_running_mean_goes_on(tmp_path):
    def means(model, callbacks, steps, x):
        got = []

        class Look(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                got.append(logs["loss"])

        fit(model, [*callbacks, Look()], steps, x=x)
        return got[-1]

    x = np.linspace(-1, 1, 40).reshape(10, 4)
    keras.utils.set_random_seed(0)
    whole = means(toy(), [], 10, x)
    keras.utils.set_random_seed(0)
    model, progress = toy(), Progress()
    first = Steps(tmp_path, progress, 100, False, Bar())
    fit(model, [first], 4, x=x[:4])
    progress.done, progress.epoch = 4, 0  # as if it had stopped within the epoch
    second = Steps(tmp_path, progress, 100, False, Bar())
    second.keep_means(model)
    assert means(model, [second], 6, x[4:]) == whole


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    progress = Progress(epoch=2, step=50)
    steps = Steps(tmp_path, progress, 100, True, Bar())
    x = np.ones((6, 4))
    x[3] = np.inf
    with pytest.raises(TrainingError, match=r"The loss is (nan|inf) at step 54 \(epoch 3\).*There is no checkpoint"):
        fit(toy(), [steps], 6, epoch=2, x=x)
    assert not (tmp_path / state.CHECKPOINT).exists()


def test_curve_has_the_loss_since_the_last_point(tmp_path):
    progress = Progress()
    fit(toy(0.0), [Steps(tmp_path, progress, 10**6, False, Bar())], 2 * CURVE_STEPS + 10)
    assert [step for step, _, _ in progress.curve] == [CURVE_STEPS, 2 * CURVE_STEPS]
    assert progress.curve[0][1] != progress.curve[1][1]
    assert math.isfinite(progress.curve[1][1])


def rates(values, patience=2):
    """The rate after each epoch of these validation losses, until the run ends."""
    model, progress = toy(1.0), Progress()
    plateau = Plateau(progress, patience)
    plateau.set_model(model)
    got = []
    for epoch, value in enumerate(values):
        plateau.on_epoch_end(epoch, {"val_loss": value})
        got.append(round(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)), 6))
        if progress.stop:
            break
    return got


def test_the_rate_is_cut_when_the_loss_saturates():
    assert rates([5, 4, 3, 2, 1]) == [1] * 5
    assert rates([5, 6, 6]) == [1, 1, 0.1]
    # A new best after the cut: a second saturation is answered by another cut, and one that brings nothing is the last.
    assert rates([5, 6, 6, 4, 4, 4, 4, 4, 1]) == [1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]


def test_lines_of_the_log(tmp_path):
    progress = Progress(step=5)
    log = Log(progress, 4, [lambda now: logs.write_csv(tmp_path, now)])
    log.set_model(toy())
    for epoch in range(2):
        log.on_epoch_begin(epoch)
        log.on_epoch_end(epoch, {"loss": 0.1 + epoch, "val_loss": 0.2})
    rows = list(csv.DictReader((tmp_path / logs.CSV).read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["loss"]) for row in rows] == [0.1, 1.1]
    assert {row["passes"] for row in rows} == {"20"}
    # A run that goes on writes the file from its history: no line twice, none of an epoch that was lost.
    logs.write_csv(tmp_path, Progress(history=progress.history[:1]))
    assert len(list(csv.DictReader((tmp_path / logs.CSV).read_text().splitlines()))) == 1


def test_tensorboard_files_hold_the_history_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    progress = Progress(curve=[[50, 2.0, 0.1]], history=[{"epoch": 1, "step": 60, "loss": 2.5, "val_loss": 3.0}])
    for _ in range(2):  # the second as a run that goes on
        write = logs.tensorboard(tmp_path, progress)
    progress.history.append({"epoch": 2, "step": 120, "loss": 1.5, "val_loss": 2.0})
    write(progress)
    events = EventAccumulator(str(tmp_path / logs.TENSORBOARD))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "epoch/loss", "validation/loss"} <= set(tags["tensors"])
    assert [event.step for event in events.Tensors("validation/loss")] == [60, 120]
