"""ONNX Runtime on a GPU, or not at all."""

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest

from expnet_tf.export import onnx
from expnet_tf.export.onnx_gpu_runners import OnnxCudaRunner, OnnxTensorRTRunner
from expnet_tf.export.runner import CannotRun
from expnet_tf.network import ModelInfo

INFO = ModelInfo("toy", "0.1", "compact", 32, 1.5, ("expression", "identity", "pose"), "none", "Apache-2.0")
BOTH = pytest.mark.parametrize("runner", [OnnxCudaRunner, OnnxTensorRTRunner])


@pytest.fixture(scope="module")
def artifact(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx.write(model, INFO, path)
    return path


@BOTH
def test_without_the_provider(runner: type[OnnxCudaRunner], artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(CannotRun, match=f"{runner.name} needs an NVIDIA GPU .* {runner.providers[0]} .* it has CPU"):
        runner(artifact)


@BOTH
@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="needs the CPU package")
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")  # ONNX Runtime's own, and all it says
def test_a_provider_that_does_not_start(
    runner: type[OnnxCudaRunner], artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime falls back to the CPU without an error: a session of it is real here, and refused."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*runner.providers, "CPUExecutionProvider"])
    with pytest.raises(CannotRun, match=f"asked for {runner.providers[0]}, .* active: CPUExecutionProvider"):
        runner(artifact)


@BOTH
def test_answer(runner: type[OnnxCudaRunner], artifact: Path, model: keras.Model, images: np.ndarray) -> None:
    try:
        loaded = runner(artifact)
    except CannotRun as reason:
        pytest.skip(str(reason))
    expected = {head: keras.ops.convert_to_numpy(value) for head, value in model(images).items()}
    for head, value in loaded.run(images).items():
        np.testing.assert_allclose(value, expected[head], atol=1e-3, rtol=1e-4)
