import keras
import numpy as np

from expnet_tf.morphable import open_face
from expnet_tf.network import POSE_STD
from expnet_tf.train.losses import Displacement, PoseError, displacement_root, vertex_weights


def test_displacement_is_the_motion_of_the_mesh():
    face, rng = open_face(), np.random.default_rng(0)
    weights = vertex_weights(face)
    z, other = rng.normal(size=(2, 5, 29)).astype(np.float32)
    moved = np.linalg.norm(face.decode(expression=z) - face.decode(expression=other), axis=-1)
    expected = np.sqrt((moved**2 * weights).sum(-1)).mean()
    loss = Displacement(displacement_root(face.expression_basis, weights), l1=0.0)
    assert abs(float(loss(z, other)) - expected) < 1e-3 * expected


def test_displacement_adds_a_share_of_the_absolute_error():
    root = np.zeros((29, 29), np.float32)
    assert abs(float(Displacement(root, l1=0.5)(np.zeros((1, 29)), np.full((1, 29), 2.0))) - (1.0 + 1e-2)) < 1e-5


def test_vertices_that_nobody_sees_do_not_count():
    face = open_face()
    weights = vertex_weights(face)
    assert weights[face.region("ears", "scalp and neck", "teeth")].max() == 0
    assert weights[face.region("lips")].mean() > weights[face.region("skin")].mean()
    assert abs(weights.sum() - 1) < 1e-12


def test_pose_error_is_in_standard_units():
    one_off = np.asarray(POSE_STD, np.float32)[None]
    assert abs(float(PoseError()(np.zeros((1, 6)), one_off)) - 1) < 1e-6
    assert keras.ops.shape(one_off) == (1, 6)
