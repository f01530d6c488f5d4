"""OpenVINO, Intel's runtime, on ONNX files: often the fastest on x86. Comes with the extra `bench`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from expnet_tf.export.runner import CannotRun


def import_openvino() -> ModuleType:
    """The module openvino, imported without its telemetry. Raises CannotRun where it is not installed.

    A plain `import openvino` sends an event to Google Analytics and leaves an identifier in ~/intel, unless a file
    there says no. Without the package openvino_telemetry it uses a stub of its own: so that is hidden from it.
    """
    hidden = "openvino_telemetry"
    known = sys.modules.get(hidden)
    sys.modules[hidden] = None  # type: ignore[assignment]  # the import system's sign for "there is no such module"
    try:
        return import_module("openvino")
    except ImportError as error:
        raise CannotRun(f"OpenVINO cannot be imported ({error}): pip install 'expnet_tf[bench]'.") from None
    finally:
        if known is None:
            del sys.modules[hidden]
        else:
            sys.modules[hidden] = known


class OpenVinoRunner:
    """ONNX through OpenVINO on the CPU, in float32 throughout. Not for calls from several threads at once."""

    name = "openvino"

    def __init__(self, path: Path, threads: int = 1) -> None:
        openvino = import_openvino()
        self.version = openvino.__version__.split("-")[0]
        core = openvino.Core()
        self._model = core.compile_model(
            core.read_model(str(path)),
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
                "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 where the CPU has it
                "ENABLE_CPU_PINNING": False,  # pinned, two processes on one machine would share a core
            },
        )
        self._names = [output.get_any_name() for output in self._model.outputs]

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self._model({"image": images}, share_outputs=False)  # False: the arrays handed out are copies
        return dict(zip(self._names, outputs.values(), strict=True))
