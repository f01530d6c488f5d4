import numpy as np
import pytest

from expnet_tf.camera import NOMINAL_FOCAL, project
from expnet_tf.data.labels import read_labels
from expnet_tf.image import crop, read_image
from expnet_tf.morphable import open_face
from expnet_tf.train.augment import MIRROR_POINTS, STILL, Draw, Jitter, crops, draw, still

SIZE = 96


@pytest.fixture(scope="module")
def photos(faces):
    """(images, labels) of eight faces."""
    labels = {name: column[:8] for name, column in read_labels(faces).items()}
    return [read_image(faces / key) for key in labels["key"]], labels


def pixels(points):
    return (points.reshape(-1, 68, 2) + 1) / 2 * SIZE


@pytest.mark.parametrize(
    "jitter", [STILL, Jitter(0.1, 0.1, 0.3, 0.0), Jitter(0.0, 0.0, 0.0, 1.0), Jitter(0.1, 0.1, 0.3, 1.0)]
)
@pytest.mark.parametrize("factor", [1.25, None])
def test_all_targets_describe_the_same_face(photos, jitter, factor):
    # Codes, pose and points are moved by separate formulas; the face that the first two give must land on the third.
    # Not exactly: bringing a pose to the nominal camera keeps scale and place, not perspective (to_nominal).
    _, targets = crops(*photos, draw(jitter, 8, np.random.default_rng(0)), SIZE, factor)
    model = open_face()
    for i in range(8):
        head = model.landmarks(targets["identity"][i], targets["expression"][i])
        seen = project(head, targets["pose"][i], NOMINAL_FOCAL * SIZE, (SIZE / 2, SIZE / 2))
        assert np.linalg.norm(seen - pixels(targets["points"][i])[0], axis=1).mean() < 1.2


@pytest.mark.parametrize("size", [96, 24])
def test_points_follow_the_pixels(photos, size):
    # A mark painted onto the photo at a landmark must be found at that landmark in the jittered, mirrored crop.
    images, labels = [np.zeros_like(image) for image in photos[0]], dict(photos[1], points=photos[1]["points"].copy())
    for i, points in enumerate(labels["points"]):
        x, y = np.rint(points[30] - 0.5).astype(int)
        labels["points"][i] += np.array([x + 0.5, y + 0.5]) - points[30]
        images[i][y - 1 : y + 2, x - 1 : x + 2] = 255
    drawn = draw(Jitter(0.05, 0.1, 0.3, 0.5), 8, np.random.default_rng(1))
    shown, targets = crops(images, labels, drawn, size, 1.25)
    for image, points in zip(shown, (targets["points"].reshape(-1, 68, 2) + 1) / 2 * size, strict=True):
        weight = image[..., 0].astype(float)
        grid = np.arange(size) + 0.5
        found = [(weight.sum(0) * grid).sum() / weight.sum(), (weight.sum(1) * grid).sum() / weight.sum()]
        np.testing.assert_allclose(found, points[30], atol=0.35)


def test_still_crops_are_the_crops_of_predict(photos):
    shown, _ = crops(*photos, still(8), SIZE, 1.25)
    expected = np.stack([crop(image, box, SIZE, 1.25) for image, box in zip(photos[0], photos[1]["box"], strict=True)])
    # predict rounds the square to whole pixels, training does not: the same picture up to that half pixel.
    difference = np.abs(shown.astype(float) - expected)
    assert np.median(difference) <= 4
    assert difference.mean() < 10


def test_the_whole_photo_at_its_own_size_is_not_touched(photos):
    shown, targets = crops(*photos, still(8), 64, None)
    np.testing.assert_array_equal(shown, photos[0])
    np.testing.assert_allclose((targets["points"] + 1) * 32, photos[1]["points"].reshape(8, -1), atol=1e-4)
    np.testing.assert_array_equal(targets["expression"], photos[1]["expression"])


def test_only_the_targets_asked_for(photos):
    # Orthographic labels have no focal length: no pose is computed from them unasked.
    labels = dict(photos[1], camera=np.zeros((8, 3), np.float32))
    _, targets = crops(photos[0], labels, still(8), SIZE, 1.25, ("expression", "seen"))
    assert list(targets) == ["expression", "seen"]


def test_chance_is_drawn_for_the_whole_batch():
    whole, part = (draw(Jitter(), 8, np.random.default_rng(5)) for _ in range(2))
    part = part.take(slice(2, 4))
    assert isinstance(part, Draw)
    np.testing.assert_array_equal(part.roll, whole.roll[2:4])
    np.testing.assert_array_equal(part.offset, whole.offset[2:4])


def test_mirrored_points_are_an_involution():
    assert (MIRROR_POINTS[MIRROR_POINTS] == np.arange(68)).all()
    face = open_face()
    np.testing.assert_array_equal(face.mirror_ids[face.landmark_ids], face.landmark_ids[MIRROR_POINTS])


def test_reach_covers_nine_in_ten_crops():
    jitter = Jitter()
    drawn = draw(jitter, 4000, np.random.default_rng(0))
    # Half the side of the upright square about a turned crop of 1.25 boxes; the box's side is 1.
    half = 0.5 * 1.25 * drawn.growth * (np.abs(np.cos(drawn.roll)) + np.abs(np.sin(drawn.roll)))
    inside = (half[:, None] + np.abs(drawn.offset) <= 0.5 * 1.25 * jitter.reach).all(1)
    assert inside.mean() > 0.9
