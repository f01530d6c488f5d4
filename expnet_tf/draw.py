"""The picture of a face: photo, crop, mesh over the photo, mesh from the front and turned, blendshapes."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from expnet_tf.camera import NOMINAL_FOCAL, rotation_matrix, transform
from expnet_tf.image import crop
from expnet_tf.morphable import MorphableModel
from expnet_tf.paint import face_alpha, paint, studio
from expnet_tf.predictor import Face
from expnet_tf.render import over, render

PANEL, GAP, CAPTION = 400, 16, 34  # px
BACK, STAGE = (20, 22, 27), (34, 37, 44)  # behind everything, and behind a mesh
TEXT, ACCENT = (232, 234, 238), (255, 178, 84)
BARS = 9  # strongest blendshapes shown
OPACITY = 0.65  # of the mesh over the photo
PORTRAIT_HEIGHT = 262.0  # mm of the head that a portrait shows
PORTRAIT_FOCAL = 5.0  # focal length over panel side: little perspective


def picture(photo: np.ndarray, face: Face) -> np.ndarray:
    """Everything about one face at a glance.

    Args:
        photo: uint8 RGB [H, W, 3], the one the face was predicted from.
        face: as from `Predictor.predict`.

    Returns:
        uint8 RGB [h, w, 3] of the same size for all photos.
    """
    square = crop(photo, face.box, PANEL, face.square[2] / max(face.box[2:]))
    over_photo = "Predicted mesh over the photo" if face.pose is not None else "(the model has no pose head)"
    panels = [
        ("Photo, face box and crop", photo_panel(photo, face)),
        (f"The crop ({face.square[2]} px of the photo)", square),
        (over_photo, overlay(square, face)),
        ("Mesh from the front", portrait(face, PANEL, 0.0)),
        ("Mesh, three-quarter view", portrait(face, PANEL, 0.65)),
        ("Strongest blendshapes, 0 to 1", bars(face)),
    ]
    columns, rows = 3, 2
    width = columns * (PANEL + GAP) + GAP
    height = rows * (PANEL + CAPTION) + 2 * GAP
    canvas = np.full((height, width, 3), BACK, np.uint8)
    corners = []
    for number, (_, panel) in enumerate(panels):
        x = GAP + number % columns * (PANEL + GAP)
        y = GAP // 2 + CAPTION + number // columns * (PANEL + CAPTION + GAP // 2)
        canvas[y : y + PANEL, x : x + PANEL] = panel
        corners.append((x, y))
    page = Image.fromarray(canvas)
    pen = ImageDraw.Draw(page)
    for (caption, _), (x, y) in zip(panels, corners, strict=True):
        pen.text((x + 1, y - CAPTION / 2), caption, fill=TEXT, font=_font(17), anchor="lm")
    return np.array(page)


def photo_panel(photo: np.ndarray, face: Face) -> np.ndarray:
    """The whole photo within uint8 [PANEL, PANEL, 3], with the face box and, thin, the crop's square."""
    height, width = photo.shape[:2]
    scale = PANEL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(np.ascontiguousarray(photo), size, interpolation=interpolation)
    panel = np.full((PANEL, PANEL, 3), STAGE, np.uint8)
    x0, y0 = (PANEL - size[0]) // 2, (PANEL - size[1]) // 2
    inner = panel[y0 : y0 + size[1], x0 : x0 + size[0]]
    inner[:] = small
    x, y, side = face.square
    drawn = np.ascontiguousarray(inner)
    _frame(drawn, (x, y, side, side), scale, TEXT, 1)
    _frame(drawn, face.box, scale, ACCENT, 2)
    inner[:] = drawn
    return panel


