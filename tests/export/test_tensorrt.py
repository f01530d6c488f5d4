"""TensorRT. Engines are built with the real TensorRT-RTX, and with the Python bindings of TensorRT 11 over its library.

Both are packages that the project does not bring (tensorrt-rtx; tensorrt-cu13-bindings): without them those tests skip.
Without a GPU no engine runs: what the Runner does around one is tested on a double, whose memory is the computer's own
and whose engine is the ONNX graph. That the doubles have no method that the real ones lack is tested where those are.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from expnet_tf.export import ExportError, onnx_fp16, tensorrt
from expnet_tf.export.onnx import convert
from expnet_tf.export.runner import CannotRun
from expnet_tf.export.tensorrt import EngineOptions
from expnet_tf.export.tensorrt_runner import TensorRTRTXRunner, TensorRTRunner
from expnet_tf.network import DEFAULT_HEADS, HEADS, ModelInfo

INFO = ModelInfo("toy", "0.1", "compact", 32, 1.5, ("expression", "identity", "pose"), "none", "Apache-2.0")
OPTIONS = EngineOptions(batch=(1, 3, 4))


@pytest.fixture(scope="module")
def graph(model: keras.Model) -> onnx.ModelProto:
    return onnx_fp16.halve(convert(model, INFO))


class Cuda(ModuleType):
    """cuda.bindings.runtime, as far as the Runner uses it, with numpy's memory for the GPU's."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice="in", cudaMemcpyDeviceToHost="out")

    def __init__(self, devices: int = 1) -> None:
        super().__init__("cuda.bindings.runtime")
        self.devices = devices
        self.memory: dict[int, np.ndarray] = {}
        self.waiting: list[Any] = []  # what the stream has to do still

    def cudaGetDeviceCount(self) -> tuple:
        return (0, self.devices) if self.devices else (100, None)

    def cudaMalloc(self, size: int) -> tuple:
        block = np.full(size, 0xAA, np.uint8)
        self.memory[block.ctypes.data] = block
        return 0, block.ctypes.data

    def cudaFree(self, pointer: int) -> tuple:
        del self.memory[pointer]
        return (0,)

    def cudaStreamCreate(self) -> tuple:
        return 0, 7

    def cudaStreamDestroy(self, stream: int) -> tuple:
        return (0,)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: str, stream: int) -> tuple:
        device = target if kind == "in" else source
        if size > self.memory[device].nbytes:
            return (1,)
        self.waiting.append(lambda: ctypes.memmove(target, source, size))
        return (0,)

    def cudaStreamSynchronize(self, stream: int) -> tuple:
        for work in self.waiting:
            work()
        self.waiting.clear()
        return (0,)


class ILogger:
    Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

    def log(self, level: int, message: str) -> None: ...


class Context:
    def __init__(self, cuda: Cuda, session: onnxruntime.InferenceSession) -> None:
        self._cuda, self._session = cuda, session
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return name == "image" and shape[0] <= 4 and shape[1:] == (32, 32, 3)

    def execute_async_v3(self, stream_handle: int) -> bool:
        self._cuda.waiting.append(self._execute)
        return True

    def _execute(self) -> None:
        image = self._cuda.memory[self._addresses["image"]][: np.prod(self._shape)].reshape(self._shape)
        names = [output.name for output in self._session.get_outputs()]
        for name, value in zip(names, self._session.run(names, {"image": image}), strict=True):
            ctypes.memmove(self._addresses[name], value.ctypes.data, value.nbytes)


class Engine:
    def __init__(self, cuda: Cuda, content: bytes) -> None:
        self._cuda = cuda
        self._session = onnxruntime.InferenceSession(content)
        self._tensors = [*self._session.get_inputs(), *self._session.get_outputs()]

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return self._tensors[index].name

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "image" else "out"

    def get_tensor_shape(self, name: str) -> list[int]:
        return [-1, *next(t.shape for t in self._tensors if t.name == name)[1:]]

    def get_tensor_dtype(self, name: str) -> str:
        return "uint8" if name == "image" else "float32"

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[list[int]]:
        return [[count, 32, 32, 3] for count in OPTIONS.batch]

    def create_execution_context(self) -> Context:
        return Context(self._cuda, self._session)


