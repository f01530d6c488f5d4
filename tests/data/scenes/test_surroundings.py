"""Backgrounds, occluders and the camera: the right form, reproducible, and within their bounds."""

import numpy as np

from expnet_tf.data.scenes import photo, surroundings


def test_backgrounds():
    pictures = [surroundings.background(np.random.default_rng(seed), 80) for seed in range(40)]
    assert all(p.shape == (80, 80, 3) and p.dtype == np.uint8 for p in pictures)
    np.testing.assert_array_equal(pictures[3], surroundings.background(np.random.default_rng(3), 80))
    brightness = np.array([p.mean() for p in pictures])
    assert brightness.min() < 80
    assert brightness.max() > 150
    assert np.mean([p.std() > 8 for p in pictures]) > 0.5  # not bare walls only


def test_occluders_cover_a_part():
    image = np.full((96, 96, 3), 128, np.uint8)
    angle = np.linspace(0, np.pi, 17)
    points = np.full((68, 2), 48.0)
    points[:17] = 48 - np.stack([25 * np.cos(angle), -30 * np.sin(angle)], 1)
    covered = []
    for seed in range(40):
        seen = surroundings.occluder(image, points, np.random.default_rng(seed))
        assert seen.shape == image.shape
        covered.append((seen != image).any(2).mean())
    assert (image == 128).all()  # not written into
    assert max(covered) < 0.7
    assert np.mean(covered) > 0.03


def test_resolutions():
    rng = np.random.default_rng(0)
    sides = np.array([photo.resolution(rng, 224) for _ in range(2000)])
    assert sides.max() == 224
    assert 26 <= sides.min() < 35  # faces of about 16 px
    assert 0.5 < (sides == 224).mean() < 0.7


def test_the_camera_keeps_grey_grey_and_the_noise_in_bounds():
    image = np.full((64, 64, 3), 120, np.uint8)
    spread = []
    for seed in range(60):
        seen = photo.camera(image, 64, 64, np.random.default_rng(seed)).astype(float)
        spread.append(seen.std((0, 1)).max())
        assert 20 < seen.mean() < 235
    assert max(spread) < 40
    assert min(spread) < 0.5  # some cameras have none
