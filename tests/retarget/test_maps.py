"""Maps between codes: exact where a map exists, scipy's answer where bounds are met, and residuals that are true."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from expnet_tf.data import expressions
from expnet_tf.morphable import MorphableModel
from expnet_tf.retarget import RetargetError
from expnet_tf.retarget.correspondence import Correspondence, between, vertices
from expnet_tf.retarget.maps import fit
from expnet_tf.retarget.spaces import arkit_space, expression_space, has_arkit

TINY = 1e-6  # mm: a ridge that the comparisons below do not see


def residual(mapping, codes: np.ndarray, found: np.ndarray, pairs: Correspondence) -> np.ndarray:
    """mm [m] by decode(), the similarity written out: how far corresponding points are moved apart."""
    models = mapping.source.model, mapping.target.model
    sides = []
    for space, model, points, row in zip((mapping.source, mapping.target), models, (pairs.source, pairs.target),
                                         (codes, found), strict=True):  # fmt: skip
        z = row @ model.blendshapes_to_expression if space.names else row
        sides.append((model.decode(None, z) - model.mean)[:, points.ids[:, 0]])
    turned = mapping.alignment.scale * np.einsum("ij,mkj->mki", mapping.alignment.rotation, sides[0])
    return np.sqrt((pairs.weights * ((sides[1] - turned) ** 2).sum(2)).sum(1) / pairs.weights.sum())


def plausible(face: MorphableModel, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights [count, 52] of plausible expressions and the codes that show them, all within bounds."""
    rng = np.random.default_rng(5)
    weights = np.array([expressions.sample_weights(rng) for _ in range(2 * count)])
    codes = weights @ face.blendshapes_to_expression
    inside = np.flatnonzero((np.abs(codes) <= 3).all(1))[:count]
    return weights[inside], codes[inside]


def test_a_known_linear_relation_through_landmarks(pair, codes) -> None:
    mapping = fit(expression_space(pair.source), expression_space(pair.target),
                  between(pair.source, pair.target), TINY)  # fmt: skip
    assert (mapping.points, mapping.count) == ("landmarks", 68)
    np.testing.assert_allclose(mapping.alignment.scale, pair.scale, rtol=1e-12)
    np.testing.assert_allclose(mapping.alignment.rotation, pair.rotation, atol=1e-12)
    np.testing.assert_allclose(mapping.matrix, pair.mixing, atol=1e-10)
    done = mapping.solve(codes)
    np.testing.assert_allclose(done.codes, codes @ pair.mixing, atol=1e-9)
    assert done.residual.max() < 1e-9
    moved = pair.source.decode(None, codes) - pair.source.mean
    by_hand = pair.scale * np.sqrt((moved[:, pair.source.landmark_ids] ** 2).sum(2).mean(1))
    np.testing.assert_allclose(done.motion, by_hand, rtol=1e-12)
    # The whole face follows, not the landmarks alone.
    there = pair.target.decode(None, done.codes)
    np.testing.assert_allclose(there, mapping.alignment.move(pair.source.decode(None, codes))[:, pair.order], atol=1e-8)


def test_bounds_against_scipy(pair) -> None:
    """Codes that the target cannot reach: the answer is the bounded least squares, not the clipped one."""
    rng = np.random.default_rng(2)
    codes = rng.uniform(-3, 3, (60, 6)) * 3
    target = replace(pair.target, expression_basis=pair.target.expression_basis + rng.normal(size=(6, 120, 3)))
    pairs = Correspondence(vertices(pair.order), vertices(np.arange(120)), rng.uniform(0, 2, 120), "test")
    ridge = 0.2
    mapping = fit(expression_space(pair.source), expression_space(target), pairs, ridge)
    done = mapping.solve(codes)
    assert np.abs(done.codes).max() == 3.0
    at_bound = (np.abs(done.codes) == 3).sum(1)
    assert set(at_bound) >= {0, 1, 2, 3}
    share = np.sqrt(pairs.weights / pairs.weights.sum())[:, None]
    design = (share * target.expression_basis).reshape(6, -1).T
    for row, (z, c) in enumerate(zip(codes, done.codes, strict=True)):
        motion = np.tensordot(z, mapping.alignment.turn(pair.source.expression_basis[:, pair.order]), 1)
        right = np.concatenate([(share * motion).ravel(), np.zeros(6)])
        oracle = lsq_linear(np.vstack([design, ridge / 3 * np.eye(6)]), right, (-3, 3), method="bvls", tol=1e-14)
        np.testing.assert_allclose(c, oracle.x, atol=1e-9, err_msg=f"row {row}")
    np.testing.assert_allclose(done.residual, residual(mapping, codes, done.codes, pairs), rtol=1e-9, atol=1e-9)
    clipped = mapping.linear(codes)
    np.testing.assert_allclose(clipped.residual, residual(mapping, codes, clipped.codes, pairs), rtol=1e-9)
    assert (residual(mapping, codes, np.clip(clipped.codes, -3, 3), pairs) >= done.residual - 1e-6).mean() > 0.95
    assert (done.residual <= done.motion + 1e-12).all()


