"""How well codes are read, in millimetres, shares and R^2; numpy only."""

from __future__ import annotations

import numpy as np

from expnet_tf.camera import rotation_matrix
from expnet_tf.morphable import open_face
from expnet_tf.train.losses import vertex_weights


def vertex_error(predicted: np.ndarray, true: np.ndarray, code: str = "expression") -> dict[str, float]:
    """Error of predicted codes [n, k] ("expression" or "identity") on the mesh.

    `vertex error mm`: mean over images and vertices (face without ears, scalp and mouth interior) of the distance
    between the decoded prediction and the decoded truth, all else alike; `mean face error mm`: the same for
    predicting the data's mean code; `share`: their ratio (NaN where all codes are the same).
    """
    read, unread = errors(predicted, true, code).mean(), errors(true.mean(0, keepdims=True), true, code).mean()
    return {
        "vertex error mm": float(read),
        "mean face error mm": float(unread),
        "share": float(read / unread) if unread else float("nan"),
    }


def errors(predicted: np.ndarray, true: np.ndarray, code: str = "expression") -> np.ndarray:
    """Mean vertex distance of each image, float64 [n] mm."""
    face = open_face()
    basis = face.expression_basis if code == "expression" else face.identity_basis
    basis = basis[:, vertex_weights(face) > 0]
    flat, difference = basis.reshape(len(basis), -1), (predicted - true).astype(np.float64)
    chunks = np.array_split(difference, max(1, len(difference) // 250))
    return np.concatenate([np.linalg.norm((d @ flat).reshape(len(d), -1, 3), axis=-1).mean(1) for d in chunks])


def r_squared(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Coefficient of determination of each component, float64 [k]; NaN for one that does not vary."""
    left = ((predicted - true).astype(np.float64) ** 2).sum(0)
    spread = ((true - true.mean(0)).astype(np.float64) ** 2).sum(0)
    return 1 - np.divide(left, spread, out=np.full(len(left), np.nan), where=spread > 0)


def rotation_error(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Angle between predicted and true rotations of poses [n, 6], degrees, float64 [n]."""
    between = np.swapaxes(rotation_matrix(true[:, :3]), -1, -2) @ rotation_matrix(predicted[:, :3])
    cosine = (np.trace(between, axis1=-2, axis2=-1) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def figures(predicted: dict[str, np.ndarray], true: dict[str, np.ndarray]) -> dict[str, float]:
    """One line of numbers about a validation set: {name: value}, for the heads that are there."""
    line: dict[str, float] = {}
    if "expression" in predicted:
        codes = vertex_error(predicted["expression"], true["expression"])
        line |= {"val_share": codes["share"], "val_vertex_mm": codes["vertex error mm"]}
        line["val_r2"] = float(np.nanmean(r_squared(predicted["expression"], true["expression"])))
    if "identity" in predicted:
        codes = vertex_error(predicted["identity"], true["identity"], "identity")
        line |= {"val_identity_share": codes["share"], "val_identity_mm": codes["vertex error mm"]}
    if "pose" in predicted:
        line["val_rotation_deg"] = float(rotation_error(predicted["pose"], true["pose"]).mean())
        line["val_translation_mm"] = float(
            np.linalg.norm(predicted["pose"][:, 3:] - true["pose"][:, 3:], axis=1).mean()
        )
    return line
