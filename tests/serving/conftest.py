"""A toy network exported once, repositories of it, and real servers on loopback in a thread of their own."""

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from expnet_tf.export.bundle import export_model
from expnet_tf.network import ExpNet, ModelInfo, save_model
from expnet_tf.serving.app import Server, Settings

SIZE = 32
INFO = ModelInfo("toy", "0.1", "compact", SIZE, 1.5, ("expression", "identity", "pose"), "none", "Apache-2.0")


@pytest.fixture(scope="session")
def crops() -> np.ndarray:
    """uint8 [6, 32, 32, 3]: smooth blobs."""
    coarse = np.random.default_rng(0).uniform(0, 255, (6, 4, 4, 3))
    return keras.ops.convert_to_numpy(keras.ops.image.resize(coarse, (SIZE, SIZE))).astype(np.uint8)


@pytest.fixture(scope="session")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return ExpNet("compact", size=SIZE)


@pytest.fixture(scope="session")
def expected(network: keras.Model, crops: np.ndarray) -> dict[str, np.ndarray]:
    """What Keras itself says of the crops."""
    return {head: keras.ops.convert_to_numpy(values) for head, values in network(crops, training=False).items()}


@pytest.fixture(scope="session")
def keras_file(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "toy.keras"
    save_model(network, path, INFO)
    return path


@pytest.fixture(scope="session")
def exported(keras_file: Path, crops: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export folder with savedmodel/, model.onnx, model.tflite and manifest.json. Look, do not touch."""
    folder = tmp_path_factory.mktemp("exported")
    assert export_model(keras_file, folder, "savedmodel,onnx,tflite", images=crops).passed
    return folder


@pytest.fixture(scope="session")
def put(exported: Path) -> Callable[..., Path]:
    """put(base, "toy", 1, "model.onnx", manifest=True): a version of the toy in a repository."""

    def make(base: Path, model: str, version: int, file: str = "model.onnx", manifest: bool = True) -> Path:
        folder = base / model / str(version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = base / f".{model}-{version}"
        scratch.mkdir()
        source = exported / file
        if source.is_dir():
            shutil.copytree(source, scratch, dirs_exist_ok=True)
        else:
            shutil.copy(source, scratch / file)
        if manifest:
            shutil.copy(exported / "manifest.json", scratch)
        scratch.rename(folder)
        return folder

    return make


class Running:
    """A server in a thread; `call` runs a coroutine in its loop."""

    def __init__(self, server: Callable[[], Server]) -> None:
        self._ready, self._make, self._stopped = threading.Event(), server, False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._error: BaseException | None = None
        self._thread.start()
        assert self._ready.wait(30)
        if self._error:
            raise self._error

    async def _main(self) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            self.server = self._make()
            await self.server.start()
        except BaseException as error:
            self._error = error
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        await self.server.stop()

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.server.grpc_port}"

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.server.rest_port}"

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Running]]:
    """serve(repository, **settings) -> Running; stopped at the end of the module."""
    started: list[Running] = []

    def start(repository: Path | None, alone: Sequence[str] | None = None, **settings: Any) -> Running:
        made = Settings(repository=repository, grpc_port=0, rest_port=0, workers=2, **settings)
        started.append(Running(lambda: Server(made, alone)))
        return started[-1]

    yield start
    for running in started:
        running.stop()
