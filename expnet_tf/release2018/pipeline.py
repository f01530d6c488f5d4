"""The program of the release: a photo and a box -> shape, expression and pose -> a posed mesh of the Basel model.

What it computes is what main_ExpShapePoseNet.py computed, in batches of any size. Keras only, so any backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from expnet_tf.files import write_whole
from expnet_tf.image import ImageError, read_image
from expnet_tf.inputs import Problem
from expnet_tf.morphable import MorphableModel
from expnet_tf.network import EXPRESSION, IDENTITY, TEXTURE, ModelError, load_model, read_info
from expnet_tf.release2018 import ReleaseError, pixels, pose
from expnet_tf.release2018.ply import PlyWriter
from expnet_tf.release2018.table import Row

HEADS = {"expression": ("expression",), "shape": ("identity", "texture"), "pose": ("pose",)}
SUFFIX = "_Shape_Expr_Pose.ply"

Codes = dict[str, np.ndarray]
"""{head: float32 [n, width]}: expression 29, identity 99, texture 99 (sigma), pose 6 (our frame)."""


@dataclass
class Summary:
    """What became of the rows."""

    written: int = 0
    failed: int = 0


class Pipeline:
    """The three networks and the face model. Make it with `load`."""

    def __init__(self, networks: dict[str, keras.Model], face_model: MorphableModel, colors: bool = False) -> None:
        """networks: those of HEADS; colors: meshes with the model's texture. Raises ReleaseError."""
        self.face_model, self.colors = face_model, colors
        widths = (len(face_model.identity_basis), len(face_model.expression_basis))
        if widths[0] < IDENTITY or widths[1] < EXPRESSION:
            raise ReleaseError(
                f"The face model has {widths[0]} identity and {widths[1]} expression components; "
                f"at least {IDENTITY} and {EXPRESSION} are expected."
            )
        texture = face_model.texture_basis
        if colors and (texture is None or len(texture) < TEXTURE):
            raise ReleaseError(f"The face model has no texture of {TEXTURE} components, so meshes cannot have colours.")
        # From the pixels as floats: the bilinear step gives fractions, which a uint8 input would round.
        self._from_floats = {
            name: keras.Model(network.get_layer("mean_image").input, network.output, name=network.name)
            for name, network in networks.items()
        }
        self._ply = PlyWriter(face_model.triangles, face_model.n_vertices, colors)

    @classmethod
    def load(cls, folder: Path, face_model: MorphableModel, colors: bool = False) -> Pipeline:
        """From the folder that `expnet import-2018` wrote. Raises ReleaseError, ModelError, FileNotFoundError."""
        networks = {}
        for name, heads in HEADS.items():
            path = folder / f"{name}.keras"
            info = read_info(path)
            if info.heads != heads or info.pixels != "release2018":
                raise ReleaseError(
                    f"{path}: {info.id} has the heads {', '.join(info.heads)} and takes the pixels {info.pixels}; "
                    f"{', '.join(heads)} and release2018 are expected."
                )
            networks[name] = load_model(path)
        return cls(networks, face_model, colors)

    def codes(self, crops: np.ndarray) -> Codes:
        """uint8 RGB [n, 227, 227, 3], as of `pixels.crop227` -> what the networks say of them, any n from 1 on.

        Raises ModelError where an answer is not finite.
        """
        small = pixels.legacy_bilinear(crops, 224)
        codes: Codes = {}
        for name, network in self._from_floats.items():
            outputs = network.predict_on_batch(crops.astype(np.float32) if name == "pose" else small)
            codes |= {head: np.asarray(outputs[head]) for head in HEADS[name]}
        for head, values in codes.items():
            if not np.isfinite(values).all():
                raise ModelError(f"The {head} is not finite for some faces; the weights of its network are broken.")
        return codes

    def vertices(self, codes: Codes) -> np.ndarray:
        """The posed meshes, float64 [n, v, 3], mm, where the release puts them (see pose.py)."""
        identity = _wide(codes["identity"], len(self.face_model.identity_basis))
        expression = _wide(codes["expression"], len(self.face_model.expression_basis))
        return pose.place(self.face_model.decode(identity, expression), codes["pose"])

    def ply(self, codes: Codes) -> list[bytes]:
        """The meshes as files."""
        if not self.colors:
            return [self._ply.encode(mesh) for mesh in self.vertices(codes)]
        assert self.face_model.texture_basis is not None
        colors = self.face_model.texture(_wide(codes["texture"], len(self.face_model.texture_basis)))
        return [self._ply.encode(*pair) for pair in zip(self.vertices(codes), colors, strict=True)]


def _wide(codes: np.ndarray, width: int) -> np.ndarray:
    """Codes [n, k] with zeros for the components that the networks do not know: the model may have more."""
    return np.pad(codes.astype(np.float64), ((0, 0), (0, width - codes.shape[1])))


def run(
    pipeline: Pipeline,
    rows: Iterable[Row | Problem],
    out: Path,
    batch: int,
    jpeg: bool,
    report: Callable[[str], None],
    progress: Callable[[], object] = lambda: None,
    summary: Summary | None = None,
) -> Summary:
    """Write OUT/<ID>_Shape_Expr_Pose.ply for every row; a row that fails is reported, and the others go on.

    `batch` faces go through the networks at once; `jpeg`: through a JPEG file first, as in the release. Memory does
    not grow with the number of rows. Raises ModelError, see `Pipeline.codes`.
    """
    summary = Summary() if summary is None else summary
    held: list[tuple[Row, np.ndarray]] = []

    def fail(text: str) -> None:
        summary.failed += 1
        report(text)
        progress()

    def flush() -> None:
        if not held:
            return
        meshes = pipeline.ply(pipeline.codes(np.stack([crop for _, crop in held])))
        for (row, _), mesh in zip(held, meshes, strict=True):
            path = out / f"{row.id}{SUFFIX}"
            try:
                write_whole(path, mesh)
            except OSError as error:
                fail(f"{path} cannot be written ({error.strerror or error}).")
                continue
            summary.written += 1
            progress()
        held.clear()

    out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if isinstance(row, Problem):
            fail(row.text)
            continue
        try:
            crop = pixels.crop227(read_image(row.path), row.box)
        except ImageError as error:
            said = str(error)
            fail(said if said.startswith(str(row.path)) else f"{row.path}: {said}")
            continue
        held.append((row, pixels.through_jpeg(crop) if jpeg else crop))
        if len(held) == batch:
            flush()
    flush()
    return summary
