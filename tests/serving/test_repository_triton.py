"""The real tritonserver on a repository as it was written. Only Triton's ONNX backend is a stand-in.

Needs an environment with nvidia-pytriton, which brings the server, and onnxruntime; EXPNET_TRITON_PYTHON names its
python. The ports and the addresses are the only arguments that differ from those in docker-compose.yaml.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from expnet_tf.export import REFERENCE_INPUTS, reference, runners
from expnet_tf.export.bundle import export_model
from expnet_tf.network import ExpNet, ModelInfo
from expnet_tf.serving.repository import build
from expnet_tf.serving.targets import BATCH

SIZE = 32
INFO = ModelInfo("toy", "0.1", "compact", SIZE, 1.5, ("expression", "identity", "pose"), "none", "Apache-2.0")
BACKENDS = Path(__file__).with_name("triton_backends")
PYTHON = shutil.which(os.environ.get("EXPNET_TRITON_PYTHON", ""))
WHERE = "import importlib.util as u, sys; print(u.find_spec('pytriton').origin, '%d.%d' % sys.version_info[:2])"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON, reason="EXPNET_TRITON_PYTHON does not name the python of an environment with nvidia-pytriton"
    ),
]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(0)
    network = ExpNet("compact", size=SIZE, mean_image=np.full((SIZE, SIZE, 3), 120.0))
    images = np.random.default_rng(0).integers(0, 255, (8, SIZE, SIZE, 3), dtype=np.uint8)
    folder = tmp_path_factory.mktemp("exported")
    assert export_model(network, folder, "onnx", info=INFO, images=images).passed
    return folder


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


@pytest.fixture(scope="module")
def addresses(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """HTTP, gRPC and metrics of a tritonserver that serves two versions."""
    folder = tmp_path_factory.mktemp("repository")
    for version in (1, 2):
        build(export, folder, "triton", version=version)
    origin, python = subprocess.check_output([str(PYTHON), "-c", WHERE], text=True).split()
    home = Path(origin).parent / "tritonserver"
    backends = Path(shutil.copytree(BACKENDS, tmp_path_factory.mktemp("backends") / "all"))
    shutil.copytree(home / "backends/python", backends / "python")
    shutil.copy(home / "python_backend_stubs" / python / "triton_python_backend_stub", backends / "python")

    ports = dict(zip(("http", "grpc", "metrics"), free_ports(3), strict=True))
    command = yaml.safe_load((folder / "docker-compose.yaml").read_text())["services"]["serving"]["command"]
    kept = [flag.replace("/repository", str(folder)) for flag in command if "-port=" not in flag]
    where = [flag for kind, port in ports.items() for flag in (f"--{kind}-port={port}", f"--{kind}-address=127.0.0.1")]
    environment = os.environ | {
        "PATH": f"{Path(str(PYTHON)).parent}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(home.parents[1] / "nvidia_pytriton.libs"),
    }
    log = tmp_path_factory.mktemp("log") / "triton.txt"
    with log.open("w") as file:
        server = subprocess.Popen(
            [home / "bin/tritonserver", *kept, *where, f"--backend-directory={backends}"],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        from tritonclient.grpc import InferenceServerClient, InferenceServerException

        end = time.monotonic() + 90
        with InferenceServerClient(f"127.0.0.1:{ports['grpc']}") as client:
            while True:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                try:
                    if client.is_server_ready():
                        break
                except InferenceServerException:  # it does not listen yet
                    pass
                time.sleep(0.2)
        yield {kind: f"127.0.0.1:{port}" for kind, port in ports.items()}
    finally:
        server.terminate()
        server.wait(60)


def ask(client: object, images: np.ndarray, version: str = "") -> dict[str, np.ndarray]:
    from tritonclient import grpc

    image = grpc.InferInput("image", list(images.shape), "UINT8")
    image.set_data_from_numpy(images)
    answer = client.infer("expnet", [image], model_version=version)
    return {head: answer.as_numpy(head) for head in INFO.heads}


@pytest.mark.parametrize("version", ["", "1", "2"])
def test_the_real_server_answers_the_same_z(export, addresses, version):
    from tritonclient import grpc

    images, wanted = reference.read_inputs(export / REFERENCE_INPUTS)
    local = runners.OnnxRunner(export / "model.onnx").run(images)
    with grpc.InferenceServerClient(addresses["grpc"]) as client:
        answer = ask(client, images, version)
    for head, values in wanted.items():
        np.testing.assert_allclose(answer[head], local[head], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(answer[head], values, rtol=1e-5, atol=1e-5)


def test_lone_requests_are_joined_and_each_gets_its_own(export, addresses):
    from tritonclient import grpc

    images, wanted = reference.read_inputs(export / REFERENCE_INPUTS)
    with grpc.InferenceServerClient(addresses["grpc"]) as client, ThreadPoolExecutor(32) as pool:
        before = client.get_inference_statistics("expnet", "2").model_stats[0]
        answers = list(pool.map(lambda i: ask(client, images[i % 8][None]), range(128)))
        after = client.get_inference_statistics("expnet", "2").model_stats[0]
    for i, answer in enumerate(answers):
        np.testing.assert_allclose(answer["expression"][0], wanted["expression"][i % 8], rtol=1e-5, atol=1e-5)
    assert after.inference_count - before.inference_count == 128
    assert after.execution_count - before.execution_count < 128


def test_the_server_says_what_config_pbtxt_says(addresses):
    from tritonclient import grpc

    with grpc.InferenceServerClient(addresses["grpc"]) as client:
        config = client.get_model_config("expnet").config
        assert config.max_batch_size == BATCH
        assert [warmup.batch_size for warmup in config.model_warmup] == [1, BATCH]
        assert list(client.get_model_metadata("expnet").versions) == ["1", "2"]
        with pytest.raises(grpc.InferenceServerException, match="batch-size must be <= 32"):
            ask(client, np.zeros((BATCH + 1, SIZE, SIZE, 3), np.uint8))
        with pytest.raises(grpc.InferenceServerException, match="explicit model load / unload is not allowed"):
            client.load_model("expnet")


def test_the_health_check_of_docker_compose(addresses):
    from expnet_tf.serving.targets.compose import probe

    port = int(addresses["http"].split(":")[1])
    assert subprocess.run(["bash", "-c", probe(port, "/v2/health/ready")], timeout=30).returncode == 0
    assert subprocess.run(["bash", "-c", probe(port, "/v2/models/none/ready")], timeout=30).returncode != 0
