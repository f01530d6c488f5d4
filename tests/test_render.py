"""The rasteriser against areas, depths and texture coordinates worked out by hand or in numpy."""

import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from expnet_tf.raster import NEAR
from expnet_tf.render import Light, Surface, over, render

FOCAL, CENTER, SIZE = 100.0, (32.0, 32.0), (64, 64)
# Ambient light 1 and no lamp: a surface shows its own colour.
PLAIN = Light(sh=np.vstack([np.ones((1, 3)), np.zeros((8, 3))]), color=np.zeros(3))


def at(u: float, v: float, distance: float = 100.0) -> list[float]:
    """The point in camera coordinates that is seen at (u, v) px."""
    return [(u - CENTER[0]) * distance / FOCAL, (CENTER[1] - v) * distance / FOCAL, -distance]


def quad(corners, color=(1.0, 1.0, 1.0), **options) -> Surface:
    """Two triangles from four points, counter-clockwise seen from the camera."""
    vertices = np.array(corners, float)
    return Surface(vertices, np.array([[0, 1, 2], [0, 2, 3]]), np.tile(color, (4, 1)), specular=0.0, **options)


def square(low: float, high: float, distance: float = 100.0, **options) -> Surface:
    """An upright square between px low and high in both directions."""
    corners = [at(low, high, distance), at(high, high, distance), at(high, low, distance), at(low, low, distance)]
    return quad(corners, **options)


def picture(*surfaces: Surface, light: Light = PLAIN, **options) -> np.ndarray:
    return render(list(surfaces), FOCAL, CENTER, SIZE, light, **options)


def test_output():
    image = picture(square(10, 20))
    assert image.shape == (64, 64, 4)
    assert image.dtype == np.uint8
    assert picture().max() == 0  # nothing to draw: transparent black
    assert render([square(10, 20)], FOCAL, CENTER, (48, 80), PLAIN).shape == (48, 80, 4)


def test_pixel_centres_lie_at_a_half():
    """A square from px 10 to 20 fills exactly the pixels 10..19, whatever the supersampling."""
    expected = np.zeros(SIZE, np.uint8)
    expected[10:20, 10:20] = 255
    for supersample in (1, 2, 3):
        np.testing.assert_array_equal(picture(square(10, 20), supersample=supersample)[..., 3], expected)
    # Half a pixel further, the outer columns are covered by half.
    alpha = picture(quad([at(10.5, 20), at(20.5, 20), at(20.5, 10), at(10.5, 10)]))[..., 3]
    np.testing.assert_array_equal(alpha[15, 9:22], [0, 128, *[255] * 9, 128, 0])


TRIANGLE = [(5.3, 6.1), (20.2, 58.7), (57.4, 30.9)]


def coverage_error(supersample: int) -> float:
    """Mean absolute error of the coverage, of 255, against 16 x 16 samples a pixel of three half planes."""
    grid = (np.arange(64 * 16) + 0.5) / 16
    x, y = np.meshgrid(grid, grid)
    inside = np.ones_like(x, bool)
    for (x0, y0), (x1, y1) in zip(TRIANGLE, TRIANGLE[1:] + TRIANGLE[:1], strict=True):
        inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) <= 0
    truth = inside.reshape(64, 16, 64, 16).mean((1, 3)) * 255
    assert truth.sum() / 255 == pytest.approx(1185.47, rel=1e-3)  # the shoelace formula says so too
    surface = Surface(np.array([at(*p) for p in TRIANGLE]), np.array([[0, 1, 2]]))
    return float(np.abs(picture(surface, supersample=supersample)[..., 3] - truth).mean())


def test_area_of_a_triangle():
    surface = Surface(np.array([at(*p) for p in TRIANGLE]), np.array([[0, 1, 2]]))
    (x0, y0), (x1, y1), (x2, y2) = TRIANGLE
    area = abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)) / 2
    assert picture(surface)[..., 3].sum() / 255 == pytest.approx(area, rel=2e-3)
    assert picture(surface, supersample=8)[..., 3].sum() / 255 == pytest.approx(area, rel=2e-4)


