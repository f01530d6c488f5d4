"""Which point of one face model is which point of another: landmarks, one mesh, or a file (docs/retargeting.md)."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expnet_tf.morphable import MorphableModel
from expnet_tf.retarget import RetargetError
from expnet_tf.retarget.archive import read_npz

MAX_BYTES = 100_000_000  # of a file, and of what an archive unpacks to
SIDES = ("source", "target")
CORNERS = "abc"
OUTSIDE = 1e-3  # how far three barycentric coordinates may be from the sum 1, and one below 0
NOT_FACE = ("ears", "scalp and neck", "eyes", "teeth", "tongue", "eyelashes", "mouth interior")


@dataclass(frozen=True)
class Points:
    """k points of a mesh, each a mixture of three of its vertices."""

    ids: np.ndarray  # int64 [k, 3] vertices
    shares: np.ndarray  # float64 [k, 3] barycentric coordinates, sum 1

    def of(self, vertices: np.ndarray) -> np.ndarray:
        """Anything [.., n, 3] that vertices have -> [.., k, 3], of the points."""
        if not self.shares[:, 1:].any():
            return vertices[..., self.ids[:, 0], :]
        return (vertices[..., self.ids, :] * self.shares[..., None]).sum(-2)


@dataclass(frozen=True)
class Correspondence:
    """k pairs of points."""

    source: Points
    target: Points
    weights: np.ndarray  # float64 [k], >= 0
    name: str  # what it is, for people

    def __len__(self) -> int:
        return len(self.weights)


def vertices(ids: np.ndarray) -> Points:
    """Vertices int [k] as points."""
    ids = np.asarray(ids, np.int64)
    return Points(np.repeat(ids[:, None], 3, axis=1), np.tile([1.0, 0.0, 0.0], (len(ids), 1)))


def between(source: MorphableModel, target: MorphableModel) -> Correspondence:
    """What two models have in common by themselves: one mesh, else the 68 landmarks.

    Of one mesh (the same triangles) the vertices of the face count, where one of the models names its regions: not
    ears, scalp, neck, eyes, lashes and the inside of the mouth. Raises RetargetError where there is neither.
    """
    if source.n_vertices == target.n_vertices and np.array_equal(source.triangles, target.triangles):
        named = source if source.has("regions") else target
        known = [name for name in NOT_FACE if name in list(named.region_names)]
        ids = np.flatnonzero(~named.region(*known)) if known else np.arange(source.n_vertices)
        return Correspondence(vertices(ids), vertices(ids), np.ones(len(ids)), "vertices of one mesh")
    for model in (source, target):
        if not model.has("landmarks"):
            raise RetargetError(
                f"{title(model)} has no 68 landmarks, and the two meshes differ: pairs of points are needed "
                "(--correspondence), or landmarks (expnet face-model convert)."
            )
    count = len(source.landmark_ids)
    return Correspondence(vertices(source.landmark_ids), vertices(target.landmark_ids), np.ones(count), "landmarks")


def title(model: MorphableModel) -> str:
    """Name and version of a model, as JSON files of `expnet predict` have them: open_face-1."""
    facts = model.provenance
    return "-".join(str(facts[key]) for key in ("name", "version") if facts.get(key) is not None) or "a face model"


def read_correspondence(path: Path, source: MorphableModel, target: MorphableModel) -> Correspondence:
    """A correspondence file, .csv or .npz, checked against the two models; docs/retargeting.md has the format.

    Raises RetargetError, with the file's name, for anything else.
    """
    if path.suffix.lower() == ".npz":
        columns = _arrays(path)
    elif path.suffix.lower() == ".csv":
        columns = _table(path)
    else:
        raise RetargetError(f"{path}: a correspondence file ends with .csv or .npz.")
    ends = [_points(path, side, columns, model) for side, model in zip(SIDES, (source, target), strict=True)]
    count = len(ends[0].ids)
    if len(ends[1].ids) != count:
        raise RetargetError(f"{path}: {count} source points and {len(ends[1].ids)} target points; they are no pairs.")
    weights = columns.get("weight", np.ones(count))
    if weights.shape != (count,) or not np.isfinite(weights).all() or weights.min(initial=0.0) < 0:
        raise RetargetError(f"{path}: weight must be {count} finite numbers of at least 0.")
    if (weights > 0).sum() < 4:
        raise RetargetError(f"{path}: {int((weights > 0).sum())} pairs have weight; at least 4 are needed.")
    return Correspondence(ends[0], ends[1], weights, path.name)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Columns of the npz form, as float64: ids are whole numbers there too."""
    found = read_npz(path, MAX_BYTES)
    allowed = {*SIDES, *(f"{side}_barycentric" for side in SIDES), "weight"}
    _known(path, set(found), allowed)
    for name, array in found.items():
        if array.dtype.kind not in "iuf":
            raise RetargetError(f"{path}: {name} is {array.dtype}; numbers are expected.")
    return {name: array.astype(np.float64) for name, array in found.items()}


