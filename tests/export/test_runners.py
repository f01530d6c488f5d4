"""Every runtime, real: the same answer at any batch size."""

import keras
import numpy as np
import pytest

from expnet_tf.export import choose
from expnet_tf.export.bundle import ExportResult
from expnet_tf.export.runners import RUNNERS, LiteRTRunner, OnnxRunner

PAIRS = [("reference", "reference.keras", "keras")]
PAIRS += [(e.name, e.file, runner) for e in choose("all") for runner in e.runners]


@pytest.mark.parametrize(("name", "file", "runner"), PAIRS, ids=[f"{p[0]}-{p[2]}" for p in PAIRS])
def test_answer(
    exported: ExportResult, model: keras.Model, images: np.ndarray, name: str, file: str, runner: str
) -> None:
    loaded = RUNNERS[runner](exported.directory / file)
    assert loaded.name == runner
    assert loaded.version[0].isdigit()
    expected = {head: keras.ops.convert_to_numpy(value) for head, value in model(images).items()}
    # Sums in another order; weights of 11 bits; of 8, whose error parity judges: here, that it is the same face.
    spread = {head: value.std(axis=0).mean() for head, value in expected.items()}
    atol, rtol = (0.02, 5e-3) if "fp16" in name else (1e-4, 1e-5)
    for part in (slice(0, 1), slice(0, 6), slice(2, 4)):
        outputs = loaded.run(images[part])
        assert set(outputs) == set(expected)
        for head, value in outputs.items():
            assert value.dtype == np.float32
            if name in ("tflite-dynamic", "tflite-int8"):
                assert np.abs(value - expected[head][part]).mean() < 0.3 * spread[head]
            else:
                np.testing.assert_allclose(value, expected[head][part], atol=atol, rtol=rtol)


@pytest.mark.parametrize(("runner", "file"), [(OnnxRunner, "model.onnx"), (LiteRTRunner, "model.tflite")])
def test_an_answer_stays_after_the_next_call(exported: ExportResult, images: np.ndarray, runner, file: str) -> None:
    loaded = runner(exported.directory / file)
    first = loaded.run(images[:1])["expression"]
    kept = first.copy()
    loaded.run(images[1:2])
    np.testing.assert_array_equal(first, kept)
