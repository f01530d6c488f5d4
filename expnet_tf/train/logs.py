"""The logs of a run, written from its history as a whole: a run that goes on repeats and loses no line."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path

from expnet_tf.files import write_whole
from expnet_tf.train.state import Progress

CSV, TENSORBOARD = "log.csv", "tensorboard"


def write_csv(folder: Path, progress: Progress) -> None:
    """RUN/log.csv: a line an epoch. Columns: epoch, step, passes (images seen), learning_rate (at the epoch's end),
    the epoch's mean losses, validation figures (metrics.figures), seconds (of this process in the epoch)."""
    if not progress.history:
        return
    text = io.StringIO()
    lines = csv.DictWriter(text, list(progress.history[-1]), lineterminator="\n")
    lines.writeheader()
    lines.writerows(progress.history)
    write_whole(folder / CSV, text.getvalue().encode())


def tensorboard(folder: Path, progress: Progress) -> Callable[[Progress], None]:
    """A writer of RUN/tensorboard. What a run before this one wrote there is written anew, from the checkpoint.

    Raises ImportError where the package is missing.
    """
    from tensorboard.summary import Writer  # type: ignore[import-untyped]

    shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
    writer = Writer(str(folder / TENSORBOARD))
    lines, points = 0, 0

    def write(progress: Progress) -> None:
        nonlocal lines, points
        for step, loss, rate in progress.curve[points:]:
            writer.add_scalar("train/loss", loss, int(step))
            writer.add_scalar("train/learning_rate", rate, int(step))
        for line in progress.history[lines:]:
            for name, value in line.items():
                if name not in ("step", "passes", "learning_rate"):
                    group = "validation" if name.startswith("val_") else "epoch"
                    writer.add_scalar(f"{group}/{name.removeprefix('val_')}", value, line["step"])
        lines, points = len(progress.history), len(progress.curve)
        writer.flush()

    write(progress)
    return write