def test_the_linear_form_is_least_squares_with_a_ridge(pair, codes) -> None:
    rng = np.random.default_rng(3)
    target = replace(pair.target, expression_basis=rng.normal(size=(9, 120, 3)))  # nothing in common, and wider
    pairs = between(pair.source, target)
    mapping = fit(expression_space(pair.source), expression_space(target), pairs, 0.5)
    b = target.expression_basis[:, target.landmark_ids].reshape(9, -1) / np.sqrt(68)
    a = mapping.alignment.turn(pair.source.expression_basis[:, pair.source.landmark_ids]).reshape(6, -1) / np.sqrt(68)
    expected = np.linalg.solve(b @ b.T + (0.5 / 3) ** 2 * np.eye(9), b @ a.T).T
    np.testing.assert_allclose(mapping.matrix, expected, atol=1e-12)
    np.testing.assert_allclose(mapping.linear(codes).codes, codes @ expected, atol=1e-12)


def test_more_codes_than_the_points_can_tell_apart(pair, codes) -> None:
    """The ridge decides: finite codes within bounds, as small as they can be, and nothing left."""
    wide = np.concatenate([pair.target.expression_basis, pair.target.expression_basis])
    target = replace(pair.target, expression_basis=wide, triangles=pair.target.triangles[:, ::-1])
    done = fit(expression_space(pair.source), expression_space(target), between(pair.source, target)).solve(codes)
    np.testing.assert_allclose(done.codes[:, :6], done.codes[:, 6:], atol=1e-9)
    np.testing.assert_allclose(done.codes[:, :6] * 2, codes @ pair.mixing, atol=1e-4)


def test_open_to_open_is_the_identity(face) -> None:
    space = expression_space(face)
    pairs = between(face, face)
    assert pairs.name == "vertices of one mesh"
    chosen = set(pairs.source.ids[:, 0])
    assert chosen == set(np.flatnonzero(face.region("skin", "lips", "eyelids", "brows", "nose")))
    bare = replace(face, region_names=np.empty(0, str), regions=np.empty(0, np.uint8))
    assert len(between(face, bare)) == len(between(bare, face)) == len(chosen) < len(between(bare, bare))
    codes = np.random.default_rng(0).uniform(-3, 3, (50, 29))
    done = fit(space, space, pairs, TINY).solve(codes)
    np.testing.assert_allclose(done.codes, codes, atol=1e-9)
    assert done.residual.max() < 1e-9
    through_landmarks = Correspondence(vertices(face.landmark_ids), vertices(face.landmark_ids), np.ones(68), "68")
    np.testing.assert_allclose(fit(space, space, through_landmarks, TINY).solve(codes).codes, codes, atol=1e-8)
    # The ridge as it is by default: a pull towards 0 that the weakest components feel.
    assert np.abs(fit(space, space, pairs).solve(plausible(face, 50)[1]).codes - plausible(face, 50)[1]).max() < 0.01


def test_neutral_stays_neutral(to_arkit) -> None:
    done = to_arkit.solve(np.zeros((1, 29)))
    assert not done.codes.any()
    assert (done.residual[0], done.motion[0]) == (0, 0)


def test_open_to_arkit_and_back(face, to_arkit, from_arkit) -> None:
    weights, codes = plausible(face, 100)
    pairs = between(face, face)
    done = to_arkit.solve(codes)
    assert done.codes.min() >= 0
    assert done.codes.max() <= 1
    unseen = [expressions.INDEX[name] for name in expressions.UNUSED]
    assert not done.codes[:, unseen].any()
    np.testing.assert_allclose(done.residual, residual(to_arkit, codes, done.codes, pairs), rtol=1e-6, atol=1e-9)
    # Such codes lose nothing but the ridge's pull (measured: 0.0003 mm, 0.0006 sigma rms) ...
    again = from_arkit.solve(done.codes)
    assert np.sqrt((done.residual**2).mean()) < 0.001
    assert np.sqrt(((again.codes - codes) ** 2).mean()) < 0.002
    # ... and give the weights back; the map that predict uses is a regression and does not.
    assert np.abs(done.codes - weights).mean() < 0.005
    assert np.abs(face.blendshapes(codes) - weights).mean() > 0.02
    # Without bounds the face is the same and the weights are none.
    linear = to_arkit.linear(codes)
    assert np.sqrt((linear.residual**2).mean()) < 0.001
    assert linear.codes.min() < -0.2
    # Codes that no weights show: what is lost is said.
    free = np.random.default_rng(0).uniform(-3, 3, (50, 29))
    lost = to_arkit.solve(free)
    assert np.median(lost.residual / lost.motion) > 0.2
    np.testing.assert_allclose(lost.residual, residual(to_arkit, free, lost.codes, pairs), rtol=1e-9)


