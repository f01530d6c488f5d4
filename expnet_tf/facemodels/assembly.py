"""From the arrays of any family to a MorphableModel: units, orders and the checks that all families share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expnet_tf.morphable import FaceModelError, MorphableModel

EXTENT = (50.0, 1000.0)  # mm: the longest side of a face or a head with shoulders; anything else is another unit


def numbers(path: Path, name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """float64 of this shape, -1 being any length; raises FaceModelError for another shape or values not finite."""
    values = np.asarray(values)
    fits = values.ndim == len(shape) and all(want in (-1, got) for got, want in zip(values.shape, shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if length == -1 else str(length) for length in shape)
        raise FaceModelError(f"{path}: {name} has shape {list(values.shape)}; [{wanted}] is expected")
    if values.dtype.kind not in "fiu":
        raise FaceModelError(f"{path}: {name} has the type {values.dtype}; numbers are expected")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise FaceModelError(f"{path}: {name} holds values that are not finite")
    return values


def points(path: Path, name: str, values: np.ndarray, count: int = -1) -> np.ndarray:
    """A vector that interleaves xyz, [3n], [3n, 1] or [1, 3n] -> float64 [n, 3]; count: the n it must be."""
    flat = np.asarray(values).ravel() if max(np.shape(values), default=0) == np.size(values) else np.asarray(values)
    flat = numbers(path, name, flat, (3 * count if count >= 0 else -1,))
    if len(flat) % 3 or not len(flat):
        raise FaceModelError(f"{path}: {name} has {len(flat)} numbers; x, y, z of each vertex are expected")
    return flat.reshape(-1, 3)


def scaled_basis(path: Path, name: str, columns: np.ndarray, sigma: np.ndarray, count: int) -> np.ndarray:
    """Components in columns that interleave xyz, [3n, k], and sigma [k], column or row -> float64 [k, n, 3]."""
    columns = numbers(path, name, columns, (3 * count, -1))
    sigma = numbers(path, f"the sigma of {name}", np.asarray(sigma).ravel(), (columns.shape[1],))
    if (sigma < 0).any():
        raise FaceModelError(f"{path}: the sigma of {name} holds negative values")
    return np.ascontiguousarray((columns * sigma).T).reshape(-1, count, 3)


def indices(path: Path, name: str, values: np.ndarray, shape: tuple[int, ...], limit: int, first: int) -> np.ndarray:
    """int32 of this shape, counted from 0 below `limit`; first: the number the file counts from, 0 or 1."""
    numbered = numbers(path, name, values, shape)  # MATLAB keeps indices as doubles
    if (numbered != np.round(numbered)).any():
        raise FaceModelError(f"{path}: {name} holds fractions; vertex numbers are expected")
    numbered -= first
    if numbered.size and (numbered.min() < 0 or numbered.max() >= limit):
        raise FaceModelError(f"{path}: {name} points outside {first}..{limit - 1 + first}")
    return numbered.astype(np.int32)


def assemble(
    path: Path,
    *,
    mean: np.ndarray,
    identity_basis: np.ndarray,
    expression_basis: np.ndarray,
    triangles: np.ndarray,
    provenance: dict,
    expression_variance: float = 1.0,
    **parts: np.ndarray | None,
) -> MorphableModel:
    """A MorphableModel of arrays in mm and sigma units, whose codes have variance 1 unless it is said.

    mean float64 [n, 3]; bases float64 [k, n, 3]; triangles int32 [t, 3], turned here where they run clockwise seen
    from outside; parts: what else the model has, by the fields of MorphableModel. Raises FaceModelError when the mean
    is no face in mm or nothing moves.
    """
    extent = float(np.ptp(mean, axis=0).max())
    if not EXTENT[0] <= extent <= EXTENT[1]:
        raise FaceModelError(
            f"{path}: its mean face is {extent:.4g} mm long; {EXTENT[0]:.0f} to {EXTENT[1]:.0f} mm are expected, "
            "so its unit is not the one of this family"
        )
    if not len(triangles):
        raise FaceModelError(f"{path}: it has no triangles")
    if _inside_out(mean, triangles):
        triangles = triangles[:, ::-1]
    for array in (mean, identity_basis, expression_basis):
        array.setflags(write=False)
    return MorphableModel(
        mean=mean,
        identity_basis=identity_basis,
        expression_basis=expression_basis,
        identity_variance=np.ones(len(identity_basis)),
        expression_variance=np.full(len(expression_basis), expression_variance),
        triangles=np.ascontiguousarray(triangles, np.int32),
        provenance=provenance,
        **parts,  # type: ignore[arg-type]
    )


def _inside_out(mean: np.ndarray, triangles: np.ndarray) -> bool:
    """Whether most of the surface, seen from a point behind the face, shows its front."""
    low, high = mean.min(axis=0), mean.max(axis=0)
    behind = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    a, b, c = (mean[triangles[:, corner]] - behind for corner in range(3))
    return float((a * np.cross(b, c)).sum()) < 0
