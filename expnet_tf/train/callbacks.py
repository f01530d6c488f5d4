"""What happens during `fit`: steps counted and saved, validation, the plateau, the logs.

All that they remember is in `Progress`, which the checkpoint holds: a run that goes on does as if it had never
stopped. At an epoch's end they run in the order of `run.callbacks`; `Steps` is the last, and writes the checkpoint.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from expnet_tf.train import sheet, state
from expnet_tf.train.config import Config, TrainingError
from expnet_tf.train.feed import Feed
from expnet_tf.train.inference import Codes, Forward, over
from expnet_tf.train.metrics import figures
from expnet_tf.train.state import Progress
from expnet_tf.train.task import averaged, losses

CURVE_STEPS = 50  # steps to one point of the training curve
CUT = 10.0  # the plateau divides the rate by this


class Steps(keras.callbacks.Callback):
    """Counts the steps, ends a run whose loss is not finite, and writes checkpoints."""

    def __init__(self, folder: Path, progress: Progress, every: int, write: bool, bar: Any):
        """every: steps between checkpoints; write: whether this process does; bar: with an `update(steps)`."""
        super().__init__()
        self.folder, self.progress, self.every, self.write, self.bar = folder, progress, every, write, bar
        self.in_epoch = 0  # steps of the running epoch; set before each
        self.means: list[np.ndarray] | None = None

    def keep_means(self, model: keras.Model) -> None:
        """Take the running means out of a restored model: `fit` sets them to zero before it begins."""
        self.means = [keras.ops.convert_to_numpy(v) for v in model.metrics_variables]

    def on_epoch_begin(self, epoch, logs=None):
        if self.progress.done and self.means is not None:
            for variable, value in zip(self.model.metrics_variables, self.means, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        progress, mean = self.progress, logs["loss"]
        progress.step, progress.done = progress.step + 1, progress.done + 1
        self.bar.update(1)
        if not math.isfinite(mean):
            raise TrainingError(
                f"The loss is {mean} at step {progress.step} (epoch {progress.epoch + 1}); a lower --learning-rate in "
                f"another --out may help. {state.last(self.folder)}"
            )
        if progress.step % CURVE_STEPS == 0:
            total, steps = progress.drawn
            progress.drawn = [mean * progress.done, progress.done]
            value = (mean * progress.done - total) / (progress.done - steps)
            progress.curve.append([progress.step, float(value), rate(self.model)])
        if progress.step % self.every == 0 and progress.done < self.in_epoch and self.write:
            state.save(self.folder, self.model, progress)

    def on_epoch_end(self, epoch, logs=None):
        self.progress.epoch, self.progress.done, self.progress.drawn = epoch + 1, 0, [0.0, 0]
        if self.write:
            state.save(self.folder, self.model, self.progress)


class Validate(keras.callbacks.Callback):
    """Reads the whole validation split after each epoch, with the averaged weights where there are any."""

    def __init__(self, folder: Path, feed: Feed, run: Forward, config: Config):
        super().__init__()
        self.folder, self.feed, self.run, self.config = folder, feed, run, config
        self.codes: tuple[Codes, Codes] | None = None  # predicted and true, of the last epoch

    def on_epoch_end(self, epoch, logs=None):
        with averaged(self.model):
            predicted, true = self.codes = over(self.run, self.feed)
        if not all(np.isfinite(value).all() for value in predicted.values()):
            raise TrainingError(f"Predictions are not finite after epoch {epoch + 1}. {state.last(self.folder)}")
        made, weights = losses(self.config)
        # `call`, the loss of each image: within a strategy Keras divides the mean by the number of replicas.
        means = {head: keras.ops.mean(made[head].call(true[head], predicted[head])) for head in predicted}
        logs["val_loss"] = sum(weights[head] * float(keras.ops.convert_to_numpy(means[head])) for head in means)
        logs.update(figures(predicted, true))


class Plateau(keras.callbacks.Callback):
    """Divides the rate when the validation loss saturates; ends the run when a cut has not helped."""

    def __init__(self, progress: Progress, patience: int):
        super().__init__()
        self.progress, self.patience = progress, patience

    def on_epoch_end(self, epoch, logs=None):
        progress, value = self.progress, logs["val_loss"]
        if progress.best is None or value < progress.best:
            progress.best, progress.waited, progress.cuts = value, 0, 0
            return
        progress.waited += 1
        if progress.waited >= self.patience:
            if progress.cuts:
                progress.stop = True
                return
            progress.waited, progress.cuts = 0, progress.cuts + 1
            self.model.optimizer.learning_rate = rate(self.model) / CUT


class Log(keras.callbacks.Callback):
    """A line an epoch into the history, and from there into the logs that are given."""

    def __init__(self, progress: Progress, batch_size: int, writers: list[Any]):
        """writers: functions of a Progress, called when it has a new line."""
        super().__init__()
        self.progress, self.batch_size, self.writers = progress, batch_size, writers
        self.began = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        line = {"epoch": epoch + 1, "step": self.progress.step, "passes": self.progress.step * self.batch_size}
        line |= {"learning_rate": rate(self.model), **{name: float(value) for name, value in logs.items()}}
        self.progress.history.append(line | {"seconds": round(time.monotonic() - self.began, 1)})
        for write in self.writers:
            write(self.progress)


def rate(model: keras.Model) -> float:
    """The learning rate of the next step."""
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


class Show(keras.callbacks.Callback):
    """A sheet of predictions of the same faces after each epoch: RUN/samples/epoch-0001.png."""

    def __init__(self, folder: Path, feed: Feed, validate: Validate):
        super().__init__()
        self.folder, self.validate = folder, validate
        self.rows = sheet.evenly(len(feed))
        self.photos, _ = feed.examples(self.rows)

    def on_epoch_end(self, epoch, logs=None):
        assert self.validate.codes is not None
        chosen = [{name: value[self.rows] for name, value in codes.items()} for codes in self.validate.codes]
        (self.folder / "samples").mkdir(exist_ok=True)
        sheet.write_png(self.folder / "samples" / f"epoch-{epoch + 1:04d}.png", sheet.sheet(self.photos, *chosen))
