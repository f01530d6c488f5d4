"""Which of several faces an image is of."""

import numpy as np
import pytest

from expnet_tf.data.labelling.sightings import Unusable, choose
from expnet_tf.detect import Detection

LARGE, MIDDLE, SMALL = (Detection(box, 0.9) for box in ((0, 0, 60, 60), (80, 80, 40, 40), (90, 90, 20, 20)))


def test_the_largest_face_over_the_middle_of_the_image():
    assert choose([LARGE, MIDDLE, SMALL], (200, 200), None) == MIDDLE.box
    assert choose([LARGE, SMALL], (400, 400), None) == LARGE.box  # none is there: the largest


def test_the_face_that_the_landmarks_are_on():
    points = np.full((68, 2), 30.0)
    assert choose([LARGE, MIDDLE], (200, 200), points) == LARGE.box
    points[:17] = 500.0  # the jaw does not count
    assert choose([LARGE, MIDDLE], (200, 200), points) == LARGE.box
    with pytest.raises(Unusable) as error:
        choose([MIDDLE, SMALL], (200, 200), points)
    assert (error.value.stage, error.value.reason) == ("detect", "no face where the landmarks are")
