"""The 68 landmarks of a model whose file has none: a text of vertex numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expnet_tf.facemodels.assembly import indices
from expnet_tf.morphable import FaceModelError

LIMIT = 100_000  # bytes


def read(path: Path, n_vertices: int) -> np.ndarray:
    """int32 [68]: numbers from 0, in iBUG order, apart by blanks, commas or lines; what follows # is left out.

    Raises FaceModelError.
    """
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError("it is too long")
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [int(word) for line in lines for word in line.partition("#")[0].replace(",", " ").split()]
    except (OSError, ValueError) as error:
        raise FaceModelError(f"{path}: not a text of 68 vertex numbers ({error})") from error
    return indices(path, "the list", np.array(found, np.float64), (68,), n_vertices, first=0)