def test_supersampling_reduces_the_error():
    one, two, four = (coverage_error(s) for s in (1, 2, 4))
    assert two < 0.6 * one
    assert four < 0.6 * two


def test_colours_are_premultiplied():
    image = picture(quad([at(10.5, 20), at(20.5, 20), at(20.5, 10), at(10.5, 10)], color=(0.25, 1.0, 0.0)))
    np.testing.assert_array_equal(image[15, 15], [128, 255, 0, 255])  # sqrt(.25) of 255; linear light in, sRGB out
    # Half covered: half the linear light, its square root shown.
    np.testing.assert_array_equal(image[15, 10], [round(255 * np.sqrt(0.125)), round(255 * np.sqrt(0.5)), 0, 128])


def test_the_nearer_surface_wins_in_either_order():
    near = square(20, 40, 80, color=(1, 0, 0))
    far = square(10, 50, 120, color=(0, 1, 0))
    one, other = picture(near, far), picture(far, near)
    np.testing.assert_array_equal(one, other)
    assert one[30, 30].tolist() == [255, 0, 0, 255]
    assert one[15, 15].tolist() == [0, 255, 0, 255]


def test_surfaces_that_pass_through_each_other():
    """Two squares tilted about the upright axis through the middle: each is in front on one side."""
    left_near = quad([[-20, -20, -80], [20, -20, -120], [20, 20, -120], [-20, 20, -80]], (1, 0, 0))
    right_near = quad([[-20, -20, -120], [20, -20, -80], [20, 20, -80], [-20, 20, -120]], (0, 1, 0))
    image = picture(left_near, right_near, supersample=1)
    assert (image[32, 20:31, 0] == 255).all()
    assert (image[32, 20:31, 1] == 0).all()
    assert (image[32, 34:45, 1] == 255).all()
    assert (image[32, 34:45, 0] == 0).all()


def test_back_faces_are_left_out_unless_two_sided():
    away = square(10, 20)
    away.triangles = away.triangles[:, ::-1]
    assert picture(away).max() == 0
    away.two_sided = True
    np.testing.assert_array_equal(picture(away), picture(square(10, 20)))


def test_texture_is_perspective_correct():
    """A quad that recedes to the right, textured with a ramp in u: the value at a px is the u of the point on
    the plane that the px's ray meets, not the u between the corners on the screen."""
    ramp = np.zeros((4, 256, 4), np.uint8)
    ramp[..., :3] = np.arange(256)[None, :, None]
    ramp[..., 3] = 255
    corners = np.array([[-30.0, -30, -100], [30, -30, -220], [30, 30, -220], [-30, 30, -100]])
    surface = quad(corners, texture=ramp, uvs=np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]),
                   uv_triangles=np.array([[0, 1, 2], [0, 2, 3]]))  # fmt: skip
    image = picture(surface, supersample=1)[32]
    columns = np.flatnonzero(image[:, 3])
    assert len(columns) > 30
    # Ray x = -z s, plane z = -100 - 2 (x + 30): x = (160 s) / (1 - 2 s), u = (x + 30) / 60.
    slope = (columns + 0.5 - CENTER[0]) / FOCAL
    u = (160 * slope / (1 - 2 * slope) + 30) / 60
    np.testing.assert_allclose(image[columns, 0], u * 256 - 0.5, atol=1.0)
    on_screen = (columns + 0.5 - 2) / (columns[-1] + 1 - 2)
    assert np.abs(on_screen - u).max() > 0.1  # the wrong answer is far off


def test_texture_origin_is_the_lower_left():
    texture = np.zeros((2, 2, 4), np.uint8)
    texture[..., 3] = 255
    texture[1, 0, 0] = 255  # lower left texel red
    texture[0, 1, 1] = 255  # upper right texel green
    surface = square(0, 64, texture=texture, uvs=np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]),
                     uv_triangles=np.array([[0, 1, 2], [0, 2, 3]]))  # fmt: skip
    image = picture(surface)
    assert image[60, 3].tolist() == [255, 0, 0, 255]
    assert image[3, 60].tolist() == [0, 255, 0, 255]


