"""The network: a uint8 face crop in, coefficients of the 3D morphable model out.

Builtin Keras layers only, so that a saved model opens under vanilla Keras (`safe_mode=True`, no custom
objects) on any backend. The trunk ends in the layer named `features`; training may hang auxiliary heads on
it, and `save_model` drops them again.

Source: Chang, Tran, Hassner, Masi, Nevatia, Medioni, "ExpNet: Landmark-Free, Deep, 3D Facial Expressions",
FG 2018.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from expnet_tf.backbones import BACKBONES, Backbone
from expnet_tf.image import PIXELS

EXPRESSION, IDENTITY, POSE, TEXTURE, QUALITY = 29, 99, 6, 99, 1
HEADS = {"expression": EXPRESSION, "identity": IDENTITY, "pose": POSE, "texture": TEXTURE, "quality": QUALITY}
# texture is of imported networks, for the open face model has none; quality comes last, when all else is learned.
DEFAULT_HEADS = ("expression", "identity", "pose")

# The pose head is linear in standardised units; the constants turn them into radians and millimetres at the
# nominal camera (camera.NOMINAL_FOCAL). A crop of a face head on is about 900 mm away from that camera.
POSE_MEAN = (0.0, 0.0, 0.0, 0.0, 0.0, -900.0)
POSE_STD = (0.25, 0.45, 0.2, 12.0, 12.0, 120.0)

MID_GREY = 127.5  # mean image of a model whose training set's mean is not known

STORED = 64 * 2**20  # bytes from which weights are not compressed: it takes tens of seconds and saves 7%
COMPRESSED = {"shuffle": True, "compression": "gzip", "compression_opts": 9}  # both are part of every HDF5 library
KERNELS = (2, 4)  # dimensions of dense and convolution kernels; the mean image has 3, where half a grey level counts

INFO_MEMBER = "expnet.json"
INFO_SCHEMA = 1


class ModelError(ValueError):
    """A model file that cannot be used: one sentence with the file, what was found, what is accepted."""


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about itself; travels inside the .keras archive as `expnet.json`."""

    name: str  # "compact"
    version: str  # "1.0"
    backbone: str  # a key of BACKBONES, or the trunk of an imported network
    size: int  # side of the input crop, px
    crop_factor: float  # side of the crop over the larger side of the face box
    heads: tuple[str, ...]  # keys of HEADS, in the order of HEADS
    training: str  # one line: data, images seen, loss
    licence: str  # SPDX identifier of the weights
    pixels: str = PIXELS[0]  # one of image.PIXELS: how the crop is cut out of a photo

    @property
    def id(self) -> str:
        """Name and version in one word, as written into results: `compact-1.0`."""
        return f"{self.name}-{self.version}"


