"""Versions that appear, fail and disappear while requests go on; every runtime behind the same interface."""

import asyncio
import json
import shutil
import sys
import threading
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from expnet_tf.serving import models as module
from expnet_tf.serving.artifacts import ArtifactError, models_folder
from expnet_tf.serving.errors import ServingError
from expnet_tf.serving.loaded import LoadedModel, load_keras, load_version
from expnet_tf.serving.protocol import SavedModel
from expnet_tf.serving.transports import Target, connect
from expnet_tf.serving.worker import program


@pytest.mark.parametrize("file", ["model.onnx", "model.tflite", "savedmodel"])
def test_every_runtime_answers_alike(put, tmp_path, file, crops, expected):
    loaded = load_version(put(tmp_path, "toy", 1, file), max_batch=4)
    for images in (crops, crops[:1]):
        for head, values in loaded.run(images).items():
            np.testing.assert_allclose(values, expected[head][: len(images)], rtol=1e-4, atol=1e-4)
    assert (loaded.contract.model, loaded.contract.size, loaded.contract.crop_factor) == ("toy-0.1", 32, 1.5)
    assert loaded.contract.outputs == {"expression": 29, "identity": 99, "pose": 6}


def test_a_keras_file_answers_alike(keras_file, crops, expected):
    loaded = load_keras(keras_file, max_batch=4)
    np.testing.assert_allclose(loaded.run(crops)["pose"], expected["pose"], rtol=1e-4, atol=1e-4)
    assert loaded.contract.crop_factor == 1.5


@pytest.mark.parametrize(("file", "factor"), [("model.onnx", 1.5), ("model.tflite", None), ("savedmodel", None)])
def test_without_a_manifest_the_artifact_speaks_for_itself(put, tmp_path, file, factor):
    """Only ONNX says its crop factor; what does not has no signature for photos."""
    folder = put(tmp_path / "models", "toy", 1, file, manifest=False)
    contract = load_version(folder, 1).contract
    assert (contract.size, contract.crop_factor) == (32, factor)
    record = {"models": {"toy": {"crop_factor": 1.5}}}  # as `expnet repository` writes it
    (tmp_path / "repository.json").write_text(json.dumps(record))
    assert load_version(folder, 1).contract.crop_factor == 1.5
    assert models_folder(tmp_path) == models_folder(tmp_path / "models") == tmp_path / "models"


def test_a_version_that_is_not_what_its_manifest_says(put, tmp_path):
    folder = put(tmp_path, "toy", 1)
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.onnx: its sha256 is not the one in the manifest"):
        load_version(folder, 1)
    saved = put(tmp_path, "toy", 2, "savedmodel")
    (saved / "variables" / "more").write_text("")
    with pytest.raises(ArtifactError, match=r"more: not in the manifest"):
        load_version(saved, 1)
    (saved / "variables" / "more").unlink()
    next((saved / "variables").glob("*.index")).unlink()
    with pytest.raises(ArtifactError, match=r"index: missing"):
        load_version(saved, 1)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"no manifest with an artifact onnx"):
        load_version(folder, 1)


def test_a_version_that_verify_failed(put, tmp_path):
    folder = put(tmp_path, "toy", 1)
    record = json.loads((folder / "manifest.json").read_text())
    for verdict, refused in (("not run", False), ("pass", False), ("fail", True)):
        record["artifacts"]["onnx"]["verified"] = verdict
        (folder / "manifest.json").write_text(json.dumps(record))
        if refused:
            with pytest.raises(ArtifactError, match=r"model\.onnx: expnet verify failed it"):
                load_version(folder, 1)
        else:
            load_version(folder, 1)


def test_a_savedmodel_that_takes_photos(tmp_path):
    saved = SavedModel()
    graph = saved.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    for name in ("box", "image_bytes"):
        graph.signature_def["serving_default"].inputs[name].name = name
    folder = tmp_path / "toy" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    with pytest.raises(ArtifactError, match=r"takes encoded photos.*this server decodes photos itself"):
        load_version(folder, 1)


def test_a_folder_without_an_artifact(tmp_path):
    with pytest.raises(ArtifactError, match=r"neither saved_model\.pb nor one of model\.onnx, .*model\.tflite, "):
        load_version(tmp_path, 1)


def test_broken_weights_are_refused():
    class Broken:
        name, version = "onnxruntime", "0"

        def run(self, images):
            return {"expression": np.full((len(images), 29), np.nan, np.float32)}

    with pytest.raises(ArtifactError, match="expression of a blank image is not finite"):
        LoadedModel(Broken(), ("", 32, None), 1)


