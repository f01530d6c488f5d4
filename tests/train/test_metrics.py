import numpy as np
from sklearn.metrics import r2_score

from expnet_tf.camera import rotation_matrix, rotation_vector
from expnet_tf.morphable import open_face
from expnet_tf.train.losses import vertex_weights
from expnet_tf.train.metrics import errors, figures, r_squared, rotation_error, vertex_error


def codes(width, count=6, seed=0):
    return np.random.default_rng(seed).normal(size=(2, count, width)).astype(np.float32)


def test_errors_are_distances_between_decoded_meshes():
    face = open_face()
    seen = vertex_weights(face) > 0
    for name, width in (("expression", 29), ("identity", 99)):
        predicted, true = codes(width)
        apart = face.decode(**{name: predicted}) - face.decode(**{name: true})
        np.testing.assert_allclose(
            errors(predicted, true, name), np.linalg.norm(apart[:, seen], axis=-1).mean(1), rtol=1e-6
        )


def test_predicting_the_mean_has_a_share_of_one():
    true = codes(29)[0]
    line = vertex_error(np.tile(true.mean(0), (6, 1)), true)
    assert abs(line["share"] - 1) < 1e-6
    assert vertex_error(true, true)["vertex error mm"] == 0


def test_many_images_are_one_mean():
    predicted, true = codes(29, 700)
    assert len(errors(predicted, true)) == 700
    assert abs(vertex_error(predicted, true)["vertex error mm"] - errors(predicted, true).mean()) < 1e-9


def test_r_squared_is_that_of_scikit_learn():
    predicted, true = codes(5, 50)
    np.testing.assert_allclose(r_squared(predicted, true), r2_score(true, predicted, multioutput="raw_values"), 1e-5)
    true[:, 2] = 1
    assert np.isnan(r_squared(predicted, true)[2])


def test_rotation_error_is_the_angle_between():
    start = np.array([[0.2, -0.5, 0.1, 0, 0, -900]])
    turned = rotation_vector(rotation_matrix(start[:, :3]) @ rotation_matrix([[0, np.radians(20), 0]]))
    np.testing.assert_allclose(rotation_error(np.c_[turned, start[:, 3:]], start), 20, atol=1e-6)


def test_figures_are_of_the_heads_that_are_there():
    predicted, true = codes(29)
    assert set(figures({"expression": predicted}, {"expression": true})) == {"val_share", "val_vertex_mm", "val_r2"}
    pose = codes(6)
    line = figures({"pose": pose[0]}, {"pose": pose[1], "expression": true})
    assert set(line) == {"val_rotation_deg", "val_translation_mm"}
