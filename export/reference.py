"""The reference that artifacts are judged by: fixed face crops, and the Keras model's answer to them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np

from expnet_tf.camera import rotation_matrix
from expnet_tf.export import ExportError
from expnet_tf.image import crop
from expnet_tf.network import HEADS, with_policy

# Faces of one seed: the same crops in every certificate. 256 of 128 people cover poses up to the profile, skins from
# pale to dark, and faces of 16 px; the float64 pass of the compact network over them takes seconds.
COUNT = 256
SEED = 20180516  # the week of FG 2018; any number would do, but never another

# Small faces on purpose: every fourth is shrunk to these shares of the crop and enlarged again.
SCALES = (0.5, 0.33, 0.2)

# Larger networks answer in float32: ResNet-101 in float64 takes minutes over 256 faces, and what float32 does to a
# network of this kind is known from the compact one.
FLOAT64_PARAMETERS = 10_000_000


def face_images(size: int, crop_factor: float, count: int = COUNT) -> tuple[np.ndarray, dict[str, str]]:
    """The reference crops, uint8 RGB [count, size, size, 3], and what they cover, as sentences by topic."""
    from expnet_tf.data.synth import face_shots

    shots = face_shots(count, size, seed=SEED, factor=crop_factor)
    images = some_small(np.stack([crop(shot.image, shot.box.tolist(), size, crop_factor) for shot in shots]))
    forward = rotation_matrix(np.stack([shot.pose[:3] for shot in shots]))[:, :, 2]  # where the nose points
    yaw = np.degrees(np.arctan2(forward[:, 0], forward[:, 2]))
    middle = slice(size * 2 // 5, size * 3 // 5)
    grey = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[middle, middle, 0] for image in images])
    tone = np.median(grey.reshape(count, -1), axis=1) / 2.55
    return images, {
        "faces": f"{count}, rendered, of {(count + 1) // 2} people",
        "yaw, degrees": f"{yaw.min():.0f} to {yaw.max():.0f}; a tenth beyond {np.quantile(np.abs(yaw), 0.9):.0f}",
        "skin": f"CIELAB lightness in the middle of the face {tone.min():.0f} to {tone.max():.0f}, "
        f"quarters at {', '.join(f'{q:.0f}' for q in np.quantile(tone, (0.25, 0.5, 0.75)))}",
        "scale": f"{count // 4} shrunk to {', '.join(f'{s:g}' for s in SCALES)} of the crop; "
        "cameras of low resolution among the others",
    }


def some_small(images: np.ndarray) -> np.ndarray:
    """The crops, uint8 [n, S, S, 3], every fourth of them shrunk to one of SCALES and enlarged again."""
    shares = [SCALES[i // 4 % len(SCALES)] if i % 4 == 3 else 1.0 for i in range(len(images))]
    return np.stack([_shrunk(image, share) for image, share in zip(images, shares, strict=True)])


def _shrunk(image: np.ndarray, share: float) -> np.ndarray:
    size = image.shape[0]
    side = max(1, round(size * share))
    if side == size:
        return image
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR))


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


def predict_float32(model: keras.Model, images: np.ndarray, batch: int = 16) -> dict[str, np.ndarray]:
    """{head: float32 [n, width]} of images uint8 [n, S, S, 3], the model as it is."""
    parts = [model(images[i : i + batch], training=False) for i in range(0, len(images), batch)]
    return {head: np.concatenate([keras.ops.convert_to_numpy(part[head]) for part in parts]) for head in parts[0]}


def write_inputs(path: Path, model: keras.Model, images: np.ndarray) -> str:
    """Write the crops and each head's answer, as float64, to `path`, an .npz; returns the precision of the answer."""
    precision = "float64" if model.count_params() <= FLOAT64_PARAMETERS else "float32"
    answer = predict_float64(model, images) if precision == "float64" else predict_float32(model, images)
    arrays: dict[str, Any] = {head: value.astype(np.float64) for head, value in answer.items()}
    np.savez_compressed(path, image=images, **arrays)
    return precision


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
