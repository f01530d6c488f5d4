"""Meshes out: OBJ, PLY and GLB files that keep the vertex order of the 3DMM."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.files import write_whole


def write_mesh(
    path: str | os.PathLike[str],
    vertices: np.ndarray,
    triangles: np.ndarray,
    uvs: np.ndarray | None = None,
    colors: np.ndarray | None = None,
) -> None:
    """Write one mesh; the suffix chooses the format, and the file appears whole or not at all.

    Every vertex is written, in the given order, used by a triangle or not: index i of the 3DMM is index i of
    the file. OBJ and PLY hold the numbers as given, in mm. GLB holds metres (mm * 0.001) and linear colours,
    as glTF 2.0 defines them, and vertex normals. All three keep the axes, which are glTF's own: x right, y
    up, z to the viewer.

    Args:
        path: ends with .obj, .ply or .glb; its folder must exist; an existing file is replaced.
        vertices: float [n, 3], mm.
        triangles: int [t, 3], vertex indices, counter-clockwise seen from outside.
        uvs: float [n, 2], a texture coordinate a vertex, origin at the lower left of the texture.
        colors: [n, 3] sRGB a vertex, uint8 or float 0..1.

    Raises:
        ValueError: another suffix, or arrays that do not fit together.
        OSError: the file cannot be written.
    """
    path = Path(path)
    encode = _WRITERS.get(path.suffix.lower())
    if encode is None:
        raise ValueError(f"{path} ends with {path.suffix!r}; a mesh is written as {', '.join(_WRITERS)}.")
    data = encode(*_checked(path, vertices, triangles, uvs, colors))
    write_whole(path, data)


def _obj(vertices: np.ndarray, triangles: np.ndarray, uvs: np.ndarray | None, colors: np.ndarray | None) -> bytes:
    # By hand: trimesh writes colours or texture coordinates, not both, and wants a material file beside.
    lines = ["# expnet_tf, millimetres\n"]
    if colors is None:
        lines.append(_rows("v %.6f %.6f %.6f\n", vertices))
    else:
        lines.append(_rows("v %.6f %.6f %.6f %.4f %.4f %.4f\n", np.hstack([vertices, colors / 255])))
    if uvs is None:
        lines.append(_rows("f %d %d %d\n", triangles + 1))
    else:
        lines.append(_rows("vt %.6f %.6f\n", uvs))
        lines.append(_rows("f %d/%d %d/%d %d/%d\n", np.repeat(triangles + 1, 2, axis=1)))
    return "".join(lines).encode("ascii")


def _ply(vertices: np.ndarray, triangles: np.ndarray, uvs: np.ndarray | None, colors: np.ndarray | None) -> bytes:
    from trimesh.exchange.ply import export_ply

    mesh = _trimesh(vertices, triangles)
    if colors is not None:
        mesh.visual.vertex_colors = colors
    if uvs is not None:
        mesh.vertex_attributes["s"], mesh.vertex_attributes["t"] = uvs.astype(np.float32).T
    return export_ply(mesh, encoding="binary", vertex_normal=False)


def _glb(vertices: np.ndarray, triangles: np.ndarray, uvs: np.ndarray | None, colors: np.ndarray | None) -> bytes:
    from trimesh.exchange.gltf import export_glb
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    mesh = _trimesh(vertices * 0.001, triangles)
    # glTF's default material is bare metal.
    material = PBRMaterial(name="face", metallicFactor=0.0, roughnessFactor=0.8)
    mesh.visual = TextureVisuals(uv=uvs, material=material)
    if colors is not None:
        mesh.visual.vertex_attributes["color"] = linear_colors(colors)
    # Without normals a viewer shows facets.
    mesh.vertex_normals = _normals(vertices, triangles)
    return export_glb(mesh, include_normals=True)


_WRITERS = {".obj": _obj, ".ply": _ply, ".glb": _glb}


def _trimesh(vertices: np.ndarray, triangles: np.ndarray) -> Any:
    import trimesh

    # process and validate would merge, drop and reorder.
    return trimesh.Trimesh(vertices, triangles, process=False, validate=False)


def _rows(form: str, table: np.ndarray) -> str:
    return (form * len(table)) % tuple(table.ravel().tolist())


def _normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [n, 3], triangles weighted by area; trimesh would need scipy, which is not installed."""
    first, second, third = vertices[triangles].transpose(1, 0, 2)
    doubled = np.cross(second - first, third - first)
    corners = triangles.ravel()
    sums = [np.bincount(corners, np.repeat(part, 3), len(vertices)) for part in doubled.T]
    normals = np.stack(sums, axis=1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    # A vertex in no triangle: glTF wants unit length there too.
    return np.where(length > 0, normals / np.where(length > 0, length, 1), [0.0, 0.0, 1.0])


def linear_colors(colors: np.ndarray) -> np.ndarray:
    """sRGB uint8 [n, 3] -> linear light uint8 [n, 4], opaque (IEC 61966-2-1)."""
    value = colors / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    opaque = np.full((len(colors), 1), 255, np.uint8)
    return np.hstack([np.round(light * 255).astype(np.uint8), opaque])


def _checked(
    path: Path,
    vertices: np.ndarray,
    triangles: np.ndarray,
    uvs: np.ndarray | None,
    colors: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """float64 [n, 3], int64 [t, 3], float64 [n, 2], uint8 [n, 3], or ValueError."""
    vertices, triangles = np.asarray(vertices), np.asarray(triangles)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not len(vertices):
        raise ValueError(f"{path}: vertices are {list(vertices.shape)}; [n, 3] is expected.")
    count = len(vertices)
    vertices = _finite(path, "vertices", vertices)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "iu" or not len(triangles):
        got = f"{triangles.dtype} {list(triangles.shape)}"
        raise ValueError(f"{path}: triangles are {got}; integers [t, 3] are expected.")
    triangles = triangles.astype(np.int64)
    if triangles.min() < 0 or triangles.max() >= count:
        got = f"{triangles.min()} to {triangles.max()}"
        raise ValueError(f"{path}: triangles use vertices {got}; 0 to {count - 1} exist.")
    if uvs is not None:
        uvs = np.asarray(uvs)
        if uvs.shape != (count, 2):
            raise ValueError(f"{path}: uvs are {list(uvs.shape)}; [{count}, 2] is expected.")
        uvs = _finite(path, "uvs", uvs)
    if colors is not None:
        colors = np.asarray(colors)
        if colors.shape != (count, 3):
            raise ValueError(f"{path}: colors are {list(colors.shape)}; [{count}, 3] is expected.")
        if colors.dtype != np.uint8:
            colors = _finite(path, "colors", colors)
            if colors.min() < 0 or colors.max() > 1:
                got = f"{colors.min():g} to {colors.max():g}"
                raise ValueError(f"{path}: colors reach from {got}; uint8 or 0 to 1 is expected.")
            colors = np.round(colors * 255).astype(np.uint8)
    return vertices, triangles, uvs, colors


def _finite(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Real numbers -> float64, or ValueError."""
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise ValueError(f"{path}: {name} hold values that are no finite numbers.")
    return values.astype(np.float64)
