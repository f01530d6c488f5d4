"""Which models there are: the weights that ship with the package, and what a user may name instead of them."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
DEFAULT = "base"  # the shipped model that is taken where none is named


def shipped() -> dict[str, Path]:
    """{name: .keras file} of the models inside the package, by name."""
    return {path.stem: path for path in sorted(ASSETS.glob("*.keras"))}


def resolve(name_or_path: str | os.PathLike[str]) -> Path:
    """The .keras file of a shipped model's name or of a path.

    Raises ModelError in one sentence: an unknown name, a known network whose weights do not ship, or a path
    where no file is.
    """
    text = os.fspath(name_or_path)
    models = shipped()
    if text in models:
        return models[text]
    # They import Keras, and it TensorFlow, which who serves a shipped model leaves to other processes.
    from expnet_tf.backbones import BACKBONES
    from expnet_tf.network import ModelError

    if text in BACKBONES:
        raise ModelError(
            f"The weights of {text} do not ship with the package; load the .keras file that "
            f"`expnet train --backbone {text} --data DIR --out RUN` writes."
        )
    path = Path(text)
    if path.is_file():
        return path
    names = ", ".join(models) or "none"
    if path.exists() or path.suffix == ".keras" or len(path.parts) > 1:
        what = "is no plain file" if path.exists() else "does not exist"
        raise ModelError(f"{text} {what}; a .keras file or a shipped model ({names}) is expected.")
    raise ModelError(f"There is no model {text!r}; a .keras file or a shipped model ({names}) is expected.")


def parameters(path: str | os.PathLike[str]) -> int:
    """Numbers stored in a .keras file, mean image included: the network's `count_params()`, without building it."""
    import h5py

    total = 0

    def count(_: str, item: object) -> None:
        nonlocal total
        if isinstance(item, h5py.Dataset):
            total += item.size

    with (
        zipfile.ZipFile(path) as archive,
        h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as weights,
    ):
        weights.visititems(count)
    return total


def sha256(path: str | os.PathLike[str]) -> str:
    """sha256 of a file, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