def test_a_texture_multiplies_the_colour_in_linear_light():
    texture = np.full((2, 2, 4), 255, np.uint8)
    texture[..., :3] = 128
    surface = square(10, 50, color=(0.5, 1, 0), texture=texture, uvs=np.zeros((1, 2)),
                     uv_triangles=np.zeros((2, 3), int))  # fmt: skip
    expected = [round(255 * np.sqrt((128 / 255) ** 2 * 0.5)), 128, 0, 255]
    np.testing.assert_array_equal(picture(surface)[30, 30], expected)


def card(alpha: int, distance: float, color: tuple[float, float, float]) -> Surface:
    texture = np.full((2, 2, 4), 255, np.uint8)
    texture[..., 3] = alpha
    return square(10, 50, distance, color=color, texture=texture, uvs=np.zeros((1, 2)),
                  uv_triangles=np.zeros((2, 3), int), transparent=True)  # fmt: skip


def test_alpha_counts_only_where_a_surface_is_transparent():
    behind = square(0, 64, 150, color=(0, 1, 0))
    # Below one half: blended, in linear light.
    share = 100 / 255
    blended = picture(card(100, 100, (1, 0, 0)), behind)[30, 30]
    expected = [255 * np.sqrt(share), 255 * np.sqrt(1 - share), 0, 255]
    np.testing.assert_allclose(blended, expected, atol=1)
    # Nothing at all, and opaque material that has alpha in its texture.
    np.testing.assert_array_equal(picture(card(0, 100, (1, 0, 0)), behind), picture(behind))
    opaque = card(0, 100, (1, 0, 0))
    opaque.transparent = False
    assert picture(opaque, behind)[30, 30].tolist() == [255, 0, 0, 255]


def test_solid_texels_hide_and_clear_ones_do_not():
    """Alpha 255 writes depth: a later card behind it is hidden. Alpha 100 does not: one behind it shows."""
    behind = card(255, 120, (0, 1, 0))
    for order in (1, -1):
        assert picture(*[card(255, 100, (1, 0, 0)), behind][::order])[30, 30].tolist() == [255, 0, 0, 255]
        seen = picture(*[card(100, 100, (1, 0, 0)), behind][::order])[30, 30]
        assert seen[1] > 150
        assert seen[0] > 100
    # Two clear cards: both are seen through each other, whichever comes first.
    for order in (1, -1):
        seen = picture(*[card(100, 100, (1, 0, 0)), card(100, 120, (0, 1, 0))][::order])[30, 30]
        assert seen[:2].min() > 100
    # An opaque surface in front hides both.
    wall = square(0, 64, 90, color=(0, 0, 1))
    assert picture(card(255, 100, (1, 0, 0)), card(100, 95, (1, 0, 0)), wall)[30, 30].tolist() == [0, 0, 255, 255]


def test_a_transparent_card_alone_has_its_alpha():
    image = picture(card(100, 100, (1, 1, 1)))
    assert image[30, 30, 3] == 100


def test_transparent_cards_have_two_sides():
    turned = card(255, 100, (1, 0, 0))
    turned.triangles = turned.triangles[:, ::-1].copy()
    turned.uv_triangles = turned.uv_triangles[:, ::-1].copy()
    assert picture(turned)[30, 30, 0] == 255


