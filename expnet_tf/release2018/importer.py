"""`expnet import-2018`: the release's checkpoints and statistics to .keras files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from expnet_tf.models import sha256
from expnet_tf.network import ModelInfo, save_model, with_heads
from expnet_tf.release2018 import ReleaseError
from expnet_tf.release2018.arrays import read_array
from expnet_tf.release2018.checkpoint import Checkpoint, find
from expnet_tf.release2018.networks import ALEXNET, RESNET101
from expnet_tf.release2018.pixels import FACTOR
from expnet_tf.release2018.variables import alexnet_shapes, fill_alexnet, fill_resnet, resnet_shapes

NETWORKS = ("expression", "shape", "pose")
CHECKPOINTS = {
    "expression": "ini_exprNet_model.ckpt",
    "shape": "ini_ShapeTextureNet_model.ckpt",
    "pose": "model_0_1.0_1.0_1e-07_1_16000.ckpt",
}
SOURCES = {
    "expression": "ExpNet, FG 2018",
    "shape": "3DMM-CNN, CVPR 2017",
    "pose": "FacePoseNet, ICCV Workshops 2017",
}
MEAN_IMAGE, UNUSED_MEAN = "3DMM_shape_mean.npy", "3DMM_expr_mean.npy"
POSE_IMAGES, POSE_LABELS = "perturb_Oxford_train_imgs_mean.npz", "perturb_Oxford_train_labels_mean_std.npz"


@dataclass(frozen=True)
class Sources:
    """Where the release's files lie. None: the network is not imported, or the file is found in the folders."""

    expression: Path | None = None  # folders, or checkpoints
    shape: Path | None = None
    pose: Path | None = None
    mean_image: Path | None = None  # 3DMM_shape_mean.npy, of the two ResNets
    pose_images: Path | None = None  # perturb_Oxford_train_imgs_mean.npz
    pose_labels: Path | None = None  # perturb_Oxford_train_labels_mean_std.npz

    @property
    def places(self) -> dict[str, Path]:
        """{network: its place} of those that are to be imported."""
        given = {name: getattr(self, name) for name in NETWORKS}
        return {name: place for name, place in given.items() if place is not None}


def import_networks(sources: Sources, out: Path, say: Callable[[str], None] = print) -> dict[str, Path]:
    """Write expression.keras, shape.keras and pose.keras, those that were asked for, into the folder `out`.

    Everything is found, compared by name and shape, and read before the first file is written. `say` gets a line
    about what was left aside in a checkpoint, and about each file.

    Returns {network: file}. Raises ReleaseError, ModelError and OSError.
    """
    if not sources.places:
        raise ReleaseError(f"No network is named; at least one of {', '.join(NETWORKS)} is expected.")
    prefixes = {name: find(place, CHECKPOINTS[name]) for name, place in sources.places.items()}
    checked = {name: _prepare(name, prefix, sources, say) for name, prefix in prefixes.items()}
    models = {name: build() for name, build in checked.items()}
    out.mkdir(parents=True, exist_ok=True)
    return {name: _write(name, prefixes[name], model, out, say) for name, model in models.items()}


def _prepare(name: str, prefix: Path, sources: Sources, say: Callable[[str], None]) -> Callable[[], keras.Model]:
    """Check all that belongs to a network; returns what reads its weights."""
    checkpoint = Checkpoint(prefix)
    if name == "pose":
        return _prepare_pose(checkpoint, sources, say)
    scope, heads = ("exprCNN", ("expression",)) if name == "expression" else ("shapeCNN", ("identity", "texture"))
    mean = mean_image(_mean_image_file(sources))
    model = with_heads(RESNET101, f"release2018_{name}", heads, mean_image=mean)
    _leave(checkpoint, checkpoint.check(resnet_shapes(model, scope)), say)

    def build() -> keras.Model:
        fill_resnet(model, scope, checkpoint.take)
        assert not checkpoint.untaken
        return model

    return build