class Stream:
    """Requests one after the other in a thread, for as long as the block lasts; every failure is kept."""

    def __init__(self, address, crops):
        self._transport, self._crops = connect(address), crops
        self._stop, self.failures, self.answered = threading.Event(), [], 0
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.is_set():
            try:
                self._transport.predict(Target("toy", None), self._crops, 10)
                self.answered += 1
            except ServingError as error:
                self.failures.append(error)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._transport.close()


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_versions_come_and_go_while_requests_go_on(serve, put, tmp_path, crops):
    put(tmp_path, "toy", 1)
    running = serve(tmp_path, poll=0.05)
    models = running.server.models
    state = lambda version: {s.version: s for s in models.status("toy")}.get(version)  # noqa: E731
    assert models.find("toy").version == 1
    with Stream(running.grpc, crops[:2]) as stream:
        # Copied slowly: not taken up before it is whole.
        slow = tmp_path / "toy" / "2"
        slow.mkdir()
        whole = put(tmp_path, ".aside", 2)
        data = (whole / "model.onnx").read_bytes()
        with (slow / "model.onnx").open("wb") as file:
            for start in range(0, len(data), len(data) // 8 + 1):
                file.write(data[start : start + len(data) // 8 + 1])
                file.flush()
                time.sleep(0.01)
        wait_for(lambda: models.find("toy").version == 2)
        wait_for(lambda: state(1).state == "END")
        assert state(2).state == "AVAILABLE"

        # A broken one is refused, and the old one goes on.
        broken = put(tmp_path, ".aside", 3)
        (broken / "model.onnx").write_bytes(b"no model")
        broken.rename(tmp_path / "toy" / "3")
        wait_for(lambda: state(3) and state(3).state == "END")
        assert state(3).code == StatusCode.INVALID_ARGUMENT
        assert "sha256" in state(3).message
        assert state(3).message.startswith("ArtifactError: toy/3/model.onnx: ")  # and not where the repository is
        assert models.find("toy").version == 2
        # Mended in place, it is tried again.
        shutil.copy(whole / "model.onnx", tmp_path / "toy" / "3" / "model.onnx")
        wait_for(lambda: models.find("toy").version == 3)

        # Taken away, the next lower one serves; the last one goes on, whatever happens to its folder.
        shutil.rmtree(tmp_path / "toy" / "3")
        wait_for(lambda: models.find("toy").version == 2)
        shutil.rmtree(tmp_path / "toy")
        time.sleep(0.3)
        assert models.find("toy").version == 2
        put(tmp_path, "toy", 4, "model.tflite")
        wait_for(lambda: models.find("toy").version == 4)
        answered = stream.answered
        wait_for(lambda: stream.answered > answered + 3)
    assert stream.failures == []
    with pytest.raises(ServingError, match=r"Specific\(toy, 2\)"):
        models.find("toy", 2)


@pytest.mark.parametrize("lives_at", [2, None])
def test_a_version_whose_worker_is_killed_as_it_loads(serve, put, tmp_path, monkeypatch, lives_at):
    """Tried again, for it may be the machine's memory; but not for ever."""
    put(tmp_path, "toy", 1)
    running = serve(tmp_path, poll=0.05)
    models, tried = running.server.models, []

    def words(kind, path):
        tried.append(path.name)
        lives = len(tried) == lives_at
        return program(kind, path) if lives else [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]

    monkeypatch.setattr(module, "program", words)
    put(tmp_path, "toy", 2)
    if lives_at:
        wait_for(lambda: models.find("toy").version == 2)
    else:
        wait_for(lambda: models._models["toy"].refused)
        time.sleep(0.3)
        assert models.find("toy").version == 1
        assert "ended with -9 before it was ready" in models.status("toy", 2)[0].message
    assert tried == ["2"] * (lives_at or 3)


def test_a_version_is_kept_for_the_requests_on_it(serve, put, tmp_path):
    put(tmp_path, "toy", 1)
    running = serve(tmp_path, poll=0.05)
    models = running.server.models

    async def hold():
        with models.find("toy").in_use():
            put(tmp_path, "toy", 2)
            while models.find("toy").version != 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            return {s.version: s.state for s in models.status("toy")}

    assert running.call(hold()) == {1: "UNLOADING", 2: "AVAILABLE"}
    wait_for(lambda: {s.version: s.state for s in models.status("toy")}[1] == "END")


def test_an_empty_repository_waits(serve, put, tmp_path, crops):
    (tmp_path / "toy" / "1").mkdir(parents=True)  # nothing in it yet
    (tmp_path / "lost+found" / "notes").mkdir(parents=True)  # no number: no version, and so no model
    running = serve(tmp_path, poll=0.05)
    models = running.server.models
    assert models.missing() == ["toy"]
    states = health_pb2.HealthCheckResponse
    with grpc.insecure_channel(running.grpc) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        assert check(health_pb2.HealthCheckRequest(), timeout=10).status == states.NOT_SERVING
        with pytest.raises(HTTPError, match="503") as caught:
            urlopen(f"{running.rest}/readyz", timeout=10)
        assert b"no version of toy is served" in caught.value.read()
        put(tmp_path, "toy", 7)
        wait_for(lambda: check(health_pb2.HealthCheckRequest(), timeout=10).status == states.SERVING)
        with urlopen(f"{running.rest}/readyz", timeout=10) as response:
            assert response.status == 200
    put(tmp_path, "other", 1)
    wait_for(lambda: len(models.serving) == 2)
    assert models.missing() == []
    assert models.find("other").version == 1