def overlay(square: np.ndarray, face: Face, opacity: float = OPACITY) -> np.ndarray:
    """The mesh in its predicted pose over the crop, uint8 RGB [S, S, 3] -> the same shape.

    Where the model has no pose head, the crop as it is.
    """
    if face.pose is None:
        return square
    size = square.shape[0]
    focal, center = NOMINAL_FOCAL * size, (size / 2, size / 2)
    placed = transform(face.vertices(), face.pose)
    drawn = render(paint(face.face_model, placed), focal, center, (size, size), studio())
    alpha = opacity * face_alpha(face.face_model, placed, focal, center, (size, size))
    # The whole head hides what is behind it, but only the face is laid over the photo.
    solid = drawn[..., :3].astype(np.float32) + square * (1 - drawn[..., 3:].astype(np.float32) / 255)
    return np.rint(np.clip(square * (1 - alpha) + solid * alpha, 0, 255)).astype(np.uint8)


def portrait(face: Face, size: int, yaw: float) -> np.ndarray:
    """The mesh in the photo's expression, turned by `yaw` rad (positive: to its left), upright: uint8 RGB."""
    model = face.face_model
    turned = face.vertices() @ rotation_matrix(np.array([0.0, yaw, 0.0])).T
    distance = PORTRAIT_FOCAL * PORTRAIT_HEIGHT
    turned = turned - [0.0, _middle_height(model), distance]
    focal = PORTRAIT_FOCAL * size
    drawn = render(paint(model, turned), focal, (size / 2, size / 2), (size, size), studio())
    # The bust ends in a fade, not in the mesh's torn edge.
    fade = np.clip((1.0 - np.arange(size) / size) / 0.16, 0, 1)[:, None, None]
    return over(np.rint(drawn * fade).astype(np.uint8), _stage(size))


def bars(face: Face) -> np.ndarray:
    """The strongest blendshapes as bars, uint8 RGB [PANEL, PANEL, 3]."""
    page = Image.new("RGB", (PANEL, PANEL), STAGE)
    pen = ImageDraw.Draw(page)
    strongest = sorted(face.blendshapes.items(), key=lambda item: -item[1])[:BARS]
    left, right, step = 20, PANEL - 20, (PANEL - 24) / BARS
    for row, (name, weight) in enumerate(strongest):
        y = 16 + row * step
        pen.text((left, y + 9), name, fill=TEXT, font=_font(16), anchor="lm")
        pen.text((right, y + 9), f"{weight:.2f}", fill=TEXT, font=_font(16), anchor="rm")
        pen.rounded_rectangle((left, y + 22, right, y + 29), 3, fill=(58, 62, 72))
        if weight >= 0.02:  # less is narrower than its round ends
            pen.rounded_rectangle((left, y + 22, left + weight * (right - left), y + 29), 3, fill=ACCENT)
    return np.array(page)


def _middle_height(model: MorphableModel) -> float:
    """Height in the head frame, mm, that a portrait is centred on: a little below the eyes."""
    points = model.mean[model.landmark_ids, 1]
    return float(points[36:48].mean() - 0.10 * PORTRAIT_HEIGHT)


@cache
def _stage(size: int) -> np.ndarray:
    """A backdrop, uint8 RGB [size, size, 3], lighter in the middle."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    glow = np.exp(-4.0 * (x**2 + (y + 0.1) ** 2))[..., None]
    return np.rint(np.clip(np.array(STAGE) * (0.75 + 0.75 * glow), 0, 255)).astype(np.uint8)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    # The font inside Pillow: the same letters on every machine.
    return ImageFont.load_default(size)


def _frame(image: np.ndarray, box: tuple[float, ...], scale: float, color: tuple[int, ...], width: int) -> None:
    """Draws the outline of a box (x, y, w, h; px of the photo) on the photo scaled by `scale`."""
    x, y, w, h = (value * scale for value in box)
    # Boxes may reach far beyond the photo; OpenCV counts in 32 bits.
    low, high = -10_000, 10_000
    corners = [round(min(max(value, low), high)) for value in (x, y, x + w, y + h)]
    cv2.rectangle(image, corners[:2], corners[2:], color, width, cv2.LINE_AA)