def _prepare_pose(checkpoint: Checkpoint, sources: Sources, say: Callable[[str], None]) -> Callable[[], keras.Model]:
    folders = _folders(sources, "pose")
    images = sources.pose_images or _file(folders, POSE_IMAGES, "--pose-images")
    labels = sources.pose_labels or _file(folders, POSE_LABELS, "--pose-labels")
    vector = read_array(images, "train_mean_vec", (3,))
    if vector.min() < 0 or vector.max() > 1:
        raise ReleaseError(f"{images}: train_mean_vec reaches beyond 0..1, which its pixels are in.")
    statistics = {
        "mean": read_array(labels, "mean_labels", (6,)),
        "std": read_array(labels, "std_labels", (6,)),
    }
    if statistics["mean"][5] >= 0:
        say(
            f"{labels}: the mean t_z is {statistics['mean'][5]:g} mm, and our camera sees what has a negative one: "
            "meshes will lie where the release puts them, and not over the photos."
        )
    mean = np.broadcast_to(255 * vector[::-1], (ALEXNET.size, ALEXNET.size, 3))
    model = with_heads(ALEXNET, "release2018_pose", ("pose",), mean_image=mean)
    _leave(checkpoint, checkpoint.check(alexnet_shapes(model)), say)

    def build() -> keras.Model:
        fill_alexnet(model, checkpoint.take, statistics)
        assert not checkpoint.untaken
        return model

    return build


def mean_image(path: Path) -> np.ndarray:
    """The release's mean image, 3 x 224 x 224 in BGR -> float64 [224, 224, 3] in RGB, 0..255. Raises ReleaseError."""
    side = RESNET101.size
    mean = read_array(path, None, (3, side, side)).transpose(1, 2, 0)[..., ::-1]
    if mean.min() < 0 or mean.max() > 255:
        raise ReleaseError(f"{path}: its values reach beyond 0..255; a mean image is expected.")
    return mean


def _leave(checkpoint: Checkpoint, names: Sequence[str], say: Callable[[str], None]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        say(f"{checkpoint.prefix}: left aside, being of its training: {', '.join(names[:3])}{more}.")


def _write(name: str, prefix: Path, model: keras.Model, out: Path, say: Callable[[str], None]) -> Path:
    path = out / f"{name}.keras"
    info = ModelInfo(
        name=f"release2018-{name}",
        version="1.0",
        backbone="alexnet" if name == "pose" else "caffe_resnet101",
        size=model.input.shape[1],
        crop_factor=FACTOR,
        heads=tuple(model.output),
        training=f"imported from {prefix.name} (sha256 {_digest(prefix)[:12]}) of {SOURCES[name]}",
        licence="NOASSERTION",  # whatever the user's files carry; nothing in them says
        pixels="release2018",
    )
    save_model(model, path, info)
    say(f"{path}: {', '.join(info.heads)}, {model.count_params():,} numbers.")
    return path


def _digest(prefix: Path) -> str:
    """sha256 over the checkpoint's data, hexadecimal."""
    files = sorted(prefix.parent.glob(f"{prefix.name}.data-*")) or [prefix]
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest() if len(files) > 1 else sha256(files[0])


def _mean_image_file(sources: Sources) -> Path:
    return sources.mean_image or _file(_folders(sources, "shape", "expression"), MEAN_IMAGE, "--mean-image")


def _folders(sources: Sources, *names: str) -> list[Path]:
    """The folders of these networks, whether folders were given or checkpoints in them."""
    given = [sources.places[name] for name in names if name in sources.places]
    return [place if place.is_dir() else place.parent for place in given]


def _file(folders: Sequence[Path], name: str, option: str) -> Path:
    """Raises ReleaseError where none of the folders has it."""
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    searched = " or ".join(map(str, folders))
    unused = any((folder / UNUSED_MEAN).is_file() for folder in folders) and name == MEAN_IMAGE
    said = f" ({UNUSED_MEAN}, which is there, the release loads and never uses)" if unused else ""
    raise ReleaseError(f"{name} is not in {searched}{said}; give its place with {option} FILE.")