def test_a_model_of_blendshapes_is_bounded_by_them(face, pair) -> None:
    """As ICT-FaceKit: each component belongs to one name, or to none; one name may have two."""
    units = np.zeros((3, 6))
    units[0, 0] = units[1, 1] = units[1, 2] = units[2, 3] = 1
    names = np.array(["jawOpen", "browInnerUp", "mouthPucker"])
    model = replace(pair.source, blendshape_names=names, blendshapes_to_expression=units,
                    expression_to_blendshapes=units.T)  # fmt: skip
    space = expression_space(model)
    np.testing.assert_array_equal([space.lower, space.upper], [np.zeros(6), np.ones(6)])
    assert has_arkit(model)
    weights = np.zeros((1, 52))
    weights[0, [expressions.INDEX[name] for name in names]] = 0.2, 0.7, 1.0
    done = fit(arkit_space(model), space, between(model, model), TINY).solve(weights)
    np.testing.assert_allclose(done.codes, [[0.2, 0.7, 0.7, 1, 0, 0]], atol=1e-9)
    back = fit(space, arkit_space(model), between(model, model), TINY).solve(done.codes)
    np.testing.assert_allclose(back.codes, weights, atol=1e-9)
    # A PCA with a map to names is none.
    np.testing.assert_array_equal(expression_space(face).lower, np.full(29, -3))


def test_models_without_what_is_needed(pair, face) -> None:
    bare = replace(pair.source, landmark_ids=np.empty(0, np.int32))
    with pytest.raises(RetargetError, match=r"toy-1 has no 68 landmarks, and the two meshes differ"):
        between(face, bare)
    assert not has_arkit(bare)
    with pytest.raises(RetargetError, match=r"toy-1 has no blendshapes with ARKit's names"):
        arkit_space(bare)
    with pytest.raises(RetargetError, match=r"toy-1 has no expression components"):
        expression_space(replace(bare, expression_basis=np.empty((0, 120, 3))))
    named = replace(bare, blendshape_names=np.array(["smile"]), blendshapes_to_expression=np.ones((1, 6)))
    assert not has_arkit(named)


def test_points_that_are_no_pairs(face) -> None:
    mixed = np.random.default_rng(0).permutation(face.landmark_ids)
    pairs = Correspondence(vertices(face.landmark_ids), vertices(mixed), np.ones(68), "mixed.csv")
    space = expression_space(face)
    with pytest.raises(RetargetError, match=r"\(mixed.csv\) are no pairs: the alignment leaves \d\d\.\d mm"):
        fit(space, space, pairs)


def test_bad_arguments(pair, codes) -> None:
    space = expression_space(pair.source)
    mapping = fit(space, space, between(pair.source, pair.source))
    with pytest.raises(ValueError, match=r"codes have shape \(40, 5\); \[m, 6\] is expected"):
        mapping.solve(codes[:, :5])
    assert mapping.solve(codes[:0]).codes.shape == (0, 6)
    for ridge in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"ridge is"):
            fit(space, space, between(pair.source, pair.source), ridge)


def test_many_rows_equal_few(pair) -> None:
    codes = np.random.default_rng(9).uniform(-9, 9, (2500, 6))
    mapping = fit(expression_space(pair.source), expression_space(pair.target), between(pair.source, pair.target))
    done = mapping.solve(codes)
    some = mapping.solve(codes[2000:2003])
    np.testing.assert_array_equal(done.codes[2000:2003], some.codes)


def test_the_saved_map_says_all_it_takes(face, to_arkit, tmp_path) -> None:
    to_arkit.save(tmp_path / "map.npz")
    codes = plausible(face, 5)[1]
    with np.load(tmp_path / "map.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(codes @ found["matrix"], to_arkit.linear(codes).codes)
        assert (str(found["source"]), str(found["target"])) == ("open_face-1", "arkit")
        assert found["target_names"].tolist() == expressions.BLENDSHAPES
        assert found["source_names"].tolist() == []
        np.testing.assert_array_equal(found["lower"], 0)
        np.testing.assert_array_equal(found["upper"], 1)
        np.testing.assert_allclose(found["rotation"], np.eye(3), atol=1e-12)
        assert float(found["scale"]) == pytest.approx(1)
    assert [path.name for path in tmp_path.iterdir()] == ["map.npz"]
