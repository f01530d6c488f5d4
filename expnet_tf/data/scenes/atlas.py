"""Where a point of the head lies in a texture: the face model unrolled around its upright axis.

MakeHuman's own texture coordinates give the face a hundredth of a picture of the whole body, lying on its side. Here
the head fills the texture upright, x of the texture to the person's left, and what belongs to a face (folds,
beards, brows) can be drawn on it as on a frontal picture.
"""

import cv2
import numpy as np

from expnet_tf.morphable import MorphableModel
from expnet_tf.raster import raster

HEIGHT, WIDTH = 512, 768  # px: about half a mm of the face each
LOW, HIGH = -110.0, 140.0  # mm: heights of the head frame at the texture's lower and upper edge
AXIS = -45.0  # mm: z of the upright axis
PATCH = (0.306, (-95.0 - LOW) / (HIGH - LOW), 0.694, (100.0 - LOW) / (HIGH - LOW))
"""(u, v, u, v): the rectangle of the face, from 70 degrees right to 70 degrees left, chin to hair line."""
DETAIL = 1.5
CELLS = 256  # the patch in squares of 0.8 mm, for fine shape
CELL = 0.8  # mm


def atlas_uvs(model: MorphableModel) -> np.ndarray:
    """Texture coordinates float32 [n, 2], one a vertex, origin lower left, from the mean face."""
    x, y, z = model.mean.T
    u = 0.5 + np.arctan2(x, z - AXIS) / (2 * np.pi)
    return np.stack([u, np.clip((y - LOW) / (HIGH - LOW), 0, 1)], 1).astype(np.float32)


def on_atlas(uv: np.ndarray) -> np.ndarray:
    """Texture coordinates [.., 2] -> px [.., 2] of the atlas, x right and y down."""
    return np.stack([uv[..., 0] * WIDTH, (1 - uv[..., 1]) * HEIGHT], -1)


def on_patch(uv: np.ndarray) -> np.ndarray:
    """Texture coordinates [.., 2] -> cells [.., 2] of the patch, x right and y down."""
    u0, v0, u1, v1 = PATCH
    return np.stack([(uv[..., 0] - u0) / (u1 - u0), (v1 - uv[..., 1]) / (v1 - v0)], -1) * CELLS


def source_map(model: MorphableModel, uvs: np.ndarray) -> np.ndarray:
    """Where each px of the atlas lies in the face model's own texture: u, v float32 [HEIGHT, WIDTH, 2], -1 nowhere."""
    outside = model.region("skin", "lips", "eyelids", "brows", "ears", "nose", "scalp and neck")
    chosen = outside[model.triangles].all(1)
    # The triangles that the seam at the back of the head cuts are left out: it is never seen.
    corners = uvs[model.triangles]
    chosen &= np.ptp(corners[..., 0], axis=1) < 0.5
    triangles, source = model.triangles[chosen], model.uv_triangles[chosen]
    place = on_atlas(uvs)
    nearness = 1 + np.hypot(model.mean[:, 0], model.mean[:, 2] - AXIS)
    screen = np.column_stack([place, nearness]).astype(np.float32)
    depth, face = np.zeros((HEIGHT, WIDTH), np.float32), np.full((HEIGHT, WIDTH), -1, np.int32)
    blank = np.zeros((1, 4), np.uint8), np.array([[0, 1, 1]])
    levels = np.zeros(len(triangles), np.uint8)
    raster(screen, triangles, False, 0, 1, False, uvs, triangles, *blank, depth, face, levels)
    y, x = np.nonzero(face >= 0)
    a, b, c = (place[triangles[face[y, x], i]] for i in range(3))
    p = np.column_stack([x, y]) + 0.5
    area = _cross(b - a, c - a)
    w1, w2 = _cross(p - a, c - a) / area, _cross(b - a, p - a) / area
    weights = np.stack([1 - w1 - w2, w1, w2], 1)
    found = (weights[..., None] * model.uvs[source[face[y, x]]]).sum(1)
    out = np.full((HEIGHT, WIDTH, 2), -1.0, np.float32)
    out[y, x] = found
    return out


def bake(source: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A texture uint8 RGBA in the face model's own coordinates -> uint8 RGBA [HEIGHT, WIDTH, 4] in the atlas's."""
    x, y = source[..., 0] * image.shape[1] - 0.5, (1 - source[..., 1]) * image.shape[0] - 0.5
    out = cv2.remap(image, x, y, cv2.INTER_LINEAR)
    # Spots and lines a little stronger than painted: photographs have twice the fine contrast of plain renders.
    soft = cv2.GaussianBlur(out, (0, 0), 8.0)
    out = cv2.addWeighted(out, DETAIL, soft, 1 - DETAIL, 0)
    nowhere = source[..., 0] < 0
    out[nowhere] = np.rint(out[~nowhere].mean(0)).astype(np.uint8)
    out[..., 3] = 255
    return out


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
