"""The checkpoint of a run: one .npz with all that decides how it goes on.

Weights, the optimizer's variables (with moments, average and rate), the running means of the epoch's losses, and
`Progress` as JSON. It is written whole or not at all, and refused when it is not finite: the last good one stays.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from expnet_tf.files import write_whole
from expnet_tf.train.config import JobError, TrainingError

CHECKPOINT = "checkpoint.npz"


@dataclass
class Progress:
    """How far a run is."""

    epoch: int = 0  # the one that is running, from 0
    step: int = 0  # steps done, of all epochs
    done: int = 0  # steps done in this epoch
    best: float | None = None  # lowest validation loss yet
    waited: int = 0  # epochs since then, or since the rate was cut
    cuts: int = 0  # of the rate, since the best
    stop: bool = False  # the plateau has ended the run
    history: list[dict[str, Any]] = field(default_factory=list)  # a line an epoch
    drawn: list[float] = field(default_factory=lambda: [0.0, 0])  # this epoch's loss, and steps, on the curve
    curve: list[list[float]] = field(default_factory=list)  # [step, loss of the steps since the last entry, rate]


def save(folder: Path, model: keras.Model, progress: Progress) -> None:
    """Write the checkpoint.

    Raises:
        TrainingError: a variable is not finite, or the disk refused; the checkpoint before is as it was.
    """
    arrays, names = {}, []
    for number, variable in enumerate(_variables(model)):
        value = keras.ops.convert_to_numpy(variable)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise TrainingError(f"{variable.path} is not finite after step {progress.step}. {last(folder)}")
        arrays[f"v{number}"] = value
        names.append(_name(variable))
    arrays["progress"] = np.array(json.dumps({"variables": names, **asdict(progress)}))
    content = io.BytesIO()
    np.savez(content, **arrays)
    try:
        write_whole(folder / CHECKPOINT, content.getvalue())
    except OSError as error:
        reason = error.strerror or error
        raise TrainingError(f"{folder / CHECKPOINT} could not be written ({reason}). {last(folder)}") from error


def load(folder: Path, model: keras.Model) -> Progress | None:
    """Put the checkpoint's values into the model; None where there is no checkpoint yet.

    Raises JobError for a file that cannot be read or is of another network.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    variables = _variables(model)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            record = json.loads(str(data["progress"]))
            values = [data[f"v{number}"] for number in range(len(record["variables"]))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise JobError(f"{path} cannot be read ({error}); start the run again in another --out.") from error
    if [_name(v) for v in variables] != record.pop("variables") or any(
        tuple(v.shape) != value.shape for v, value in zip(variables, values, strict=True)
    ):
        raise JobError(f"{path} is the checkpoint of another network or optimizer; take another --out.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return Progress(**record)


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.weights, *model.optimizer.variables, *model.metrics_variables]


def _name(variable: keras.Variable) -> str:
    """The path without the numbers that Keras adds where a name was taken before in this process."""
    return re.sub(r"_\d+", "", variable.path)


def last(folder: Path) -> str:
    if (folder / CHECKPOINT).exists():
        return f"The last good checkpoint is {folder / CHECKPOINT}; the same command goes on from it."
    return "There is no checkpoint before it."
