"""Other people's face models as a `MorphableModel`: one file a family, found out from what is in the file.

    model = load("BaselFaceModel_mod.mat")
    model.decode(identity, expression)      # codes in sigma units of that model, vertices in mm
"""

from __future__ import annotations

from pathlib import Path

from expnet_tf.morphable import FaceModelError, MorphableModel

__all__ = ["FaceModelError", "MorphableModel", "load"]


def load(path: str | Path) -> MorphableModel:
    """Load a face model of any family.

    Raises FaceModelError, one sentence that names the file, when it is of no family or not what it should be.
    """
    from expnet_tf.facemodels import basel_mod

    return basel_mod.load(Path(path))
