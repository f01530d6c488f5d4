"""What a row of codes can be: the expression code of a face model, or weights of its ARKit blendshapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expnet_tf.data.expressions import BLENDSHAPES
from expnet_tf.morphable import MorphableModel, open_face
from expnet_tf.retarget import RetargetError
from expnet_tf.retarget.correspondence import title

BOUND = 3.0  # sigma, as in eq. (2)
ARKIT = "arkit"


@dataclass(frozen=True, eq=False)
class CodeSpace:
    """d numbers that move the vertices of a face model linearly; all 0 is the neutral face."""

    name: str
    field: str  # of a row: "expression" or "blendshapes"
    names: tuple[str, ...]  # of the d numbers; empty for codes, which have none
    model: MorphableModel
    basis: np.ndarray  # float64 [d, n, 3] mm per unit
    lower: np.ndarray  # float64 [d]
    upper: np.ndarray  # float64 [d]


def expression_space(model: MorphableModel, name: str | None = None) -> CodeSpace:
    """The expression code of a model: |z| <= 3 sigma, or 0 to 1 for components that are blendshapes themselves.

    Such a model (ICT-FaceKit) is told by its map: no component belongs to more than one of its blendshapes. Raises
    RetargetError for a model without expressions.
    """
    count = len(model.expression_basis)
    if not count:
        raise RetargetError(f"{title(model)} has no expression components.")
    lower, upper = np.full(count, -BOUND), np.full(count, BOUND)
    if model.has("blendshapes") and ((model.blendshapes_to_expression != 0).sum(0) <= 1).all():
        # What the blendshapes reach at weights of 0 to 1; a component that none of them uses has its own unit.
        lower, upper = np.minimum(model.blendshapes_to_expression, 0).sum(0), model.blendshapes_to_expression.max(0)
        upper = np.where(lower == upper, 1.0, upper).astype(np.float64)
    return CodeSpace(name or title(model), "expression", (), model, model.expression_basis, lower, upper)


def arkit_space(model: MorphableModel | None = None) -> CodeSpace:
    """The 52 ARKit blendshapes, weights 0 to 1, as the motion that `model` gives them; None: the open face model.

    Those that the model lacks do not move it. Raises RetargetError for a model without ARKit's names.
    """
    model = model or open_face()
    if not has_arkit(model):
        raise RetargetError(f"{title(model)} has no blendshapes with ARKit's names.")
    rows = {str(name): row for name, row in zip(model.blendshape_names, model.blendshapes_to_expression, strict=True)}
    nothing = np.zeros(len(model.expression_basis))
    weights = np.array([rows.get(name, nothing) for name in BLENDSHAPES], np.float64)
    basis = np.tensordot(weights, model.expression_basis, 1)
    return CodeSpace(ARKIT, "blendshapes", tuple(BLENDSHAPES), model, basis, np.zeros(len(basis)), np.ones(len(basis)))


def has_arkit(model: MorphableModel) -> bool:
    """Whether a model brings blendshapes with ARKit's names."""
    return model.has("blendshapes") and bool({str(name) for name in model.blendshape_names} & set(BLENDSHAPES))
