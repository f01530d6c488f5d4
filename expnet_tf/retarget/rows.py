"""A row: what is known of one face, by name, as `expnet predict` writes it (docs/face-json.md, docs/batch.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from expnet_tf.retarget import RetargetError
from expnet_tf.retarget.maps import Map, Retargeted
from expnet_tf.retarget.spaces import CodeSpace

Row = dict[str, Any]
LARGEST = 1e6  # sigma: beyond, sums lose their digits
SLACK = 1e-3  # of a weight: what others' rounding may add


def codes_of(row: Mapping[str, Any], space: CodeSpace) -> np.ndarray:
    """The codes of a row, float64 [d]; blendshapes that it does not name are 0. Raises RetargetError."""
    value = row.get(space.field)
    if value is None:
        raise RetargetError(f"it has no {space.field}")
    if not space.names:
        return _numbers(value, len(space.lower))
    if not isinstance(value, Mapping):
        raise RetargetError("blendshapes are no weights by name")
    if unknown := sorted(set(value) - set(space.names)):
        raise RetargetError(f"{unknown[0]!r} is no blendshape of ARKit")
    if not value:
        raise RetargetError("it names no blendshape of ARKit")
    weights = _numbers(list(value.values()), len(value))
    if weights.min() < -SLACK or weights.max() > 1 + SLACK:
        raise RetargetError(f"weights are {weights.min():g} to {weights.max():g}; 0 to 1 is expected")
    given = dict(zip(value, np.clip(weights, 0.0, 1.0), strict=True))
    return np.array([given.get(name, 0.0) for name in space.names])


def _numbers(value: Any, count: int) -> np.ndarray:
    """float64 [count] of anything, or RetargetError."""
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        array = np.empty(0, object)
    if array.dtype.kind not in "fiu" or array.ndim != 1:
        raise RetargetError("its codes are no list of numbers")
    if len(array) != count:
        raise RetargetError(f"it has {len(array)} codes; {count} are expected")
    if not (np.abs(array) <= LARGEST).all():
        raise RetargetError("its codes are not finite, or out of range")
    return array.astype(np.float64)


def retargeted(row: Mapping[str, Any], mapping: Map, done: Retargeted, index: int) -> Row:
    """The row with its new codes, residual_mm and motion_mm.

    Codes for a model replace `expression`, and what belongs to the mesh of the old one goes: its identity and files.
    """
    made = dict(row)
    codes = done.codes[index]
    if mapping.target.names:
        made["blendshapes"] = {
            name: round(float(weight), 6) for name, weight in zip(mapping.target.names, codes, strict=True)
        }
    else:
        # Shortest decimals that give the same float32, as facejson.py writes them.
        made["expression"] = [float(str(value)) for value in codes.astype(np.float32)]
        made.update({name: empty for name, empty in (("identity", None), ("files", {})) if name in made})
    return made | {
        "residual_mm": round(float(done.residual[index]), 6),
        "motion_mm": round(float(done.motion[index]), 6),
    }
