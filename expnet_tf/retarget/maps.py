"""From codes z of one space to codes c of another, by the motion of corresponding points.

minimise over c:  mean_k w_k |(B c)_k - s R (A z)_k|^2 + ridge^2 sum_j (c_j / limit_j)^2   over  lower <= c <= upper

A z and B c are how far the codes move the k points (mm), s and R the similarity that brings the neutral face of the
source to that of the target, limit the larger of a code's bounds.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expnet_tf.files import write_whole
from expnet_tf.retarget import RetargetError
from expnet_tf.retarget.alignment import Similarity, align
from expnet_tf.retarget.correspondence import Correspondence, title
from expnet_tf.retarget.spaces import CodeSpace

RIDGE = 0.01  # mm
MISFIT = 1 / 3  # of the target's spread: what remains of two heads' points is a tenth, of points that are no pairs all
CHUNK = 1024  # rows at once: each has a matrix of its own in the solver


@dataclass(frozen=True)
class Retargeted:
    """m rows of codes in the target space."""

    codes: np.ndarray  # float64 [m, d]
    residual: np.ndarray  # float64 [m] mm of the target, rms over the points: what the codes do not show of the motion
    motion: np.ndarray  # float64 [m] mm of the target, rms over the points: how far the source's codes move them


@dataclass(frozen=True, eq=False)
class Map:
    """How codes of `source` become codes of `target`; `fit` makes it."""

    source: CodeSpace
    target: CodeSpace
    points: str  # what the correspondence is
    count: int  # of corresponding points
    alignment: Similarity
    ridge: float  # mm: what a code at its bound costs
    matrix: np.ndarray  # float64 [source codes, target codes]: z @ matrix solves the problem without its bounds
    _hessian: np.ndarray  # float64 [target, target]
    _cross: np.ndarray  # float64 [source, target]
    _triangle: np.ndarray  # float64 [r, source + target]: |triangle @ (z, -c)| is the residual in mm

    def solve(self, codes: np.ndarray) -> Retargeted:
        """The bounded problem, row by row: codes float [m, source codes], finite.

        Raises ValueError for another shape, RetargetError where a row has no solution.
        """
        from expnet_tf.data.solver.boxqp import solve_box

        codes = self._checked(codes)
        found = np.empty((len(codes), len(self.target.lower)))
        for start in range(0, len(codes), CHUNK):
            rows = slice(start, start + CHUNK)
            slope = codes[rows] @ self._cross
            hessian = np.broadcast_to(self._hessian, (len(slope), *self._hessian.shape))
            lower, upper = (np.broadcast_to(end, slope.shape) for end in (self.target.lower, self.target.upper))
            found[rows], solved, _ = solve_box(hessian, slope, lower, upper)
            if not solved.all():
                raise RetargetError(f"row {start + int(np.argmin(solved))} has no solution that converges.")
        return self._measured(codes, found)

    def linear(self, codes: np.ndarray) -> Retargeted:
        """The same without bounds: codes @ matrix. What it gives may be beyond what the target's codes can be."""
        codes = self._checked(codes)
        return self._measured(codes, codes @ self.matrix)

    def _checked(self, codes: np.ndarray) -> np.ndarray:
        codes = np.asarray(codes, np.float64)
        if codes.ndim != 2 or codes.shape[1] != len(self.source.lower):
            raise ValueError(f"codes have shape {codes.shape}; [m, {len(self.source.lower)}] is expected")
        return codes

    def _measured(self, codes: np.ndarray, found: np.ndarray) -> Retargeted:
        width = codes.shape[1]
        motion = codes @ self._triangle[:, :width].T
        residual = motion - found @ self._triangle[:, width:].T
        return Retargeted(found, np.linalg.norm(residual, axis=1), np.linalg.norm(motion, axis=1))

    def save(self, path: Path) -> None:
        """Writes the linear form as .npz, whole or not at all. docs/retargeting.md names its arrays."""
        file = io.BytesIO()
        np.savez_compressed(
            file,
            matrix=self.matrix,
            source=np.array(self.source.name),
            target=np.array(self.target.name),
            source_names=np.array(self.source.names, str),
            target_names=np.array(self.target.names, str),
            lower=self.target.lower,
            upper=self.target.upper,
            scale=np.array(self.alignment.scale),
            rotation=self.alignment.rotation,
            translation=self.alignment.translation,
            alignment_rms=np.array(self.alignment.rms),
            points=np.array(self.points),
            count=np.array(self.count),
            ridge=np.array(self.ridge),
        )
        write_whole(path, file.getvalue())


def fit(source: CodeSpace, target: CodeSpace, pairs: Correspondence, ridge: float = RIDGE) -> Map:
    """The map from source to target through pairs of points of their two models.

    ridge, mm, decides where the points leave codes open: a code at its bound costs as much as that residual. Raises
    RetargetError where the points cannot be aligned, ValueError for a ridge that is not above 0.
    """
    if not 0 < ridge < np.inf:
        raise ValueError(f"ridge is {ridge} mm; a number above 0 is expected")
    alignment = align(pairs.source.of(source.model.mean), pairs.target.of(target.model.mean), pairs.weights)
    if not alignment.rms <= MISFIT * alignment.spread:
        raise RetargetError(
            f"the points of {title(source.model)} and {title(target.model)} ({pairs.name}) are no pairs: the alignment "
            f"leaves {alignment.rms:.1f} mm between them (rms), and they are spread by {alignment.spread:.1f} mm."
        )
    share = np.sqrt(pairs.weights / pairs.weights.sum())[:, None]
    moved = [
        (share * motion).reshape(len(motion), -1)
        for motion in (alignment.turn(pairs.source.of(source.basis)), pairs.target.of(target.basis))
    ]
    # Of all points only this triangle is kept: lengths are the same, and nothing cancels as in squares.
    triangle = np.asarray(np.linalg.qr(np.concatenate(moved).T, mode="r"))
    limit = np.maximum(np.abs(target.lower), np.abs(target.upper))
    width = len(source.lower)
    a, b = triangle[:, :width], triangle[:, width:]
    hessian, cross = b.T @ b + np.diag((ridge / limit) ** 2), a.T @ b
    matrix = np.linalg.lstsq(
        np.concatenate([b, np.diag(ridge / limit)]), np.concatenate([a, np.zeros((len(limit), width))]), rcond=None
    )[0].T
    return Map(source, target, pairs.name, len(pairs), alignment, ridge, matrix, hessian, cross, triangle)
