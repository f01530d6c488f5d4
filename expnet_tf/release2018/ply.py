"""ASCII PLY as the release writes it: "%0.4f", and "%d" for colours."""

from __future__ import annotations

import numpy as np

POSITION = "property float x\nproperty float y\nproperty float z\n"
COLOR = "property uchar red\nproperty uchar green\nproperty uchar blue\n"


class PlyWriter:
    """Writes many meshes of the same triangles; what they share is made once."""

    def __init__(self, triangles: np.ndarray, n_vertices: int, colors: bool = False) -> None:
        """triangles int [t, 3]; with `colors` every mesh has them."""
        head = (
            f"ply\nformat ascii 1.0\nelement vertex {n_vertices}\n{POSITION}{COLOR if colors else ''}"
            f"element face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
        )
        line = "%0.4f %0.4f %0.4f %d %d %d\n" if colors else "%0.4f %0.4f %0.4f\n"
        self._head, self._form = head.encode("ascii"), line * n_vertices
        self._faces = _filled("3 %d %d %d\n" * len(triangles), triangles)

    def encode(self, vertices: np.ndarray, colors: np.ndarray | None = None) -> bytes:
        """The file for vertices float [n, 3], mm, and their colours [n, 3] RGB in 0..255."""
        # "%d" cuts fractions off, as the release does.
        table = vertices if colors is None else np.hstack([vertices, colors])
        return self._head + _filled(self._form, table) + self._faces


def _filled(form: str, table: np.ndarray) -> bytes:
    return (form % tuple(table.ravel().tolist())).encode("ascii")
