"""TensorRT and TensorRT-RTX engines on a GPU, behind the Runner interface. Never on the CPU: they have no such path."""

from __future__ import annotations

import weakref
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from expnet_tf.export.runner import CannotRun


class TensorRTRunner:
    """A serialised engine in TensorRT 10 or 11. `threads` means nothing on a GPU.

    An engine is code: compare it with its manifest before it comes here, as verify does. One call at a time.
    Raises CannotRun without a GPU or TensorRT, and RuntimeError with TensorRT's words where the engine cannot be
    loaded: damaged, of another version, or of another kind of GPU.
    """

    name = "tensorrt"
    packages: tuple[str, ...] = ("tensorrt",)

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._cuda = cuda_runtime(self.name)
        trt = bindings(self.name, self.packages)
        self.version = trt.__version__
        self._log = message_log(trt)
        runtime = trt.Runtime(self._log)
        # An engine that later versions can load carries the part of TensorRT that runs it.
        runtime.engine_host_code_allowed = True
        engine: Any = runtime.deserialize_cuda_engine(path.read_bytes())
        self._context: Any = engine.create_execution_context() if engine else None
        if not self._context:
            raise RuntimeError(f"{self.name} {trt.__version__} cannot load {path.name}: {self._log.last}")
        self._engine = engine  # held: the context runs its code
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self._outputs = {
            name: (tuple(engine.get_tensor_shape(name))[1:], trt.nptype(engine.get_tensor_dtype(name)))
            for name in names
            if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
        }
        largest = tuple(engine.get_tensor_profile_shape("image", 0)[2])
        self._largest_batch = largest[0]

        self._stream = checked(self._cuda.cudaStreamCreate())
        self._memory: dict[str, int] = {}
        weakref.finalize(self, _release, self._cuda, self._stream, self._memory)
        self._allocate("image", int(np.prod(largest)))
        for name, (shape, dtype) in self._outputs.items():
            self._allocate(name, int(np.prod((self._largest_batch, *shape))) * np.dtype(dtype).itemsize)

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 RGB [B, S, S, 3] -> {output name: float32 [B, width]}; any B, in parts if it is beyond the profile."""
        starts = range(0, len(images), self._largest_batch)
        parts = [self._run(np.ascontiguousarray(images[i : i + self._largest_batch])) for i in starts]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        cuda, kind = self._cuda, self._cuda.cudaMemcpyKind
        if not self._context.set_input_shape("image", images.shape):
            raise RuntimeError(f"{self.name}: the engine does not take images {images.shape}: {self._log.last}")
        outputs = {name: np.empty((len(images), *shape), dtype) for name, (shape, dtype) in self._outputs.items()}
        to_device, to_host = kind.cudaMemcpyHostToDevice, kind.cudaMemcpyDeviceToHost
        source = images.ctypes.data
        checked(cuda.cudaMemcpyAsync(self._memory["image"], source, images.nbytes, to_device, self._stream))
        if not self._context.execute_async_v3(int(self._stream)):
            raise RuntimeError(f"{self.name}: the engine failed: {self._log.last}")
        for name, value in outputs.items():
            checked(cuda.cudaMemcpyAsync(value.ctypes.data, self._memory[name], value.nbytes, to_host, self._stream))
        checked(cuda.cudaStreamSynchronize(self._stream))
        return outputs

    def _allocate(self, name: str, size: int) -> None:
        self._memory[name] = checked(self._cuda.cudaMalloc(size))
        self._context.set_tensor_address(name, int(self._memory[name]))


class TensorRTRTXRunner(TensorRTRunner):
    """The same in TensorRT-RTX, which compiles the engine for the GPU at hand when it is loaded."""

    name = "tensorrt-rtx"
    packages = ("tensorrt_rtx", "tensorrt_rtx_bindings")


def bindings(name: str, packages: tuple[str, ...]) -> ModuleType:
    """The first of the modules that can be imported; raises CannotRun that says why none can."""
    for package in packages:
        try:
            return import_module(package)
        except ImportError as error:  # the package is missing, or the library that it binds
            reason = error
    raise CannotRun(f"{name} needs the Python package {packages[0]}: {reason}.")


def cuda_runtime(name: str) -> ModuleType:
    """NVIDIA's own CUDA bindings, after a GPU has been seen; raises CannotRun.

    cuda-python is what TensorRT's samples use; PyCUDA is compiled at installation and wants the CUDA toolkit for it.
    """
    try:
        runtime = import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise CannotRun(f"{name} needs an NVIDIA GPU and the Python package cuda-python: {error}.") from None
    status, count = runtime.cudaGetDeviceCount()
    if int(status) or not count:
        raise CannotRun(f"{name} needs an NVIDIA GPU, and there is none that CUDA can use here ({_word(status)}).")
    return runtime


def checked(result: tuple) -> Any:
    """What a call of cuda.bindings returned after its status; raises RuntimeError with the status."""
    status, *values = result
    if int(status):
        raise RuntimeError(f"CUDA: {_word(status)}.")
    return values[0] if values else None


def message_log(trt: Any) -> Any:
    """A TensorRT logger that keeps the errors, in place of a terminal full of them; `last` is the newest."""
    severity = trt.ILogger.Severity

    class MessageLog(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last = "no reason given"

        def log(self, level: Any, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                self.last = message

    return MessageLog()


def _word(status: Any) -> str:
    return str(getattr(status, "name", status))


def _release(cuda: Any, stream: Any, memory: dict[str, int]) -> None:
    for pointer in memory.values():
        cuda.cudaFree(pointer)
    cuda.cudaStreamDestroy(stream)
