"""How labels are made: what the user asked for, and the opened tools that do it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from expnet_tf.data.fitting import BOUND
from expnet_tf.data.labelling import landmark_sources, poses, shapes
from expnet_tf.data.labelling.tables import TableError, TrueLabels, digest
from expnet_tf.detect import MODEL, BlazeFace, Detector
from expnet_tf.morphable import FaceModelError, MorphableModel, open_face

if TYPE_CHECKING:
    from expnet_tf.predictor import Predictor

CAMERAS = ("pinhole", "orthographic")
BOXES = ("detect", "labels")
JAW_DEGREES = 15.0


class RecipeError(ValueError):
    """What was asked for cannot be: one sentence."""


@dataclass(frozen=True)
class Recipe:
    """The arguments of a labelling run that its labels depend on. Paths are absolute."""

    landmarks: str = "dlib"  # landmark_sources.ACCEPTED
    shape: str = "network"  # shapes.ACCEPTED
    pose: str = "network"  # poses.ACCEPTED
    camera: str = "pinhole"  # of CAMERAS
    pool: str = "mean"  # of shapes.POOLS
    boxes: str = "detect"  # of BOXES
    jaw: float = JAW_DEGREES  # of yaw: from there on points 0-16 have no weight
    prior: float | None = None  # noise of a landmark, px of the image, for the Gaussian prior; None: the paper
    face_model: str | None = None  # path of a MorphableModel npz; None: the open face model


class Network:
    """A network of ours, loaded when it is first asked something: a process that only plans does not wait for it."""

    def __init__(self, name: str) -> None:
        """Raises RecipeError where there is no such model."""
        from expnet_tf.models import resolve
        from expnet_tf.network import ModelError, read_info

        try:
            self.path = resolve(name)
            self.info = read_info(self.path)
        except (ModelError, FileNotFoundError) as error:
            raise RecipeError(str(error)) from error

    @cached_property
    def predictor(self) -> Predictor:
        from expnet_tf.predictor import load

        return load(self.path)

    def describe(self) -> dict:
        info = self.info
        return {
            "model": info.id,
            "version": info.version,
            "sha256": digest(self.path),
            "size": info.size,
            "crop_factor": info.crop_factor,
        }


@dataclass(frozen=True)
class Tools:
    """A recipe's sources, opened. Not to be pickled: each process opens its own."""

    recipe: Recipe
    model: MorphableModel
    landmarks: landmark_sources.Landmarks
    shapes: shapes.Shapes
    poses: poses.Poses
    truth_boxes: TrueLabels | None
    detector: Detector
    networks: dict[str, Network]  # by the name in the recipe
    facts: dict  # what labels.json says of the recipe: every source with its version


@lru_cache(maxsize=2)
def open_tools(recipe: Recipe, source: Path | None) -> Tools:
    """Opens what a recipe names, once a process; source: the folder of a synthetic source, whose labels are true.

    Raises RecipeError in one sentence for a source that is not there or not what it should be.
    """
    _check(recipe)
    try:
        model = MorphableModel.from_file(recipe.face_model) if recipe.face_model else open_face()
        named = (recipe.landmarks, recipe.shape, recipe.pose, recipe.boxes)
        truth = TrueLabels(source) if source and "labels" in named else None
        landmarks = landmark_sources.open_landmarks(recipe.landmarks, truth)
        some_shapes = shapes.open_shapes(recipe.shape, truth, len(model.identity_basis))
        some_poses = poses.open_poses(recipe.pose, truth)
    except (TableError, FaceModelError) as error:
        raise RecipeError(str(error)) from error
    if recipe.boxes == "labels" and truth is None:
        raise RecipeError("--boxes labels needs a folder of expnet synth; this source has no true boxes")
    if recipe.pool == "confidence" and not landmarks.has_confidence:
        raise RecipeError(f"--pool confidence needs landmarks with a confidence; {recipe.landmarks} has none")
    networks = _networks([(some_shapes.network, "identity"), (some_poses.network, "pose")])
    boxes = truth if recipe.boxes == "labels" else None
    facts = {
        "camera": recipe.camera,
        "face_model": model.provenance.get("name", ""),
        "face_model_version": model.provenance.get("version", ""),
        **({"face_model_sha256": digest(Path(recipe.face_model))} if recipe.face_model else {}),
        "landmarks": landmarks.describe(),
        "shape": {**some_shapes.describe(), "pool": recipe.pool},
        "pose": some_poses.describe(),
        "boxes": {"kind": "labels"} if boxes else {"kind": "BlazeFace", "sha256": digest(MODEL)},
        "networks": {name: network.describe() for name, network in networks.items()},
        **({"true_labels": truth.describe()} if truth else {}),
        "equation": {
            "bound": BOUND,
            "prior_px": recipe.prior,
            "jaw_degrees": None if landmarks.jaw_is_fixed else recipe.jaw,
            "pose": "solved with the expression" if some_poses.solved else "given",
        },
    }
    return Tools(recipe, model, landmarks, some_shapes, some_poses, boxes, BlazeFace(), networks, facts)


def _check(recipe: Recipe) -> None:
    for name, value, accepted in (
        ("--camera", recipe.camera, CAMERAS), ("--pool", recipe.pool, shapes.POOLS), ("--boxes", recipe.boxes, BOXES),
    ):  # fmt: skip
        if value not in accepted:
            raise RecipeError(f"{name} is {value!r}; accepted: {', '.join(accepted)}")
    if recipe.prior is not None and not 0 < recipe.prior < 1e6:
        raise RecipeError(f"--prior is {recipe.prior}; the noise of a landmark in px, above 0, is expected")
    if not 0 <= recipe.jaw <= 180:
        raise RecipeError(f"--jaw is {recipe.jaw}; degrees of yaw, 0 to 180, are expected")


def _networks(wanted: list[tuple[str | None, str]]) -> dict[str, Network]:
    """The networks of (name, head), each of which must have its head. Raises RecipeError."""
    # One thread a process: the processes fill the cores. Before anything imports TensorFlow.
    for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(variable, "1")
    networks: dict[str, Network] = {}
    for name, head in wanted:
        if name is None:
            continue
        if name not in networks:
            networks[name] = Network(name)
        if head not in (heads := networks[name].info.heads):
            raise RecipeError(f"network:{name} has the heads {', '.join(heads)}; {head} is needed")
    return networks
