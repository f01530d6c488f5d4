"""TF1 checkpoints: which variables they hold, and that these are the network's, each once.

Read by TensorFlow 2's own reader, which takes both formats of TF1 (one file, or .index and .data); nothing in them is
executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from expnet_tf.release2018 import ReleaseError

NAMED = 4  # variables that an error names, before it counts the rest

# What a training run keeps beside the weights: of a variable V the slots V/Adam, V/Momentum and so on, and numbers of
# its own. Nothing that a prediction needs.
SLOTS = ("Adam", "Adam_1", "Adagrad", "Momentum", "RMSProp", "RMSProp_1", "Ftrl", "Ftrl_1", "ExponentialMovingAverage")
BOOKKEEPING = re.compile(r"(.*/)?(global_step|beta1_power|beta2_power|learning_rate)(_\d+)?")


class Checkpoint:
    """The variables of one checkpoint: `shapes`, and `take` for their values."""

    def __init__(self, prefix: Path) -> None:
        """`prefix`: the file of the old format, or the path before .index. Raises ReleaseError."""
        self.prefix = prefix
        self._taken: set[str] = set()
        try:
            self._reader = tf.train.load_checkpoint(str(prefix))
            self.shapes = {name: tuple(shape) for name, shape in self._reader.get_variable_to_shape_map().items()}
            self._dtypes = self._reader.get_variable_to_dtype_map()
        except Exception as error:  # TensorFlow raises many types here, with a page of text
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise ReleaseError(f"{prefix}: not a readable TF1 checkpoint ({reason}).") from None

    def check(self, expected: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Compare with {name: shape} of the network; returns what was left by training, by name.

        Raises ReleaseError that names variables that are missing, of another shape or type, or left over.
        """
        leftovers = sorted(name for name in self.shapes if name not in expected and self._of_training(name, expected))
        problems = {
            "missing": [name for name in expected if name not in self.shapes],
            "of another shape": [
                f"{name} {list(self.shapes[name])} in place of {list(shape)}"
                for name, shape in expected.items()
                if name in self.shapes and self.shapes[name] != tuple(shape)
            ],
            "no floats": [
                f"{name} {self._dtypes[name].name}"
                for name in expected
                if name in self.shapes and not self._dtypes[name].is_floating
            ],
            "left over": sorted(set(self.shapes) - set(expected) - set(leftovers)),
        }
        said = [f"{len(names)} {what}: {_some(names)}" for what, names in problems.items() if names]
        if said:
            raise ReleaseError(
                f"{self.prefix}: not this network's {len(expected)} variables by name and shape: {'; '.join(said)}."
            )
        self._taken.update(leftovers)
        return leftovers

    def take(self, name: str) -> np.ndarray:
        """A variable's values, float32, once. Raises ReleaseError for values that cannot be read or are not finite."""
        assert name not in self._taken, name
        self._taken.add(name)
        try:
            values = np.asarray(self._reader.get_tensor(name), np.float32)
        except Exception as error:  # a damaged data file
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise ReleaseError(f"{self.prefix}: {name} cannot be read ({reason}).") from None
        if not np.isfinite(values).all():
            raise ReleaseError(f"{self.prefix}: {name} holds values that are not finite.")
        return values

    @property
    def untaken(self) -> set[str]:
        """Variables of the network that have not been taken yet."""
        return set(self.shapes) - self._taken

    @staticmethod
    def _of_training(name: str, expected: Mapping[str, tuple[int, ...]]) -> bool:
        variable, _, slot = name.rpartition("/")
        # Of an optimizer made inside a scope the slot's name begins with that scope: opt/exprCNN/conv1/weights/Adam.
        slotted = variable in expected or any(variable.endswith(f"/{known}") for known in expected)
        return (slot in SLOTS and slotted) or BOOKKEEPING.fullmatch(name) is not None


def find(place: Path, usual: str) -> Path:
    """The checkpoint in a folder, `usual` being the release's name for it, or at a path, such as model.ckpt.

    Raises ReleaseError where there is none, or where several could be meant.
    """
    if not place.is_dir():
        prefix = place.with_suffix("") if place.suffix in (".index", ".meta") else place
        if _is_checkpoint(prefix):
            return prefix
        what = "is no checkpoint" if place.exists() else "does not exist"
        raise ReleaseError(f"{place} {what}; the release's folder, or its checkpoint {usual}, is expected.")
    if _is_checkpoint(place / usual):
        return place / usual
    found = sorted(path.with_suffix("") for path in place.glob("*.index"))
    if len(found) == 1:
        return found[0]
    names = f"there are {', '.join(path.name for path in found[:NAMED])}" if found else "there is none"
    raise ReleaseError(f"{place}: the checkpoint {usual} (.index and .data) is expected; {names}.")


def _is_checkpoint(prefix: Path) -> bool:
    return prefix.with_name(f"{prefix.name}.index").is_file() or prefix.is_file()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