def test_behind_and_around_the_camera_nothing_breaks():
    """Triangles behind the camera, at its plane, in its eye, or half behind are left out; NaN too."""
    good = square(10, 20)
    expected = picture(good)
    for z in (50.0, 0.0, -NEAR / 2, -1e-9):
        vertices = np.array([[-5, -5, z], [5, -5, z], [0, 5, z]])
        np.testing.assert_array_equal(picture(good, Surface(vertices, np.array([[0, 1, 2]]), two_sided=True)), expected)
    half = Surface(np.array([[-5, -5, 50.0], [5, -5, -100], [0, 5, -100]]), np.array([[0, 1, 2]]), two_sided=True)
    np.testing.assert_array_equal(picture(good, half), expected)
    half.transparent = True
    np.testing.assert_array_equal(picture(good, half), expected)
    flat = Surface(np.array([at(30, 30), at(30, 30), at(40, 30)]), np.array([[0, 1, 2]]), two_sided=True)
    np.testing.assert_array_equal(picture(good, flat), expected)


def test_far_outside_the_frame():
    huge = quad([[-1e6, -1e6, -100], [1e6, -1e6, -100], [1e6, 1e6, -100], [-1e6, 1e6, -100.0]])
    assert (picture(huge)[..., 3] == 255).all()
    assert picture(square(200, 300)).max() == 0
    assert picture(square(-300, -200)).max() == 0


def test_lamp_lights_the_side_it_is_on():
    """A ball with one lamp to the upper left: brightest there, dark at the lower right, the more so the closer
    to the direction of the lamp."""
    longitude, latitude = np.meshgrid(np.linspace(0, 2 * np.pi, 49), np.linspace(-np.pi / 2, np.pi / 2, 25))
    ball = np.stack([np.cos(latitude) * np.sin(longitude), np.sin(latitude), np.cos(latitude) * np.cos(longitude)], -1)
    ids = np.arange(25 * 49).reshape(25, 49)
    a, b, c, d = ids[:-1, :-1].ravel(), ids[:-1, 1:].ravel(), ids[1:, 1:].ravel(), ids[1:, :-1].ravel()
    triangles = np.vstack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    vertices = ball.reshape(-1, 3) * 20 + [0, 0, -100]
    surface = Surface(vertices, triangles, specular=0.0, normals=ball.reshape(-1, 3).astype(np.float32))
    dark = np.zeros((9, 3))
    lamp = np.array([-1.0, 1.0, 1.0]) / np.sqrt(3)
    image = picture(surface, light=Light(dark, lamp, np.full(3, 0.9)), supersample=1)
    # The px that shows direction n of the ball, and what the wrapped diffuse (n.l + .25) / 1.25 gives there.
    for n in (lamp, [0, 0, 1.0], [-0.6, 0.0, 0.8], [0, 0.6, 0.8], [0.5, -0.5, np.sqrt(0.5)]):
        n = np.array(n)
        p = 20 * n + [0, 0, -100]
        u, v = CENTER[0] + FOCAL * p[0] / -p[2], CENTER[1] - FOCAL * p[1] / -p[2]
        expected = 255 * np.sqrt(0.9 * max(0.0, (n @ lamp + 0.25) / 1.25) + 0.02)
        assert image[int(v), int(u), 0] == pytest.approx(expected, abs=12)
    # The ambient term turns with the normal: band 1 of the harmonics, order y, z, x.
    for band, axis in ((1, 1), (3, 0)):
        sh = np.zeros((9, 3))
        sh[0], sh[band] = 0.5, 0.4
        shaded = picture(surface, light=Light(sh, lamp, np.zeros(3)), supersample=1)[..., 0].astype(int)
        if axis == 1:
            assert shaded[22, 32] > shaded[32, 32] > shaded[42, 32]
        else:
            assert shaded[32, 42] > shaded[32, 32] > shaded[32, 22]


