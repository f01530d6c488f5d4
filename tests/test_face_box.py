import numpy as np
import pytest

from expnet_tf.face_box import CHIN, FOREHEAD, face_box_vertices
from expnet_tf.morphable import open_face


def test_vertices_are_symmetric_and_leave_out_the_ears():
    face = open_face()
    ids = face_box_vertices(face)
    np.testing.assert_array_equal(np.sort(face.mirror_ids[ids]), ids)
    assert set(face.landmark_ids[17:].tolist()) <= set(ids.tolist())
    assert not (face.region("ears", "eyes", "teeth", "tongue")[ids]).any()


def test_on_the_mean_face_they_reach_from_chin_to_forehead_and_as_wide_as_the_jaw():
    face = open_face()
    ids = face_box_vertices(face)
    low, high = face.mean[ids].min(0), face.mean[ids].max(0)
    points = face.landmarks()
    assert low[1] == pytest.approx(points[8, 1] + CHIN, abs=4)
    assert high[1] == pytest.approx(points[19, 1] + FOREHEAD, abs=5)
    assert high[0] == pytest.approx(points[:17, 0].max(), abs=6)
