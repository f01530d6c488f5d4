"""The 3DMM as a graph, against the float64 decoder."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from expnet_tf.export.decoder import Decoder
from expnet_tf.morphable import open_face


@pytest.fixture(scope="module")
def codes() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "expression": rng.uniform(-3, 3, (5, 29)).astype(np.float32),
        "identity": rng.normal(size=(5, 99)).astype(np.float32),
        "pose": rng.normal(size=(5, 6)).astype(np.float32),
    }


@pytest.mark.parametrize("heads", [("expression", "identity", "pose"), ("expression",)])
def test_equals_float64(codes: dict[str, np.ndarray], heads: tuple[str, ...]) -> None:
    face = open_face()
    outputs = Decoder(face, heads)({head: tf.constant(codes[head]) for head in heads})
    expected = face.decode(codes["identity"] if "identity" in heads else None, codes["expression"])
    assert outputs["vertices"].dtype == tf.float32
    assert np.abs(outputs["vertices"].numpy() - expected).max() < 1e-3  # mm
    weights = face.blendshapes(codes["expression"])
    assert weights.min() == 0
    assert weights.max() == 1  # clipped at both ends
    np.testing.assert_allclose(outputs["blendshapes"].numpy(), weights, atol=1e-5)


def test_bases_are_kept_once_and_small() -> None:
    decoder = Decoder(open_face(), ("expression", "identity"))
    stored = {variable.name: (variable.dtype.name, tuple(variable.shape)) for variable in decoder.variables}
    assert stored == {
        "basis:0": ("float16", (128, 3 * open_face().n_vertices)),
        "mean:0": ("float32", (open_face().n_vertices, 3)),
        "to_blendshapes:0": ("float32", (29, 52)),
    }
    assert not decoder.trainable_variables


def test_a_finer_face_model_is_not_rounded(codes: dict[str, np.ndarray]) -> None:
    fine = replace(open_face(), expression_basis=open_face().expression_basis * 1.0003)
    decoder = Decoder(fine, ("expression",))
    assert decoder.basis.dtype == tf.float32
    vertices = decoder({"expression": tf.constant(codes["expression"])})["vertices"].numpy()
    assert np.abs(vertices - fine.decode(None, codes["expression"])).max() < 1e-3
