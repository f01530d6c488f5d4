"""The picture of a face: not how it looks, which eyes judge, but that everything in it is in its place."""

import dataclasses

import numpy as np
import pytest

from expnet_tf.camera import NOMINAL_FOCAL, project
from expnet_tf.draw import PANEL, STAGE, bars, overlay, photo_panel, picture, portrait
from expnet_tf.image import crop_square, read_image
from expnet_tf.models import ASSETS
from expnet_tf.morphable import open_face
from expnet_tf.paint import COLORS, IRIS, face_alpha, paint, vertex_colors
from expnet_tf.predictor import Face

BOX = (183.0, 55.0, 88.0, 119.0)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read_image(ASSETS / "astronaut.jpg")


def make_face(**changes: object) -> Face:
    face = Face(
        expression=np.zeros(29, np.float32),
        identity=np.zeros(99, np.float32),
        pose=np.array([0, 0, 0, 0, 0, -900], np.float32),
        box=BOX,
        score=0.9,
        square=crop_square(BOX, 1.25),
    )
    return dataclasses.replace(face, **changes)  # type: ignore[arg-type]


def with_blendshape(name: str, weight: float = 1.0) -> np.ndarray:
    model = open_face()
    row = list(model.blendshape_names).index(name)
    return (weight * model.blendshapes_to_expression[row]).astype(np.float32)


def test_picture_has_all_panels(photo: np.ndarray) -> None:
    face = make_face()
    page = picture(photo, face)
    assert page.dtype == np.uint8
    assert page.shape[2] == 3
    panels = [photo_panel(photo, face), portrait(face, PANEL, 0.0), bars(face)]
    for panel in panels:
        assert panel.shape == (PANEL, PANEL, 3)
        # Found at its place in the page, pixel by pixel.
        assert any(
            np.array_equal(page[y : y + PANEL, x : x + PANEL], panel)
            for y in range(page.shape[0] - PANEL + 1)
            for x in (16, 16 + PANEL + 16, 16 + 2 * (PANEL + 16))
        )


def test_picture_is_deterministic_and_shows_the_expression(photo: np.ndarray) -> None:
    neutral, open_mouth = make_face(), make_face(expression=with_blendshape("jawOpen"))
    np.testing.assert_array_equal(picture(photo, neutral), picture(photo, neutral))
    changed = np.abs(portrait(neutral, PANEL, 0.0).astype(int) - portrait(open_mouth, PANEL, 0.0)).max(axis=2) > 20
    rows = np.nonzero(changed)[0]
    assert len(rows) > 500
    assert np.mean(rows > PANEL * 0.45) > 0.95  # a jaw moves next to nothing above the nose


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1, 1), (0, 0, 1, 1)),
        ((3, 4000), (10, 0, 3, 3)),
        ((512, 512), (-300, -200, 400, 900)),
        ((40, 30), (5.3, 4.7, 0.2, 0.1)),
    ],
)
def test_odd_photos(size: tuple[int, int], box: tuple[float, ...]) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    page = picture(image, make_face(box=box, square=crop_square(box, 1.25)))
    assert page.shape == picture(np.zeros((9, 9, 3), np.uint8), make_face(box=(1, 1, 5, 5), square=(0, 0, 7))).shape


def test_overlay_lies_where_the_vertices_project() -> None:
    grey = np.full((200, 200, 3), 60, np.uint8)
    face = make_face(pose=np.array([0.1, 0.3, 0.1, 8, -6, -900], np.float32))
    drawn = overlay(grey, face, opacity=1.0)
    assert face.pose is not None
    points = project(face.vertices(), face.pose, NOMINAL_FOCAL * 200, (100, 100))
    model = open_face()
    cheeks = points[model.landmark_ids[[30, 33, 29]]].astype(int)  # the nose, whichever way the head turns
    for x, y in cheeks:
        assert np.abs(drawn[y, x].astype(int) - 60).max() > 40
    touched = np.argwhere((drawn != grey).any(axis=2))
    y, x = touched.min(axis=0), touched.max(axis=0)
    assert (y[::-1] >= points.min(axis=0) - 2).all()
    assert (x[::-1] <= points.max(axis=0) + 2).all()
    assert (drawn[0] == 60).all()


def test_overlay_leaves_the_crop_outside_the_face_alone(photo: np.ndarray) -> None:
    model, face = open_face(), make_face()
    assert face.pose is not None
    placed = face.vertices() + face.pose[3:].astype(float)
    alpha = face_alpha(model, placed, 800.0, (100, 100), (200, 200))
    assert alpha.min() == 0
    assert alpha.max() == pytest.approx(1, abs=0.02)
    # The outermost points of the ears and the highest of the scalp.
    ids = np.flatnonzero(model.region("ears"))
    outer = placed[[*ids[np.argsort(np.abs(model.mean[ids, 0]))[-6:]], model.mean[:, 1].argmax()]]
    x, y = 100 + 800 * outer[:, 0] / -outer[:, 2], 100 - 800 * outer[:, 1] / -outer[:, 2]
    assert alpha[y.astype(int), x.astype(int)].max() < 0.1


def test_face_without_pose(photo: np.ndarray) -> None:
    face = make_face(pose=None, identity=None)
    square = photo[:100, :100]
    assert overlay(square, face) is square
    assert picture(photo, face).shape == picture(photo, make_face()).shape


def test_head_behind_the_camera_is_not_drawn() -> None:
    grey = np.full((64, 64, 3), 60, np.uint8)
    behind = make_face(pose=np.array([0, 0, 0, 0, 0, 900], np.float32))
    np.testing.assert_array_equal(overlay(grey, behind), grey)


def test_bars_are_as_long_as_the_weights() -> None:
    face = make_face(expression=with_blendshape("jawOpen"))
    strongest = max(face.blendshapes, key=lambda name: face.blendshapes[name])
    assert strongest == "jawOpen"
    panel = bars(face).astype(int)
    filled = (np.abs(panel - (255, 178, 84)).sum(axis=2) < 6).sum(axis=1).max()
    assert filled == pytest.approx(face.blendshapes["jawOpen"] * (PANEL - 40), abs=5)
    empty = bars(make_face(expression=np.zeros(29, np.float32))).astype(int)
    assert not (np.abs(empty - (255, 178, 84)).sum(axis=2) < 6).any()
    assert (empty[0, 0] == STAGE).all()


def test_colours_follow_the_regions() -> None:
    model = open_face()
    colors = vertex_colors(model)
    assert colors.shape == model.mean.shape
    assert 0 <= colors.min() <= colors.max() <= 1
    for name in ("lips", "teeth"):
        np.testing.assert_allclose(
            colors[model.region(name)], np.broadcast_to(COLORS[name], (model.region(name).sum(), 3))
        )
    iris = (colors == IRIS).all(axis=1)
    assert (model.region("eyes")[iris]).all()
    # Both eyes look ahead: their irises lie in front of the eyeballs, left and right alike.
    assert (model.mean[iris, 0] > 0).sum() == (model.mean[iris, 0] < 0).sum() > 0


def test_every_triangle_is_painted_once() -> None:
    model = open_face()
    surfaces = paint(model, model.mean - [0, 0, 900])
    painted = np.concatenate([surface.triangles for surface in surfaces])
    assert len(painted) == len(model.triangles)
    np.testing.assert_array_equal(np.unique(painted, axis=0), np.unique(model.triangles, axis=0))