def double(cuda: Cuda) -> ModuleType:
    """The module tensorrt, as far as the Runner uses it."""

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, logger: ILogger) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
            if serialized_engine[:6] == b"damage":
                self._logger.log(1, "the magic tag does not match")
                self._logger.log(2, "a warning")
                return None
            return Engine(cuda, serialized_engine)

    module = ModuleType("tensorrt")
    module.__dict__.update(
        __version__="11.0.double",
        ILogger=ILogger,
        Runtime=Runtime,
        TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"),
        nptype=np.dtype,
    )
    return module


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """The doubles in place of the packages."""
    made = Cuda()
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setitem(sys.modules, "tensorrt", double(made))
    return made


@pytest.fixture
def engine(graph: onnx.ModelProto, tmp_path: Path) -> Path:
    path = tmp_path / "model-fp16.engine"
    path.write_bytes(graph.SerializeToString())
    return path


def test_runner_on_the_double(cuda: Cuda, engine: Path, images: np.ndarray) -> None:
    """Six images through a profile of four; then fewer, in the same buffers; then all memory is given back."""
    runner = TensorRTRunner(engine)
    session = onnxruntime.InferenceSession(engine)
    for part in (images, images[::2], images[:1]):
        outputs = runner.run(part)
        expected = dict(zip(DEFAULT_HEADS, session.run(list(DEFAULT_HEADS), {"image": part}), strict=True))
        assert set(outputs) == set(expected)
        for head, value in outputs.items():
            assert value.dtype == np.float32
            np.testing.assert_allclose(value, expected[head], atol=1e-4, rtol=1e-5)
    assert {block.nbytes for block in cuda.memory.values()} == {4 * 32 * 32 * 3, 4 * 29 * 4, 4 * 99 * 4, 4 * 6 * 4}
    del runner
    assert not cuda.memory


def test_images_of_another_size(cuda: Cuda, engine: Path) -> None:
    with pytest.raises(RuntimeError, match=r"does not take images \(1, 30, 30, 3\)"):
        TensorRTRunner(engine).run(np.zeros((1, 30, 30, 3), np.uint8))


def test_a_damaged_engine(cuda: Cuda, tmp_path: Path) -> None:
    (tmp_path / "x.engine").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match=r"^tensorrt 11.0.double cannot load x.engine: the magic tag"):
        TensorRTRunner(tmp_path / "x.engine")


def test_an_error_of_cuda(cuda: Cuda, engine: Path, images: np.ndarray) -> None:
    runner = TensorRTRunner(engine)
    pointer = next(iter(cuda.memory))
    cuda.memory[pointer] = cuda.memory[pointer][:100]
    with pytest.raises(RuntimeError, match=r"^CUDA: 1\.$"):
        runner.run(images)


