"""What is trained: the network with its landmark heads, the losses, the optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import keras
import numpy as np

from expnet_tf.morphable import open_face
from expnet_tf.network import POSE_STD, ExpNet, load_model
from expnet_tf.train.config import TARGETS, Config, Job, JobError
from expnet_tf.train.heads import with_landmarks
from expnet_tf.train.losses import (
    Displacement,
    HalfSquare,
    PointError,
    PoseError,
    ZoneShare,
    displacement_root,
    vertex_weights,
)

# Of the losses of config `modern`; each is of the order of 1 at the start, identity's in mm.
WEIGHTS = {"expression": 3.0, "identity": 0.15, "pose": 0.3, "points": 5.0, "seen": 20.0}
WARM_UP = 300  # steps, at most a tenth of the run


def build(job: Job) -> keras.Model:
    """The network of a job with random weights, or those of `job.initial`, and its landmark heads.

    Raises JobError, or ModelError for an unreadable file.
    """
    network = ExpNet(job.backbone, TARGETS[job.config.target], job.size)
    if job.initial:
        _start_from(network, job.initial)
    return with_landmarks(network) if job.config.landmarks else network


def _start_from(network: keras.Model, path: Path) -> None:
    """Copy the weights of all layers that both networks have, mean image and common heads included.

    From a network of another crop, what has a weight a place of the map (mean image, the kernels that read the last
    map) is drawn to the new size.
    """
    other = load_model(path)
    known = {layer.name: layer for layer in other.layers if layer.weights}
    own = [layer for layer in network.layers if layer.weights]
    fits = [layer for layer in own if layer.name in known and _fits(layer, known[layer.name])]
    if len(fits) < 0.5 * len(own):
        raise JobError(
            f"{path} is {other.name} with {other.input.shape[1]} px; {network.name} with "
            f"{network.input.shape[1]} px has {len(own)} layers with weights, and only {len(fits)} of them fit."
        )
    for layer in fits:
        values = known[layer.name].get_weights()
        layer.set_weights([_drawn_to(v, w.shape) for v, w in zip(values, layer.weights, strict=True)])


def _fits(layer: keras.Layer, other: keras.Layer) -> bool:
    """Whether the weights differ in the sides of a map at most, and that only where the network reads a whole map."""
    mine, theirs = ([tuple(w.shape) for w in which.weights] for which in (layer, other))
    if layer.name in ("mean_image", "features_conv"):
        mine, theirs = ([shape[-2:] if len(shape) == 4 else shape[-1:] for shape in both] for both in (mine, theirs))
    return mine == theirs


def _drawn_to(value: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A kernel [h, w, in, out] or an image [h, w, c] at another h and w; the sum of a kernel stays as it is."""
    if value.shape == tuple(shape):
        return value
    height, width = shape[:2]
    flat = value.reshape(*value.shape[:2], -1)
    drawn = np.stack(
        [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in np.moveaxis(flat, -1, 0)], -1
    )
    share = np.prod(value.shape[:2]) / (height * width) if value.ndim == 4 else 1.0
    return (drawn * share).reshape(shape)


def losses(config: Config) -> tuple[dict[str, keras.losses.Loss], dict[str, float]]:
    """({output: loss}, {output: its weight}) of a config."""
    heads = TARGETS[config.target]
    if not config.landmarks:
        scales = {"pose": POSE_STD}
        return {head: HalfSquare(scales.get(head, (1.0,))) for head in heads}, dict.fromkeys(heads, 1.0)
    face = open_face()
    made: dict[str, keras.losses.Loss] = {
        "expression": ZoneShare(face),
        "identity": Displacement(displacement_root(face.identity_basis, vertex_weights(face))),
        "pose": PoseError(),
        "points": PointError(),
        "seen": PointError(),
    }
    names = (*heads, "points", "seen")
    return {name: made[name] for name in names}, {name: WEIGHTS[name] for name in names}


class Averaging(keras.optimizers.AdamW):
    """AdamW whose average of the weights stays beside them."""

    def finalize_variable_values(self, var_list):
        """Nothing: the end of `fit` is the end of an epoch here, and training goes on from the weights themselves."""

    def put_average(self, variables):
        super().finalize_variable_values(variables)


def compile_for(model: keras.Model, config: Config, steps: int) -> None:
    """Give the model the optimizer and losses of a config, for a run of `steps` in all; builds all variables."""
    optimizer: keras.optimizers.Optimizer
    if config.momentum is not None:
        optimizer = keras.optimizers.SGD(config.learning_rate, config.momentum)
    else:
        rate: float | keras.optimizers.schedules.LearningRateSchedule = config.learning_rate
        if config.patience is None:
            rate = keras.optimizers.schedules.CosineDecay(
                0.0, steps, alpha=0.01, warmup_target=config.learning_rate, warmup_steps=min(WARM_UP, steps // 10)
            )
        optimizer = Averaging(
            rate, weight_decay=config.weight_decay, use_ema=config.ema is not None, ema_momentum=config.ema or 0.99
        )
        # What has no direction in input space is not pulled to zero.
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if config.l2:
        # On the variables, not on the layers: the file that is saved then says nothing of it. Keras' L2 has no half.
        for variable in model.trainable_variables:
            variable.regularizer = keras.regularizers.L2(config.l2 / 2)
    made, weights = losses(config)
    model.compile(optimizer, loss=made, loss_weights=weights, jit_compile=_jit())
    optimizer.build(model.trainable_variables)
    # Builds the losses and the means that `fit` reports, so that a checkpoint can be put into them.
    size = model.input.shape[1]
    outputs = model(np.zeros((1, size, size, 3), np.uint8), training=False)
    model.compute_loss(y={name: keras.ops.zeros_like(outputs[name]) for name in made}, y_pred=outputs)


def _jit() -> bool | str:
    """XLA where it pays: on GPUs and always on JAX. On CPUs it took 1.8 times as long for the compact network."""
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    return "auto" if tf.config.list_physical_devices("GPU") else False


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """The model with the average of its weights, where its optimizer keeps one."""
    if not model.optimizer.use_ema:
        yield
        return
    own = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    model.optimizer.put_average(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, own, strict=True):
            variable.assign(value)