def _table(path: Path) -> dict[str, np.ndarray]:
    """Columns of the CSV form, in the shapes of the npz form."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RetargetError(f"{path} is above {MAX_BYTES // 1_000_000} MB.")
        rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "no text in UTF-8 with commas"
        raise RetargetError(f"{path}: not a readable correspondence file ({reason}).") from error
    if not rows:
        raise RetargetError(f"{path} is empty.")
    header = [name.strip() for name in rows[0]]
    triples = {f"{side}{kind}": [f"{side}_{part}" for part in parts]
               for side in SIDES for kind, parts in (("", CORNERS), ("_barycentric", "uvw"))}  # fmt: skip
    _known(path, set(header), {*SIDES, "weight", *(name for names in triples.values() for name in names)})
    if len(set(header)) != len(header):
        raise RetargetError(f"{path}: a column comes twice.")
    values = np.empty((len(rows) - 1, len(header)))
    for line, row in enumerate(rows[1:]):
        try:
            values[line] = numbers = [float(text) for text in row]
        except ValueError:
            numbers = []
        if len(numbers) != len(header):  # numpy would repeat a single one
            raise RetargetError(f"{path}, line {line + 2}: {len(header)} numbers are expected.")
    single = dict(zip(header, values.T, strict=True))
    columns = {name: single[name] for name in (*SIDES, "weight") if name in single}
    for name, names in triples.items():
        present = [part for part in names if part in single]
        if present and (len(present) < 3 or name in columns):
            raise RetargetError(f"{path}: {', '.join(names)} belong together, in place of {name}.")
        if present:
            columns[name] = np.stack([single[part] for part in names], axis=1)
    return columns


def _known(path: Path, found: set[str], allowed: set[str]) -> None:
    if unknown := sorted(found - allowed):
        raise RetargetError(f"{path}: unknown column {unknown[0]!r}; accepted: {', '.join(sorted(allowed))}.")


def _points(path: Path, side: str, columns: dict[str, np.ndarray], model: MorphableModel) -> Points:
    """One side of the pairs. Raises RetargetError."""
    if side not in columns:
        raise RetargetError(f"{path}: the column {side} is missing.")
    ids, shares = columns[side], columns.get(f"{side}_barycentric")
    if ids.ndim not in (1, 2) or (ids.ndim == 2 and ids.shape[1] != 3):
        raise RetargetError(f"{path}: {side} has shape {ids.shape}; [k] vertices or [k, 3] of a triangle are expected.")
    if not np.isfinite(ids).all() or (ids != np.round(ids)).any():
        raise RetargetError(f"{path}: {side} holds numbers that are not whole.")
    if ids.size and (ids.min() < 0 or ids.max() >= model.n_vertices):
        raise RetargetError(
            f"{path}: {side} uses vertices {ids.min():.12g} to {ids.max():.12g}; {title(model)} has 0 to "
            f"{model.n_vertices - 1}."
        )
    if (ids.ndim == 2) != (shares is not None):
        raise RetargetError(f"{path}: {side} needs barycentric coordinates with three vertices a point, and only then.")
    if shares is None:
        return vertices(ids)
    if shares.shape != ids.shape or not np.isfinite(shares).all():
        raise RetargetError(f"{path}: the barycentric coordinates of {side} are not {ids.shape} finite numbers.")
    if (shares < -OUTSIDE).any() or (np.abs(shares.sum(1) - 1) > OUTSIDE).any():
        raise RetargetError(f"{path}: barycentric coordinates of {side} are below 0, or do not sum to 1.")
    return Points(ids.astype(np.int64), shares / shares.sum(1, keepdims=True))
