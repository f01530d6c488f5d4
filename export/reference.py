"""The reference that artifacts are judged by: fixed face crops, and the network computed in float64."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from expnet_tf.export import ExportError
from expnet_tf.network import HEADS, with_policy

# Faces of one seed: the same crops in every certificate. 64 cover poses and expressions, and the float64 pass
# of the compact network over them takes a second.
COUNT = 64
SEED = 20180516  # the week of FG 2018; any number would do, but never another


def face_images(size: int, crop_factor: float, count: int = COUNT) -> np.ndarray:
    """The reference crops: uint8 RGB [count, size, size, 3], rendered faces cropped as the model asks."""
    from expnet_tf.data.synth import face_crops

    return np.asarray(face_crops(count, size, seed=SEED, factor=crop_factor))


def to_float64(model: keras.Model) -> keras.Model:
    """The same network with every layer and every weight in float64."""
    double = keras.Model.from_config(with_policy(model.get_config(), "float64"))
    for layer in double.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    return double


def predict_float64(model: keras.Model, images: np.ndarray, batch: int = 16) -> dict[str, np.ndarray]:
    """{head: float64 [n, width]} of images uint8 [n, S, S, 3], every operation of the network in float64."""
    double = to_float64(model)
    parts = [double(images[i : i + batch], training=False) for i in range(0, len(images), batch)]
    return {head: np.concatenate([keras.ops.convert_to_numpy(part[head]) for part in parts]) for head in parts[0]}


def write_inputs(path: Path, model: keras.Model, images: np.ndarray) -> None:
    """Write the crops and each head's float64 answer to `path`, an .npz."""
    arrays: dict[str, Any] = {"image": images, **predict_float64(model, images)}
    np.savez_compressed(path, **arrays)


def read_inputs(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images uint8 [n, S, S, 3] and {head: float64 [n, width]}; raises ExportError for anything else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path.name}: cannot be read: {error}.") from None
    images = arrays.pop("image", np.zeros(0))
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not len(images):
        raise ExportError(f"{path.name}: image is {images.dtype} {list(images.shape)}, not uint8 [n, S, S, 3].")
    for head, value in arrays.items():
        expected = (len(images), HEADS.get(head))
        if value.dtype != np.float64 or value.shape != expected or not np.isfinite(value).all():
            raise ExportError(f"{path.name}: {head} is not finite float64 of shape {list(expected)}.")
    return images, arrays
