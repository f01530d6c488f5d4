"""ONNX through ONNX Runtime on an NVIDIA GPU: by CUDA kernels, or by TensorRT engines that it builds itself.

By itself ONNX Runtime goes on without a word on the CPU where a provider cannot start. Here it may not: a figure said
to be of a GPU is of one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expnet_tf.export.runner import CannotRun


class OnnxCudaRunner:
    """ONNX Runtime's CUDA provider, alone. `threads` means nothing on a GPU.

    Raises CannotRun where ONNX Runtime was built without the provider, or it cannot start here.
    """

    name = "onnxruntime-cuda"
    providers: tuple[str, ...] = ("CUDAExecutionProvider",)

    def __init__(self, path: Path, threads: int = 1) -> None:
        import onnxruntime

        self.version = onnxruntime.__version__
        wanted, available = self.providers[0], onnxruntime.get_available_providers()
        if wanted not in available:
            raise CannotRun(
                f"{self.name} needs an NVIDIA GPU and onnxruntime-gpu, whose {wanted} this ONNX Runtime "
                f"{self.version} has not; it has {', '.join(available)}."
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # TF32, CUDA's default, would multiply with half's 11 bits, and call it float32.
        settings = {"CUDAExecutionProvider": {"use_tf32": "0"}}
        providers = [(provider, settings.get(provider, {})) for provider in self.providers]
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=False)
        active = self._session.get_providers()
        if active[0] != wanted:
            raise CannotRun(f"{self.name} asked for {wanted}, which cannot start here; active: {', '.join(active)}.")
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 RGB [B, S, S, 3], any B -> {output name: float32 [B, width]}."""
        return dict(zip(self._names, self._session.run(self._names, {"image": images}), strict=True))


class OnnxTensorRTRunner(OnnxCudaRunner):
    """ONNX Runtime's TensorRT provider; CUDA kernels for what TensorRT leaves."""

    name = "onnxruntime-tensorrt"
    providers = ("TensorrtExecutionProvider", "CUDAExecutionProvider")