def test_computed_normals_equal_given_ones():
    vertices = np.array([[-10, -10, -100], [10, -10, -100], [10, 10, -90], [-10, 10, -90.0]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    normal = np.cross(vertices[1] - vertices[0], vertices[2] - vertices[0])
    given = np.tile(normal / np.linalg.norm(normal), (4, 1)).astype(np.float32)
    one, other = Surface(vertices, triangles), Surface(vertices, triangles, normals=given)
    np.testing.assert_allclose(picture(one, light=Light()), picture(other, light=Light()), atol=1)


def head() -> np.ndarray:
    """The face model lit by the default light, and hair-like cards before it: every kernel takes part."""
    from expnet_tf.morphable import open_face

    face = open_face()
    texture = np.random.default_rng(0).integers(0, 256, (32, 32, 4), dtype=np.uint8)
    skin = Surface(face.mean + [0, 0, -700], face.triangles, texture=texture, uvs=face.uvs,
                   uv_triangles=face.uv_triangles)  # fmt: skip
    corners = [[-60, 20, -640], [60, 20, -640], [60, 90, -640], [-60, 90, -640.0]]
    cards = quad(corners, texture=texture, uvs=np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]),
                 uv_triangles=np.array([[0, 1, 2], [0, 2, 3]]), transparent=True)  # fmt: skip
    return render([skin, cards], 250.0, (48.0, 48.0), (96, 96))


def test_the_same_bytes_twice():
    np.testing.assert_array_equal(head(), head())


def test_the_same_bytes_in_another_process():
    code = "import hashlib, runpy, sys; head = runpy.run_path(sys.argv[1])['head']()"
    code += "; print(hashlib.sha256(head.tobytes()).hexdigest())"
    other = subprocess.run([sys.executable, "-c", code, __file__], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == hashlib.sha256(head().tobytes()).hexdigest()


def test_a_closed_surface_has_no_holes():
    """A finely cut wall: every px inside is covered, though hundreds of edges cross it."""
    rng = np.random.default_rng(0)
    grid = np.linspace(3.17, 60.71, 24)
    u, v = np.meshgrid(grid, grid)
    distance = 100 + 10 * rng.random(u.shape)
    vertices = np.array([at(*p) for p in zip(u.ravel(), v.ravel(), distance.ravel(), strict=True)])
    ids = np.arange(24 * 24).reshape(24, 24)
    a, b, c, d = ids[:-1, :-1].ravel(), ids[1:, :-1].ravel(), ids[1:, 1:].ravel(), ids[:-1, 1:].ravel()
    triangles = np.vstack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    alpha = picture(Surface(vertices, triangles))[..., 3]
    assert (alpha[5:59, 5:59] == 255).all()


def test_over():
    foreground = np.zeros((1, 4, 4), np.uint8)
    foreground[0, 1] = [200, 100, 0, 255]
    foreground[0, 2] = [100, 50, 0, 128]
    foreground[0, 3] = [255, 255, 255, 255]
    background = np.full((1, 4, 3), 80, np.uint8)
    out = over(foreground, background)
    assert out.dtype == np.uint8
    # Light is added, which is the square of a display value.
    rest = 80**2 * (1 - 128 / 255)
    half = [np.sqrt(100**2 + rest), np.sqrt(50**2 + rest), np.sqrt(rest)]
    np.testing.assert_allclose(out[0], [[80] * 3, [200, 100, 0], half, [255] * 3], atol=0.5)
    white = picture(square(10.5, 20))
    np.testing.assert_array_equal(over(white, np.full((*SIZE, 3), 255, np.uint8)), 255)  # no seam of white on white


def test_the_renderer_agrees_with_the_camera(tmp_path):
    """What camera.project says of a point is where the renderer draws it: pose, focal length, off-centre axis."""
    from expnet_tf.camera import project, transform

    pose = np.array([0.2, -0.5, 0.1, 15.0, -10.0, -600.0])
    spots = np.array([[0.0, 0, 40], [30, 20, 30], [-30, -40, 20]])
    for spot in spots:
        around = spot + np.array([[-3.0, -3, 0], [3, -3, 0], [3, 3, 0], [-3, 3, 0]])
        alpha = render([quad(transform(around, pose))], 420.0, (60.5, 66.25), (128, 128), PLAIN, 4)[..., 3]
        moments = cv2.moments(alpha)
        seen = np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5
        np.testing.assert_allclose(seen, project(spot[None], pose, 420.0, (60.5, 66.25))[0], rtol=0, atol=0.1)
