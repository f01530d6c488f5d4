"""Which vertices of a face model span the face box: forehead to chin, ear to ear."""

from __future__ import annotations

import numpy as np

from expnet_tf.morphable import MorphableModel

# mm on the mean face: above the highest point of a brow, above the tip of the chin, behind the end of the jaw.
# The boxes of the photographs that networks are evaluated on end a little above the tip of the chin. Set so that on
# renders, as on the London set and LFW, the medians of what a landmark detector finds are: eyes .10 of the side above
# the middle of the box, mouth .27 and chin .53 to .54 below it.
FOREHEAD, CHIN, EAR = 51.0, 8.0, 8.0
_BROW, _JAW, _TIP = 19, 16, 8  # iBUG points
_NOT_FACE = ("ears", "scalp and neck", "eyes", "teeth", "tongue", "eyelashes", "mouth interior")


def face_box_vertices(model: MorphableModel) -> np.ndarray:
    """int [k]: vertices whose projection has the face box as its bounding rectangle.

    Raises FaceModelError where the model has no landmarks. A model without regions counts as all face.
    """
    points, mean = model.landmarks(), model.mean
    inside = (mean[:, 1] < points[_BROW, 1] + FOREHEAD) & (mean[:, 1] > points[_TIP, 1] + CHIN)
    inside &= mean[:, 2] > points[_JAW, 2] - EAR
    if model.has("regions"):
        inside &= ~model.region(*(name for name in _NOT_FACE if name in model.region_names))
    return np.flatnonzero(inside)
