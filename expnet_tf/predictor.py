"""The main road: a photo in, faces with expression, identity and pose out.

    predictor = expnet_tf.load()
    face = predictor.predict(expnet_tf.read_image("photo.jpg"))[0]
    face.blendshapes["mouthSmileLeft"], face.vertices(), face.project()

Keras only, so any Keras backend: nothing here imports TensorFlow by itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from expnet_tf import camera
from expnet_tf.detect import BlazeFace, Detector
from expnet_tf.image import ImageError, check_box, check_pixels, pixels
from expnet_tf.models import DEFAULT, resolve
from expnet_tf.morphable import MorphableModel, open_face
from expnet_tf.network import ModelError, ModelInfo, load_model, read_info

# The network runs on these numbers of faces only, the rest of a batch being blank: a compiling backend then
# compiles so many times and no more, and a single photo, the common case, pays for nothing it does not need.
BATCH_SIZES = (1, 4, 16, 32)

Found = tuple[Sequence[float], float | None]
"""A box (x, y, w, h) in px and its score; None where the box was given and not detected."""


def load(
    name_or_path: str | os.PathLike[str] = DEFAULT,
    detector: Detector | None = None,
    face_model: MorphableModel | None = None,
) -> Predictor:
    """Load a model.

    Args:
        name_or_path: a shipped model ("base", "compact") or the path of a .keras file written by `save_model`.
        detector: finds the faces where no box is given; None: BlazeFace, made when it is first needed.
        face_model: turns coefficients into meshes; None: the open face model, which shipped weights are for.

    Raises:
        ModelError: no such model, or a file that is damaged or not an ExpNet with an expression head.
    """
    path = resolve(name_or_path)
    return Predictor(load_model(path), read_info(path), detector, face_model)


@dataclass(frozen=True, eq=False, repr=False)
class Face:
    """One face of a photo. Photo px are those after EXIF rotation, x right and y down from the top left corner."""

    expression: np.ndarray  # float32 [29], sigma units
    identity: np.ndarray | None  # float32 [99], sigma units; None: the model has no identity head
    pose: np.ndarray | None  # float32 [6]: rotation vector (rad), translation (mm) at the nominal camera; or None
    box: tuple[float, float, float, float]  # x, y, w, h in px of the photo, detected or as given
    score: float | None  # of the detection, 0..1; None: the box was given
    square: tuple[int, int, int]  # x0, y0, side in px of the photo: what the network saw
    face_model: MorphableModel = field(default_factory=open_face)
    quality: float | None = None  # 0..1, how far to trust the expression; None: the model does not say

    @property
    def blendshapes(self) -> dict[str, float]:
        """{ARKit name: weight in 0..1}, 52 of them; gaze (8) and tongueOut are not seen and read 0.

        Empty with a face model that has no blendshapes."""
        if not self.face_model.has("blendshapes"):
            return {}
        weights = self.face_model.blendshapes(self.expression)
        return dict(zip(map(str, self.face_model.blendshape_names), weights.tolist(), strict=True))

    @property
    def triangles(self) -> np.ndarray:
        """int32 [t, 3] into `vertices()`, counter-clockwise."""
        return self.face_model.triangles

    @property
    def focal(self) -> float:
        """Focal length of the nominal camera, px of the photo."""
        return camera.NOMINAL_FOCAL * self.square[2]

    @property
    def center(self) -> tuple[float, float]:
        """Principal point of the nominal camera, (x, y) px of the photo: the centre of the square."""
        x0, y0, side = self.square
        return x0 + side / 2, y0 + side / 2

    def vertices(self) -> np.ndarray:
        """The face as a mesh: float64 [n, 3], mm, head frame (x right in a frontal photo, y up, z to the viewer).

        In the photo's expression; of mean shape where the model has no identity head.
        """
        return self.face_model.decode(self.identity, self.expression)

    def project(self, points: np.ndarray | None = None) -> np.ndarray:
        """Where points of the head appear: float64 [n, 2], px of the photo, some perhaps outside of it.

        points float [n, 3], mm, head frame; None: `vertices()`. Raises ModelError where the model has no
        pose head.
        """
        if self.pose is None:
            raise ModelError("This model has no pose head, so its faces cannot be projected onto the photo.")
        points = self.vertices() if points is None else np.asarray(points, np.float64)
        return camera.project(points, self.pose, self.focal, self.center)

    def __repr__(self) -> str:
        box = ", ".join(f"{value:.1f}" for value in self.box)
        score = "given" if self.score is None else f"{self.score:.3f}"
        strongest = sorted(self.blendshapes.items(), key=lambda item: -item[1])[:3]
        trust = "" if self.quality is None else f" quality={self.quality:.2f},"
        return f"Face(box=({box}), score={score},{trust} {', '.join(f'{k}={v:.2f}' for k, v in strongest)}, ...)"


class Predictor:
    """A network, the detector before it and the face model behind it. Make it with `load`."""

    def __init__(
        self,
        model: keras.Model,
        info: ModelInfo,
        detector: Detector | None = None,
        face_model: MorphableModel | None = None,
    ) -> None:
        """Raises ModelError when the model has no expression head, or one that the face model does not fit."""
        if "expression" not in info.heads:
            raise ModelError(f"{info.id} has the heads {', '.join(info.heads)}; an expression head is expected.")
        self.model, self.info = model, info
        self.face_model = open_face() if face_model is None else face_model
        self._detector = detector
        bases = {"expression": self.face_model.expression_basis, "identity": self.face_model.identity_basis}
        for head in (head for head in bases if head in info.heads):
            width, expected = model.output[head].shape[-1], len(bases[head])
            if width != expected:
                raise ModelError(f"{info.id} gives {width} {head} coefficients; the face model has {expected}.")

    @property
    def detector(self) -> Detector:
        """The detector, made when it is first asked for."""
        if self._detector is None:
            self._detector = BlazeFace()
        return self._detector

    def predict(self, image: np.ndarray, box: Sequence[float] | None = None) -> list[Face]:
        """All faces of a photo, largest first, or the one in `box`.

        Args:
            image: uint8 RGB [H, W, 3], as from `read_image`.
            box: (x, y, w, h) in px, forehead to chin and ear to ear; skips detection.

        Returns:
            The faces; an empty list when none is found. One face when a box is given.

        Raises:
            ImageError: the image is no such array, or the box is malformed or lies outside the photo.
        """
        return self.predict_batch([image], [box])[0]

    def predict_batch(
        self, images: Sequence[np.ndarray], boxes: Sequence[Sequence[float] | None] | None = None
    ) -> list[list[Face]]:
        """`predict` for several photos, with their faces in common batches.

        Args:
            images: uint8 RGB [H, W, 3] each, of any sizes.
            boxes: one box or None a photo; None: all photos are searched.

        Raises:
            ImageError: see `predict`; the message counts the images from 0.
        """
        boxes = [None] * len(images) if boxes is None else list(boxes)
        if len(boxes) != len(images):
            raise ImageError(f"{len(boxes)} boxes came with {len(images)} images; one a photo is expected.")
        found: list[list[Found]] = []
        for number, (image, box) in enumerate(zip(images, boxes, strict=True)):
            name = f"image {number}" if len(images) > 1 else "image"
            check_pixels(image, name)
            if box is None:
                found.append([(face.box, face.score) for face in self.detector.detect(image)])
            else:
                found.append([(check_box(box, name), None)])
        crops = [self.crops(image, [box for box, _ in some]) for image, some in zip(images, found, strict=True)]
        return self.predict_crops(crops, found)

    def crops(self, image: np.ndarray, boxes: Sequence[Sequence[float]]) -> np.ndarray:
        """What the network sees of these boxes: uint8 RGB [n, S, S, 3]; S, crop factor and pixels are the model's.

        Raises ImageError: see `image.crop`.
        """
        size, factor = self.info.size, self.info.crop_factor
        cut = [pixels(self.info.pixels).crop(image, box, size, factor) for box in boxes]
        return np.stack(cut) if cut else np.zeros((0, size, size, 3), np.uint8)

    def predict_crops(self, crops: Sequence[np.ndarray], found: Sequence[Sequence[Found]]) -> list[list[Face]]:
        """`predict_batch` from its second half on: the photos are no longer needed.

        Args:
            crops: for each photo uint8 RGB [n, S, S, 3], as from `crops`.
            found: for each photo its n faces as (box, score), such as a `Detection`.
        """
        if not any(map(len, crops)):
            return [[] for _ in crops]
        outputs = self.run(np.concatenate(list(crops)))
        rows = iter(range(sum(map(len, crops))))
        return [[self._face(outputs, next(rows), *one) for one in some] for some in found]

    def _face(self, outputs: dict[str, np.ndarray], row: int, box: Sequence[float], score: float | None) -> Face:
        heads = {head: values[row] for head, values in outputs.items()}
        square = pixels(self.info.pixels).crop_square(box, self.info.crop_factor)
        quality = float(heads["quality"][0]) if "quality" in heads else None
        return Face(
            heads["expression"], heads.get("identity"), heads.get("pose"), check_box(box), score, square,
            self.face_model, quality,
        )  # fmt: skip

    def run(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """The network alone: uint8 RGB [B, S, S, 3], any B -> {head: float32 [B, width]}.

        Raises ModelError where the answer is not finite: broken weights, which no caller should take for a face.
        """
        largest = BATCH_SIZES[-1]
        parts = [self._run_padded(crops[i : i + largest]) for i in range(0, len(crops), largest)]
        outputs = {head: np.concatenate([part[head] for part in parts]) for head in parts[0]}
        for head, values in outputs.items():
            if not np.isfinite(values).all():
                raise ModelError(f"The {head} that {self.info.id} gives is not finite; its weights are broken.")
        return outputs

    def warm_up(self) -> None:
        """Compile the network now, so that the first photos take no longer than the others."""
        for count in BATCH_SIZES[:2]:
            self.run(np.zeros((count, self.info.size, self.info.size, 3), np.uint8))

    def _run_padded(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        count = len(crops)
        room = next(size for size in BATCH_SIZES if size >= count)
        padded = np.concatenate([crops, np.zeros((room - count, *crops.shape[1:]), np.uint8)])
        outputs = self.model.predict_on_batch(padded)
        return {head: np.asarray(outputs[head])[:count] for head in self.info.heads}