@pytest.mark.parametrize("runner", [TensorRTRunner, TensorRTRTXRunner])
def test_without_a_gpu(runner: type[TensorRTRunner], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", Cuda(devices=0))
    with pytest.raises(
        CannotRun, match=f"^{runner.name} needs an NVIDIA GPU, and there is none that CUDA can use here"
    ):
        runner(Path("any.engine"))


def test_without_the_packages(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(CannotRun, match=r"^tensorrt needs the Python package tensorrt: "):
        TensorRTRunner(Path("any.engine"))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(CannotRun, match=r"^tensorrt needs an NVIDIA GPU and the Python package cuda-python: "):
        TensorRTRunner(Path("any.engine"))


def test_writers_without_a_gpu_or_the_packages(
    model: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", Cuda(devices=0))
    with pytest.raises(ExportError, match=r"^Building a TensorRT engine needs an NVIDIA GPU"):
        tensorrt.write(model, INFO, tmp_path / "model-fp16.engine")
    for package in TensorRTRTXRunner.packages:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=r"^Building a TensorRT-RTX engine needs the Python package tensorrt_rtx: "):
        tensorrt.write_rtx(model, INFO, tmp_path / "model-fp16-rtx.engine")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("batch", [(0, 1, 2), (1, 3, 2), (2, 1, 3)])
def test_batch_sizes(batch: tuple[int, int, int]) -> None:
    with pytest.raises(ExportError, match="accepted are three from 1 up"):
        EngineOptions(batch)


# The real TensorRT-RTX.


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx is not installed", exc_type=ImportError)


def test_rtx_network(rtx: Any, graph: onnx.ModelProto) -> None:
    """The ends of the network, its types inside, and the profile."""
    log = tensorrt.message_log(rtx)
    builder = rtx.Builder(log)
    network = tensorrt.parse(rtx, builder, graph, log)
    image = network.get_input(0)
    assert (image.name, image.dtype, tuple(image.shape)) == ("image", rtx.uint8, (-1, 32, 32, 3))
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    assert {o.name: tuple(o.shape) for o in outputs} == {head: (-1, HEADS[head]) for head in DEFAULT_HEADS}
    assert {o.dtype for o in outputs} == {rtx.float32}
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    kinds = {layer.type: set() for layer in layers}
    for layer in layers:
        kinds[layer.type].add(layer.get_output(0).dtype)
    assert kinds[rtx.LayerType.CONVOLUTION] == kinds[rtx.LayerType.ACTIVATION] == {rtx.float16}
    assert kinds[rtx.LayerType.MATRIX_MULTIPLY] == kinds[rtx.LayerType.REDUCE] == {rtx.float32}
    config = tensorrt.configure(rtx, builder, network, OPTIONS, log)
    assert config.num_optimization_profiles == 1
    assert not config.get_flag(rtx.BuilderFlag.TF32)


def test_rtx_engine(
    rtx: Any, model: keras.Model, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built here, on any machine; run where there is a GPU."""
    monkeypatch.setattr(onnx_fp16, "PROBE_FACES", 2)
    engine = tmp_path / "model-fp16-rtx.engine"
    tensorrt.write_rtx(model, INFO, engine, OPTIONS)
    content = engine.read_bytes()
    assert 2 * model.count_params() < len(content) < 6 * model.count_params()
    assert all(name.encode() in content for name in ("image", *DEFAULT_HEADS))
    try:
        runner = TensorRTRTXRunner(engine)
    except CannotRun as reason:
        pytest.skip(f"built; {reason}")
    expected = {head: keras.ops.convert_to_numpy(value) for head, value in model(images).items()}
    for head, value in runner.run(images).items():
        np.testing.assert_allclose(value, expected[head], atol=0.02, rtol=5e-3)


def test_rtx_refuses_rubbish(rtx: Any, cuda: Cuda, tmp_path: Path) -> None:
    """The Runner around the real runtime; what it says first depends on the machine."""
    (tmp_path / "x.engine").write_bytes(b"rubbish" * 100)
    with pytest.raises(RuntimeError, match=rf"^tensorrt-rtx {rtx.__version__} cannot load x.engine: \S+"):
        TensorRTRTXRunner(tmp_path / "x.engine")


def test_rtx_refuses_an_unknown_operator(rtx: Any, graph: onnx.ModelProto) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(graph)
    next(node for node in proto.graph.node if node.op_type == "Relu").op_type = "NoSuchOperator"
    with pytest.raises(ExportError, match=r"cannot read the ONNX graph: .* in NoSuchOperator "):
        tensorrt.build(rtx, proto, OPTIONS)


def test_rtx_refuses_other_ends(rtx: Any, graph: onnx.ModelProto) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(graph)
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 30
    with pytest.raises(ExportError, match=r"reads .*\(-1, 29\).* expected is .*\(-1, 30\)"):
        tensorrt.build(rtx, proto, OPTIONS)


@pytest.mark.parametrize(
    "options",
    [EngineOptions(version_compatible=True), EngineOptions(hardware_compatible=True), EngineOptions((1, 1, 1), Path())],
)
def test_rtx_takes_batch_sizes_alone(rtx: Any, graph: onnx.ModelProto, options: EngineOptions) -> None:
    with pytest.raises(ExportError, match="accepted are the batch sizes alone"):
        tensorrt.build(rtx, graph, options)


# TensorRT 11's own Python bindings. Their library builds nothing without a GPU; TensorRT-RTX's has the same C++
# interfaces behind the same few entry points, so these libraries, by TensorRT's names, pass the calls on to it.

ENTRIES = """
#include <dlfcn.h>
static void* at(const char* library, const char* name) { return dlsym(dlopen(library, RTLD_NOW | RTLD_GLOBAL), name); }
void* createInferBuilder_INTERNAL(void* log, int version) {
    return ((void* (*)(void*, int))at(CORE, "createInferBuilder_INTERNAL"))(log, VERSION); }
void* createInferRuntime_INTERNAL(void* log, int version) {
    return ((void* (*)(void*, int))at(CORE, "createInferRuntime_INTERNAL"))(log, VERSION); }
void* createNvOnnxParser_INTERNAL(void* network, void* log, int version) {
    return ((void* (*)(void*, void*, int))at(PARSER, "createNvOnnxParser_INTERNAL"))(network, log, VERSION); }
int getNvOnnxParserVersion(void) { return VERSION; }
void* createInferRefitter_INTERNAL(void* a, void* b, int c) { return 0; }
void* createNvOnnxParserRefitter_INTERNAL(void* a, void* b, int c) { return 0; }
void* getBuilderPluginRegistry(int a) { return 0; }
void* getPluginRegistry(void) { return 0; }
int initLibNvInferPlugins(void* a, const char* b) { return 1; }
"""

SCRIPT = """
import json, sys
from pathlib import Path
import onnx, tensorrt_bindings as trt
from expnet_tf.export.tensorrt import EngineOptions, build
graph, cache = onnx.load(sys.argv[1]), Path(sys.argv[2])
sizes = [len(build(trt, graph, EngineOptions((1, 3, 4), cache, hardware_compatible=True))) for _ in range(2)]
kinds = [trt, trt.ILogger, trt.Runtime, trt.ICudaEngine, trt.IExecutionContext]
print(json.dumps({"version": trt.__version__, "bytes": sizes, "cache": cache.stat().st_size,
                  "fp16": hasattr(trt.BuilderFlag, "FP16"), "surface": [dir(kind) for kind in kinds]}))
"""


@pytest.fixture(scope="module")
def eleven(rtx: Any, graph: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What SCRIPT found, in a process of its own."""
    found, libraries = find_spec("tensorrt_bindings"), find_spec("tensorrt_rtx_libs")
    compiler = shutil.which("cc")
    if not found or not libraries or not compiler:
        pytest.skip("needs tensorrt-cu13-bindings, tensorrt-rtx-cu13-libs and a C compiler")
    folder = tmp_path_factory.mktemp("eleven")
    core, parser = (
        next(Path(libraries.origin).parent.glob(pattern)) for pattern in ("libtensorrt_rtx.so.*", "*onnxparser*.so.*")
    )
    major, minor, patch = (int(part) for part in rtx.__version__.split(".")[:3])
    (folder / "entries.c").write_text(
        f'#define CORE "{core}"\n#define PARSER "{parser}"\n'
        f"#define VERSION {10000 * major + 100 * minor + patch}\n{ENTRIES}"
    )
    for name in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
        library = folder / f"lib{name}.so.11"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "entries.c", "-ldl"], check=True)
    onnx.save(graph, folder / "graph.onnx")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder / "graph.onnx", folder / "timing.cache"],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode < 0:  # a crash: the interfaces of these two versions are not the same
        pytest.skip(f"TensorRT's bindings and TensorRT-RTX {rtx.__version__} do not fit together")
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_eleven_builds(eleven: dict[str, Any]) -> None:
    assert eleven["version"].startswith("11.")
    assert not eleven["fp16"]  # the flag that 10 has and this project does without
    assert min(eleven["bytes"]) > 100_000
    assert eleven["cache"] > 0


def test_the_double_has_nothing_that_eleven_lacks(eleven: dict[str, Any], cuda: Cuda) -> None:
    for mine, theirs in zip(surface(cuda), eleven["surface"], strict=True):
        assert mine <= set(theirs)


def test_the_double_has_nothing_that_rtx_lacks(rtx: Any, cuda: Cuda) -> None:
    theirs = [rtx, rtx.ILogger, rtx.Runtime, rtx.ICudaEngine, rtx.IExecutionContext]
    for mine, real in zip(surface(cuda), theirs, strict=True):
        assert mine <= set(dir(real))


def test_the_double_has_nothing_that_cuda_lacks(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, cuda.__name__)
    real = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed", exc_type=ImportError)
    mine = {name for name in vars(Cuda) if name.startswith("cuda")}
    assert len(mine) == 8
    assert mine <= set(dir(real))


def surface(cuda: Cuda) -> list[set[str]]:
    """Public names of the doubles: the module, and its classes in the order of SCRIPT."""
    module = double(cuda)
    kinds = [module, ILogger, module.Runtime, Engine, Context]
    return [{name for name in vars(kind) if not name.startswith("_")} for kind in kinds]
