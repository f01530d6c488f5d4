"""Looks: other pixels, the same face, and the same for the same dice."""

import numpy as np
import pytest

from expnet_tf.train.looks import Looks, changed

NOTHING = Looks(gamma=0, contrast=0, lift=0, tint=0, grey=0, soft=0, noise=0, cover=0)


@pytest.fixture
def image() -> np.ndarray:
    y, x = np.mgrid[:48, :48]
    return np.stack([4 * y, 4 * x, 255 - 2 * (x + y)], -1).clip(0, 255).astype(np.uint8)


def test_no_change(image):
    np.testing.assert_array_equal(changed(image, NOTHING, np.random.default_rng(0)), image)


@pytest.mark.parametrize(
    "looks",
    [Looks(), *(Looks(**{**vars(NOTHING), name: 1.0}) for name in ("gamma", "contrast", "tint", "grey", "soft",
                                                                   "noise", "cover"))],
)  # fmt: skip
def test_something_changes_and_the_image_given_stays(image, looks):
    before = image.copy()
    made = [changed(image, looks, np.random.default_rng(seed)) for seed in range(12)]
    np.testing.assert_array_equal(image, before)
    assert all(m.dtype == np.uint8 and m.shape == image.shape for m in made)
    assert sum((m != image).any() for m in made) >= 10


def test_each_change_is_what_it_says(image):
    def made(**looks):
        return changed(image, Looks(**{**vars(NOTHING), **looks}), np.random.default_rng(3)).astype(float)

    grey = made(grey=1.0)
    assert np.ptp(grey, axis=-1).max() == 0
    steps = [np.abs(np.diff(picture[:, :, 0], axis=0)).max() for picture in (image.astype(float), made(soft=1.0))]
    assert steps[1] <= steps[0] + 2  # no sharper than it was
    covered = (made(cover=1.0) != image).any(-1).mean()
    assert 0.005 < covered < 0.6
    assert 1 < np.abs(made(noise=1.0) - image).mean() < 10


def test_same_dice_same_pixels(image):
    one, two = (changed(image, Looks(), np.random.default_rng((1, 2, 3))) for _ in range(2))
    np.testing.assert_array_equal(one, two)
