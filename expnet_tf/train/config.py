"""The configs by name. A config is what training does; what it is done to (data, backbone, target) is a `Job`.

Each function states the command, what it costs and what to expect. `expnet train` overrides single fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from expnet_tf.train.augment import Jitter
from expnet_tf.train.looks import Looks

PRECISIONS = ("float32", "mixed_bfloat16")
TARGETS = {
    "expression": ("expression",),
    "identity": ("identity",),
    "pose": ("pose",),
    "all": ("expression", "identity", "pose"),
}


@dataclass(frozen=True)
class Config:
    """How to train. A None switches the thing off that it belongs to."""

    name: str
    target: str  # a key of TARGETS
    batch_size: int
    epochs: int  # with a plateau: at most
    learning_rate: float  # at the start, or the peak after a warm-up
    momentum: float | None  # SGD's. None: AdamW
    l2: float | None  # Caffe's weight_decay: l2 / 2 |w|^2 is added to the loss, over every trained number
    weight_decay: float | None  # AdamW's own, decoupled
    ema: float | None  # momentum of the average of the weights that is validated and exported
    patience: int | None  # epochs without a better validation loss before the rate is cut. None: cosine to 1%
    landmarks: bool  # losses in what the face does, and two auxiliary landmark heads; else half the squared error
    crop_factor: float | None  # the network's crop over the box. None: the packed image as it is
    jitter: Jitter | None  # random crops. None: always the same
    looks: Looks | None  # random tone, colour, sharpness and covers. None: the pixels as they are
    precision: str  # one of PRECISIONS


def paper() -> Config:
    """The recipe of Chang et al. 2018, section III: half the squared error, SGD, plain images.

        expnet pack LABELS --source CASIA-WebFace --out PACKED --size 224
        expnet train --data PACKED --out RUN --config paper --backbone resnet101

    Loss 0.5 sum (z - z*)^2, mean over the batch; batch 144, momentum 0.9, weight decay 5e-4 as Caffe means it (an L2
    penalty in the loss, on all that is trained: kernels, biases, the scales and shifts of batch normalisation);
    rate 1e-3, divided by 10 each time the validation loss saturates, until that no longer helps. No augmentation; the
    training set's mean image is taken off. The paper leaves open when a loss counts as saturated: here three
    epochs without a new best, and a cut that brings none within three more ends the run.

    Cost: not known for CASIA (500,000 images); a ResNet-101 at batch 144 needs more than 24 GiB of memory.
    """
    return Config(
        name="paper",
        target="expression",
        batch_size=144,
        epochs=200,
        learning_rate=1e-3,
        momentum=0.9,
        l2=5e-4,
        weight_decay=None,
        ema=None,
        patience=3,
        landmarks=False,
        crop_factor=None,
        jitter=None,
        looks=None,
        precision="float32",
    )


def modern() -> Config:
    """The default: losses in what the face does, landmark heads, random crops.

        expnet pack data/s1 data/s2 --out PACKED
        expnet train --data PACKED --out RUN --epochs 8 --precision mixed_bfloat16

    AdamW with a cosine rate after a warm-up, an average of the weights, crops of 1.25 boxes drawn anew each time
    (place, size, roll, mirror) with other looks (tone, colour, sharpness, covers) and the losses of losses.py. Why
    each of it: docs/experiments.md.
    """
    return Config(
        name="modern",
        target="all",
        batch_size=64,
        epochs=12,
        learning_rate=1.5e-3,
        momentum=None,
        l2=None,
        weight_decay=0.02,
        ema=0.995,
        patience=None,
        landmarks=True,
        crop_factor=1.25,
        jitter=Jitter(),
        looks=Looks(),
        precision="float32",
    )


CONFIGS: dict[str, Callable[[], Config]] = {"paper": paper, "modern": modern}


@dataclass(frozen=True)
class Job:
    """One run."""

    data: tuple[Path, ...]  # folders of expnet pack
    out: Path  # the run's own folder: logs, checkpoint, model, report
    config: Config
    backbone: str = "compact"  # a key of backbones.BACKBONES
    size: int | None = None  # side of the network's input, px. None: the backbone's own
    steps: int | None = None  # in all, in place of the config's epochs
    seed: int = 0  # of weights, order and crops
    initial: Path | None = None  # .keras file to start from
    teacher: Path | None = None  # .keras file of a network to learn from, beside the labels
    checkpoint_every: int = 500  # steps; besides at each epoch's end
    licence: str = "NOASSERTION"  # SPDX identifier of the weights; this one says that nobody has decided
    version: str = "0.1"  # of the model, written into its file
    float16: bool = False  # the model's file in half precision


class JobError(ValueError):
    """A run that cannot begin as it was asked for: one sentence."""


class TrainingError(RuntimeError):
    """A run that cannot go on: one sentence, with the last good checkpoint."""
