import keras
import numpy as np

from expnet_tf.morphable import open_face
from expnet_tf.network import POSE_STD
from expnet_tf.train.losses import (
    Displacement,
    HalfSquare,
    PointError,
    PoseError,
    ZoneShare,
    displacement_root,
    vertex_weights,
    zones,
)


def test_displacement_is_the_motion_of_the_mesh():
    face, rng = open_face(), np.random.default_rng(0)
    weights = vertex_weights(face)
    z, other = rng.normal(size=(2, 5, 29)).astype(np.float32)
    moved = np.linalg.norm(face.decode(expression=z) - face.decode(expression=other), axis=-1)
    expected = np.sqrt((moved**2 * weights).sum(-1)).mean()
    loss = Displacement(displacement_root(face.expression_basis, weights))
    assert abs(float(loss(z, other)) - expected) < 1e-3 * expected


def test_zone_share_is_the_error_over_what_the_zone_moves():
    face, rng = open_face(), np.random.default_rng(1)
    z = (rng.normal(size=(4000, 29)) * np.sqrt(face.expression_variance)).astype(np.float32)
    loss = ZoneShare(face)
    # Against the neutral face the mean square share is 1 by definition, and the mean of its root a little less.
    assert 0.85 < float(loss(z, np.zeros_like(z))) < 1.05
    assert float(loss(z, z)) < 0.011


def test_each_zone_is_read_by_its_own_part_of_the_face():
    face = open_face()
    shares = zones(face)
    assert set(shares) == {"whole", "mouth", "eyes", "brows"}
    names = list(face.blendshape_names)
    moved = {
        unit: np.linalg.norm(
            face.decode(expression=face.blendshapes_to_expression[names.index(unit)]) - face.mean, axis=1
        )
        for unit in ("jawOpen", "eyeBlinkLeft", "browInnerUp")
    }
    for unit, zone in (("jawOpen", "mouth"), ("eyeBlinkLeft", "eyes"), ("browInnerUp", "brows")):
        rms = {name: np.sqrt((shares[name] * moved[unit] ** 2).sum()) for name in ("mouth", "eyes", "brows")}
        assert max(rms, key=rms.get) == zone


def test_lids_count_more_than_the_jaw_line():
    zero = np.zeros((1, 68, 2), np.float32)
    jaw, lid = zero.copy(), zero.copy()
    jaw[0, 3], lid[0, 37] = 0.1, 0.1
    loss = PointError()
    assert float(loss(zero.reshape(1, -1), lid.reshape(1, -1))) > 5 * float(
        loss(zero.reshape(1, -1), jaw.reshape(1, -1))
    )
    everywhere = np.full((1, 136), 0.1, np.float32)
    assert abs(float(loss(everywhere, 0 * everywhere)) - 0.1) < 1e-6


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


def test_half_square_is_caffes_euclidean_loss():
    z, other = np.random.default_rng(2).normal(size=(2, 5, 29)).astype(np.float32)
    # EuclideanLossLayer: 1 / (2 N) sum over images and components.
    assert abs(float(HalfSquare()(z, other)) - ((z - other) ** 2).sum() / (2 * 5)) < 1e-4
    one_off = np.asarray(POSE_STD, np.float32)[None]
    assert abs(float(HalfSquare(POSE_STD)(np.zeros((1, 6)), one_off)) - 3) < 1e-5