def ExpNet(
    backbone: str = "compact",
    heads: Sequence[str] = DEFAULT_HEADS,
    size: int | None = None,
    mean_image: np.ndarray | None = None,
) -> keras.Model:
    """Build the network with random weights.

    Input `image`: uint8 RGB [B, size, size, 3]. Outputs, a dict of float32 tensors, whatever the precision of
    the trunk: `expression` [B, 29], `identity` [B, 99] and `texture` [B, 99] in sigma units of the morphable model;
    `pose` [B, 6], rotation vector (rad) and translation (mm) at the nominal camera; `quality` [B, 1] in 0..1.

    `size` is the side of the crop in px (None: the backbone's own), `mean_image` float [size, size, 3] in
    0..255 RGB (None: mid-grey).

    Raises ValueError for an unknown backbone or head, a size under 32 or a mean image of another shape.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"Unknown backbone {backbone!r}; accepted: {', '.join(BACKBONES)}.")
    return with_heads(BACKBONES[backbone], f"expnet_{backbone}", heads, size, mean_image)


def with_heads(
    trunk: Backbone,
    name: str,
    heads: Sequence[str] = DEFAULT_HEADS,
    size: int | None = None,
    mean_image: np.ndarray | None = None,
) -> keras.Model:
    """`ExpNet` around any trunk, under this name; see there."""
    if isinstance(heads, str):
        heads = (heads,)
    if not heads or len(set(heads)) != len(heads) or not set(heads) <= set(HEADS):
        raise ValueError(f"Heads {tuple(heads)} are not a selection, each once, of {', '.join(HEADS)}.")
    size = trunk.size if size is None else int(size)
    if size < 32:
        raise ValueError(f"Size {size} is too small for a stride of 16 or 32; accepted: 32 and more.")

    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    # (pixel - mean) / scale as a frozen linear layer: kernel I / scale, bias -mean / scale. Not Normalization and
    # Rescaling: Keras makes such layers ask for TensorFlow, which a JAX machine may not have or may block, and
    # Normalization computes with a copy of its weights that `set_weights` leaves as it was. float32 in mixed
    # precision too: bfloat16 resolves 255 - mean to half a grey level only.
    mean_layer = layers.EinsumDense(
        "bhwc,cd->bhwd",
        output_shape=(size, size, 3),
        bias_axes="hwd",
        kernel_initializer=keras.initializers.Identity(1.0 / trunk.scale),
        trainable=False,
        dtype="float32",
        name="mean_image",
    )
    # Cast in the open: Torch, unlike TensorFlow and JAX, multiplies no integers with floats by itself.
    features = trunk.build(mean_layer(keras.ops.cast(image, "float32")))
    outputs = {}
    for head in (h for h in HEADS if h in heads):
        # Heads stay in float32 in mixed precision: around 900 mm bfloat16 knows every fourth millimetre only.
        if head == "quality":
            outputs[head] = quality_head(features)
            continue
        linear = f"{head}_standardised" if head == "pose" else head
        outputs[head] = layers.Dense(HEADS[head], dtype="float32", name=linear)(features)
    if "pose" in outputs:
        outputs["pose"] = outputs["pose"] * np.array(POSE_STD, np.float32) + np.array(POSE_MEAN, np.float32)
    model = keras.Model(image, outputs, name=name)
    set_mean_image(model, np.full((size, size, 3), MID_GREY) if mean_image is None else mean_image)
    return model


def quality_head(features: keras.KerasTensor) -> keras.KerasTensor:
    """Features [B, d] -> quality [B, 1] in 0..1."""
    hidden = layers.Dense(32, "relu", dtype="float32", name="quality_hidden")(features)
    return layers.Dense(QUALITY, "sigmoid", dtype="float32", name="quality")(hidden)


def set_mean_image(model: keras.Model, mean: np.ndarray) -> None:
    """Set the mean image inside the model: float [S, S, 3] RGB in 0..255.

    Raises ValueError where the shape is not the model's or a value is not finite or outside 0..255.
    """
    layer = model.get_layer("mean_image")
    mean = np.asarray(mean, np.float32)
    expected = tuple(layer.bias.shape)
    if mean.shape != expected:
        raise ValueError(f"Mean image of shape {mean.shape}; the model takes {expected}, RGB in 0..255.")
    if not (np.isfinite(mean).all() and mean.min() >= 0 and mean.max() <= 255):
        raise ValueError("Mean image with values that are not finite or outside 0..255.")
    layer.bias.assign(-mean * np.diagonal(keras.ops.convert_to_numpy(layer.kernel)))


def mean_image(model: keras.Model) -> np.ndarray:
    """The mean image inside the model, float32 [S, S, 3] RGB in 0..255."""
    layer = model.get_layer("mean_image")
    kernel, bias = keras.ops.convert_to_numpy(layer.kernel), keras.ops.convert_to_numpy(layer.bias)
    return -bias / np.diagonal(kernel)


def save_model(model: keras.Model, path: str | os.PathLike, info: ModelInfo, float16: bool = False) -> None:
    """Write model and `info` as one .keras file, whole or not at all.

    The file is for inference, however the model was trained: the heads of `info` only (auxiliary outputs and
    their layers are dropped), float32 policies in place of mixed ones, no optimizer. With `float16` the
    weights are stored as half precision, kernels rounded to the eight significant bits that bfloat16 has, and
    compressed (three eighths of the bytes); they load as float32.

    Raises ModelError for another suffix, an `info` that does not describe the model, or a weight that float16
    cannot hold.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ModelError(f"{path}: a model is saved as .keras, not {path.suffix or 'without a suffix'}.")
    outputs = model.output if isinstance(model.output, dict) else {}
    if missing := [head for head in info.heads if head not in outputs]:
        raise ModelError(f"{path}: the model has no output {', '.join(missing)}; it has {list(outputs)}.")
    # A new model around the same layers: without subclass, optimizer and whatever hangs on other outputs.
    plain = keras.Model(model.input, {head: outputs[head] for head in info.heads}, name=model.name)
    if (size := describe(plain)["size"]) != info.size:
        raise ModelError(f"{path}: the information says size {info.size}; the model's is {size}.")
    descriptor, temporary = tempfile.mkstemp(suffix=".keras", prefix=f".{path.stem}-", dir=path.parent)
    os.close(descriptor)
    try:
        plain.save(temporary)
        _finish_archive(Path(temporary), info, float16)
        os.chmod(temporary, 0o644)  # mkstemp's 600 is meant for secrets
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _finish_archive(path: Path, info: ModelInfo, float16: bool) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = with_policy(json.loads(members["config.json"]), "float32")
    members["config.json"] = json.dumps(config).encode()
    if float16:
        members["model.weights.h5"] = _halve_weights(members["model.weights.h5"])
    record = {"schema": INFO_SCHEMA, **dataclasses.asdict(info)}
    if info.pixels == PIXELS[0]:
        del record["pixels"]  # versions that know of no other read the file as well
    members[INFO_MEMBER] = json.dumps(record, indent=1).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if len(data) < STORED else zipfile.ZIP_STORED)


