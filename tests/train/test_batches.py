import numpy as np
import pytest

from expnet_tf.camera import NOMINAL_FOCAL, project
from expnet_tf.image import crop
from expnet_tf.morphable import open_face
from expnet_tf.train.batches import MIRROR_POINTS, STILL, FaceBatches, Jitter

SIZE = 96


def pixels(points):
    return (points.reshape(-1, 68, 2) + 1) / 2 * SIZE


@pytest.mark.parametrize(
    "jitter", [STILL, Jitter(0.1, 0.1, 0.3, 0.0), Jitter(0.0, 0.0, 0.0, 1.0), Jitter(0.1, 0.1, 0.3, 1.0)]
)
def test_all_targets_describe_the_same_face(faces, jitter):
    # Codes, pose and points are moved by separate formulas; the face that the first two give must land on the third.
    # Not exactly: bringing a pose to the nominal camera keeps scale and place, not perspective (to_nominal).
    data = FaceBatches([faces], SIZE, 1.25, 8, jitter)
    _, targets = data.crops(np.arange(8), np.random.default_rng(0))
    model = open_face()
    for i in range(8):
        head = model.landmarks(targets["identity"][i], targets["expression"][i])
        seen = project(head, targets["pose"][i], NOMINAL_FOCAL * SIZE, (SIZE / 2, SIZE / 2))
        assert np.linalg.norm(seen - pixels(targets["points"][i])[0], axis=1).mean() < 1.2


def test_points_follow_the_pixels(faces):
    # A mark painted onto the photo at a landmark must be found at that landmark in the jittered, mirrored crop.
    data = FaceBatches([faces], SIZE, 1.25, 8, Jitter(0.05, 0.1, 0.3, 0.5))
    for i, points in enumerate(data.labels["points"]):
        x, y = np.rint(points[30] - 0.5).astype(int)
        data.labels["points"][i] += np.array([x + 0.5, y + 0.5]) - points[30]
        data.images[i] = 0
        data.images[i, y - 1 : y + 2, x - 1 : x + 2] = 255
    images, targets = data.crops(np.arange(8), np.random.default_rng(1))
    for image, points in zip(images, pixels(targets["points"]), strict=True):
        weight = image[..., 0].astype(float)
        grid = np.arange(SIZE) + 0.5
        found = [(weight.sum(0) * grid).sum() / weight.sum(), (weight.sum(1) * grid).sum() / weight.sum()]
        np.testing.assert_allclose(found, points[30], atol=0.35)


def test_still_crops_are_the_crops_of_predict(faces):
    data = FaceBatches([faces], SIZE, 1.25, 8, STILL)
    images, _ = data[0]
    expected = np.stack(
        [crop(image, box, SIZE, 1.25) for image, box in zip(data.images, data.labels["box"], strict=True)]
    )
    # predict rounds the square to whole pixels, training does not: the same picture up to that half pixel.
    difference = np.abs(images.astype(float) - expected)
    assert np.median(difference) <= 4
    assert difference.mean() < 10


def test_mirrored_points_are_an_involution():
    assert (MIRROR_POINTS[MIRROR_POINTS] == np.arange(68)).all()
    face = open_face()
    np.testing.assert_array_equal(face.mirror_ids[face.landmark_ids], face.landmark_ids[MIRROR_POINTS])


def test_epochs_differ_and_seeds_repeat(faces):
    first, again = (FaceBatches([faces], SIZE, 1.25, 4, Jitter(), seed=5) for _ in range(2))
    np.testing.assert_array_equal(first[0][0], again[0][0])
    first.on_epoch_end()
    assert not np.array_equal(first[0][0], again[0][0])
