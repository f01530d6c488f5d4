"""One Runner per runtime: the same call on every artifact, in the runtime that its users will have.

Used by verify, bench and the server alike, so that what is measured is what is served.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.export.onnx_gpu_runners import OnnxCudaRunner, OnnxTensorRTRunner
from expnet_tf.export.openvino_runner import OpenVinoRunner
from expnet_tf.export.runner import Runner
from expnet_tf.export.savedmodel_bytes_runner import SavedModelBytesRunner
from expnet_tf.export.savedmodel_session import open_session
from expnet_tf.export.tensorrt_runner import TensorRTRTXRunner, TensorRTRunner


class KerasRunner:
    """The .keras file itself, operation by operation. The backend owns the threads of the process."""

    name = "keras"

    def __init__(self, path: Path, threads: int = 1) -> None:
        import keras

        from expnet_tf.network import load_model

        self.version = f"{keras.__version__} on {keras.backend.backend()}"
        self._model = load_model(path)
        self._to_numpy = keras.ops.convert_to_numpy

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return {name: self._to_numpy(value) for name, value in self._model(images, training=False).items()}


class SavedModelRunner:
    """SavedModel through tf.saved_model.load. TensorFlow owns the threads of the process."""

    name = "savedmodel"

    def __init__(self, path: Path, threads: int = 1) -> None:
        import tensorflow as tf

        self.version = tf.__version__
        self._tf = tf
        self._module = tf.saved_model.load(str(path))  # held: the signature does not keep its variables alive
        self._serve = self._module.signatures["serving_default"]

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self._serve(image=self._tf.constant(images))
        return {name: value.numpy() for name, value in outputs.items()}

    def decode(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The signature `decode`: vertices float32 [B, v, 3] mm, with identity, and blendshapes float32 [B, b]."""
        outputs = self._module.signatures["decode"](image=self._tf.constant(images))
        return outputs["vertices"].numpy(), outputs["blendshapes"].numpy()


class SavedModelV1Runner:
    """SavedModel through the v1 Session loader, which is how TensorFlow Serving opens it."""

    name = "savedmodel-v1"

    def __init__(self, path: Path, threads: int = 1) -> None:
        import tensorflow as tf

        self.version = tf.__version__
        self._session, signature = open_session(path, threads)
        self._names = list(signature.outputs)
        fetches = [signature.outputs[name].name for name in self._names]
        # Looks names up once, not in every call: 4% of the compact network's latency.
        self._call = self._session.make_callable(fetches, [signature.inputs["image"].name])

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self._names, self._call(images), strict=True))

    def decode(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As SavedModelRunner's."""
        vertices, blendshapes = self._session.run(["vertices:0", "blendshapes:0"], {"decode_image:0": images})
        return vertices, blendshapes


class OnnxRunner:
    """ONNX through ONNX Runtime on the CPU."""

    name = "onnxruntime"

    def __init__(self, path: Path, threads: int = 1) -> None:
        import onnxruntime

        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], enable_fallback=False
        )
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self._names, self._session.run(self._names, {"image": images}), strict=True))


class LiteRTRunner:
    """TFLite through LiteRT (ai-edge-litert) with its default CPU delegate."""

    name = "litert"

    def __init__(self, path: Path, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.version = version("ai-edge-litert")
        self._interpreter = Interpreter(str(path), num_threads=threads)
        self._serve: Any = self._interpreter.get_signature_runner("serving_default")

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        # Copies: the arrays handed out may view buffers that the next call writes over.
        return {name: np.array(value) for name, value in self._serve(image=images).items()}


RUNNERS: dict[str, type[Runner]] = {
    runner.name: runner
    for runner in (
        KerasRunner,
        SavedModelRunner,
        SavedModelV1Runner,
        SavedModelBytesRunner,
        OnnxRunner,
        OnnxCudaRunner,
        OnnxTensorRTRunner,
        OpenVinoRunner,
        LiteRTRunner,
        TensorRTRunner,
        TensorRTRTXRunner,
    )
}