def with_policy(config: Any, policy: str) -> Any:
    """A copy of a Keras configuration with every layer's policy replaced by `policy`, such as "float64"."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {"name": policy}}
        return {key: with_policy(value, policy) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(with_policy(value, policy) for value in config)
    return config


def _halve_weights(content: bytes) -> bytes:
    """The same HDF5 file with its float32 arrays in float16, compressed, and the kernels among them rounded."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(content), "r") as source, h5py.File(buffer, "w") as target:

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group):
                made = target.require_group(name)
            else:
                values, packing = item[()], {}
                if item.dtype == np.float32:
                    if not np.abs(values).max(initial=0.0) <= np.finfo(np.float16).max:
                        raise ModelError(
                            f"Weight {name} holds values that float16 cannot (over 65504, or NaN): save it as float32."
                        )
                    values = values.astype(np.float16)
                    if values.ndim > 1 and values.size:
                        packing = {"chunks": values.shape, **COMPRESSED}
                    if values.ndim in KERNELS:
                        values = _eight_bits(values)
                made = target.create_dataset(name, data=values, **packing)
            made.attrs.update(item.attrs)

        source.visititems(copy)
        target.attrs.update(source.attrs)
    return buffer.getvalue()


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """float16 values rounded to eight significant bits, ties to even: the bits left out are zeros, which compress."""
    dropped = np.finfo(np.float16).nmant + 1 - 8
    bits = values.view(np.uint16).astype(np.uint32)  # a carry out of the mantissa is the next exponent, as it should be
    bits += (1 << dropped - 1) - 1 + (bits >> dropped & 1)
    rounded = (bits >> dropped << dropped).astype(np.uint16).view(np.float16)
    return np.where(np.isfinite(rounded), rounded, values)  # what would round up to infinity stays as it is


def describe(model: keras.Model) -> dict:
    """{"size": int, "heads": tuple} of a model; raises ModelError when it is not an ExpNet."""
    inputs = model.inputs
    outputs = model.output if isinstance(model.output, dict) else {}
    shape = tuple(inputs[0].shape)
    if len(inputs) != 1 or inputs[0].name != "image" or inputs[0].dtype != "uint8" or shape[3:] != (3,):
        got = ", ".join(f"{t.name} {t.dtype} {list(t.shape)}" for t in inputs)
        raise ModelError(f"Input {got}; accepted is one input, image uint8 [None, S, S, 3].")
    if not outputs or any(HEADS.get(name) != t.shape[-1] for name, t in outputs.items()):
        got = str({name: list(t.shape) for name, t in outputs.items()} or "not named")
        raise ModelError(f"Outputs are {got}; accepted are named outputs of width {HEADS}.")
    return {"size": shape[1], "heads": tuple(h for h in HEADS if h in outputs)}


def _check_archive(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such model file.")
    if path.suffix != ".keras" or not path.is_file():
        raise ModelError(f"{path}: not a .keras file.")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            missing = {"config.json", "model.weights.h5"} - set(archive.namelist())
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        raise ModelError(f"{path}: not a .keras archive, or a truncated one.") from None
    if damaged:
        raise ModelError(f"{path}: the archive is damaged in {damaged}.")
    if missing:
        raise ModelError(f"{path}: the archive has no {' and no '.join(sorted(missing))}.")


def load_model(path: str | os.PathLike) -> keras.Model:
    """Load a .keras file in safe mode, not compiled.

    Raises FileNotFoundError, or ModelError in one sentence: not a .keras archive, damaged, or not an ExpNet.
    """
    path = Path(path)
    _check_archive(path)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        # Keras raises many types here, with a page of text: the first line says what happened.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path}: Keras cannot load it in safe mode: {reason}") from error
    try:
        describe(model)
    except (ModelError, AttributeError, TypeError) as error:
        raise ModelError(f"{path}: not an ExpNet model. {error}") from None
    return model


def read_info(path: str | os.PathLike) -> ModelInfo:
    """Read what a .keras file says about itself, without building the network.

    Raises FileNotFoundError, or ModelError when the file was not written by `save_model`.
    """
    path = Path(path)
    _check_archive(path)
    with zipfile.ZipFile(path) as archive:
        if INFO_MEMBER not in archive.namelist():
            raise ModelError(f"{path}: no {INFO_MEMBER} inside; save it with expnet_tf.network.save_model.")
        text = archive.read(INFO_MEMBER)
    try:
        record = json.loads(text)
        if record.pop("schema") != INFO_SCHEMA:
            raise ModelError(f"{path}: {INFO_MEMBER} is not of schema {INFO_SCHEMA}, the one this version reads.")
        record["heads"] = tuple(record["heads"])
        info = ModelInfo(**record)
        if info.pixels not in PIXELS:
            known = ", ".join(PIXELS)
            raise ModelError(f"{path}: it takes the pixels {info.pixels!r}; this version knows {known}.")
        return info
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path}: {INFO_MEMBER} cannot be read: {error}") from None
