"""The classical way to z: 68 landmarks, then pose, then eq. (2), on the same 3D morphable model as the network.

`dlib` is the plain eq. (2): mean face shape, pose from it, no prior. `dlib-prior` solves for identity and pose as
well, under the Gaussian prior of the face model's stored variances. Both take 51 of the 68 points: the jaw (0-16) is
no fixed set of vertices. The camera is the nominal one around the landmarks (4 times the side of the network's crop),
since a photo does not tell its own.

The weakness of the plain form: the neutral shape explains part of an open mouth by a tilted, nearer head. A pose from
other points trades it for another (docs/baselines.md), so it is left as the paper describes it.

dlib's model must not be used commercially (see data/labelling/dlib_landmarks.py); this is for comparison only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from expnet_tf.camera import NOMINAL_FOCAL
from expnet_tf.data.fitting import LANDMARKS, fit, solve_pose
from expnet_tf.data.labelling.dlib_landmarks import DlibLandmarks
from expnet_tf.evaluate.methods import EXPRESSION, Blendshapes, Box, expression_blendshapes
from expnet_tf.image import ImageError
from expnet_tf.morphable import open_face

INNER = np.repeat([0.0, 1.0], [17, 51])
"""Weights of the 68 points: the 51 without the jaw."""

FACE = 200.0
"""Mean side of the face box, px, that points are scaled to before the fit: NOISE and the camera then hold for all."""

# Mean side of the house's box over the rms distance of the 51 points from their mean: dlib's points on London and
# LFW photos (medians 3.59, 3.54; standard deviations 0.11, 0.17).
BOX_OVER_SPREAD = 3.56

NOISE = 0.02
"""Standard deviation of a landmark coordinate over the side of the box. Set beforehand: about dlib's own error on
300-W. On lfw_dev 0.01 reads worse, 0.03 alike."""

CROP = 1.25
"""Side of the nominal camera's picture over the side of the box, as the shipped network crops."""

POINTS_BATCH = 256


@dataclass(frozen=True)
class Normal:
    """Landmarks scaled to a common size and moved to the origin of the nominal camera."""

    points: np.ndarray  # float64 [m, 68, 2]
    camera: np.ndarray  # float64 [3] (f, cx, cy): f = NOMINAL_FOCAL * CROP * FACE, about the origin


def normalise(points: np.ndarray) -> Normal:
    """Landmarks float [m, 68, 2] px (y down) of any size and place -> a Normal; rows may hold NaN.

    Only the 51 inner points count; faces of one single place become NaN.
    """
    points = np.asarray(points, np.float64)
    chosen = points[:, INNER > 0]
    middle = chosen.mean(1, keepdims=True)
    spread = np.sqrt(((chosen - middle) ** 2).sum(2).mean(1))
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = (points - middle) * (FACE / (BOX_OVER_SPREAD * spread))[:, None, None]
    return Normal(scaled, np.array([NOMINAL_FOCAL * CROP * FACE, 0.0, 0.0]))


def pose_of(face: Normal) -> np.ndarray:
    """Poses float64 [m, 6] under the nominal camera, from the mean neutral face; NaN where there is none."""
    return solve_pose(face.points, open_face().landmarks(), face.camera, weights=INNER).pose


def expression_of(face: Normal, pose: np.ndarray, prior: bool) -> np.ndarray:
    """Eq. (2): z float64 [m, 29], NaN where it did not converge.

    prior: with identity and pose as unknowns and the face model's variances; otherwise the paper's plain form.
    """
    model = open_face()
    shape = model.landmarks()
    if prior:
        solved = fit(
            model, face.points, shape, pose, face.camera, weights=INNER,
            noise=NOISE * FACE, identity_spread=1.0, refine_pose=True,
        )  # fmt: skip
    else:
        solved = fit(model, face.points, shape, pose, face.camera, weights=INNER)
    return np.where(solved.converged[:, None], solved.expression, np.nan)


def expression_from_points(points: np.ndarray, prior: bool) -> np.ndarray:
    """68 landmarks float [m, 68, 2], px with y down, iBUG order -> z float64 [m, 29]; NaN rows are abstentions."""
    parts = []
    for start in range(0, len(points), POINTS_BATCH):
        face = normalise(points[start : start + POINTS_BATCH])
        parts.append(expression_of(face, pose_of(face), prior))
    return np.concatenate(parts) if parts else np.zeros((0, len(open_face().expression_basis)))


class LandmarkMethod:
    """dlib's landmarks -> pose -> eq. (2): a Method."""

    space = EXPRESSION
    blendshapes: Blendshapes | None = staticmethod(expression_blendshapes)

    def __init__(self, name: str, prior: bool) -> None:
        """Raises DlibError (an ImportError) where dlib or its model is not installed."""
        self.name, self.prior = name, prior
        self.landmarks = DlibLandmarks()
        face = open_face().provenance
        self.id = f"{name}:1:{self.landmarks.version}:{face['name']}-{face['version']}"

    def codes(self, images: Sequence[np.ndarray], boxes: Sequence[Box]) -> np.ndarray:
        """z float64 [n, 29]; NaN where the box cannot be used or the fit does not converge."""
        points = np.full((len(images), LANDMARKS, 2), np.nan)
        for row, (image, box) in enumerate(zip(images, boxes, strict=True)):
            try:
                points[row] = self.landmarks.points(image, box)
            except ImageError:
                continue
        return expression_from_points(points, self.prior)


BASELINES: dict[str, Callable[[], LandmarkMethod]] = {
    "dlib": lambda: LandmarkMethod("dlib", prior=False),
    "dlib-prior": lambda: LandmarkMethod("dlib-prior", prior=True),
}
"""What `--baselines` may name."""
