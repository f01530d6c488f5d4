"""The server as it starts by default: the shipped model under the name expnet, and the same face as `predict`."""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

import expnet_tf
from expnet_tf.commands import serve as command
from expnet_tf.commands.common import UsageError
from expnet_tf.models import ASSETS, resolve, shipped
from expnet_tf.network import read_info
from expnet_tf.serving.app import Server, Settings, StartError
from expnet_tf.serving.client import Client
from expnet_tf.serving.worker import program

PHOTO = ASSETS / "astronaut.jpg"


def test_the_shipped_model(serve):
    running = serve(None, program("keras", resolve("compact")))
    (face,) = expnet_tf.load("compact").predict(expnet_tf.read_image(PHOTO))
    with Client(running.grpc) as client:
        (answer,) = client.predict([PHOTO])
    assert (client.size, client.crop_factor) == (96, 1.25)
    assert answer.box == pytest.approx(face.box)
    np.testing.assert_allclose(answer.expression, face.expression, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(answer.outputs["pose"], face.pose, rtol=1e-4, atol=1e-3)
    servable = running.server.models.find("expnet")
    assert (servable.version, servable.contract.model) == (1, read_info(shipped()["compact"]).id)


def test_settings_are_loopback_by_default():
    assert Settings().host == "127.0.0.1"
    assert not Settings().reflection


@pytest.mark.parametrize("taken", ["grpc_port", "rest_port"])
def test_a_port_in_use_is_told_before_anything_is_loaded(taken, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"grpc_port": 0, "rest_port": 0, taken: other.getsockname()[1]}
        server = Server(Settings(**ports), [sys.executable, "-c", f"open({str(tmp_path / 'loaded')!r}, 'w')"])
        with pytest.raises(StartError, match="cannot be listened at: Address already in use"):
            asyncio.run(server.start())
    assert not list(tmp_path.iterdir())


KNOCKING = """
import json, socket
for _ in range(2):
    try:
        socket.create_connection(("127.0.0.1", PORT), timeout=5)
        print(json.dumps({"error": "let in"}))
        break
    except ConnectionRefusedError:
        pass
else:
    print(json.dumps({"error": "refused twice"}))
"""


def test_nobody_is_let_in_while_the_model_loads():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    knocking = [sys.executable, "-c", KNOCKING.replace("PORT", str(port))]
    for ports in ({"grpc_port": port, "rest_port": 0}, {"grpc_port": 0, "rest_port": port}):
        with pytest.raises(StartError, match="refused twice"):
            asyncio.run(Server(Settings(**ports), knocking).start())


def test_an_export_is_no_repository(exported):
    with pytest.raises(UsageError, match=r"is one export, not DIR/NAME/VERSION/: copy it .*`expnet repository`"):
        command.run(argparse.Namespace(model_repository=exported))


LOADING = """
import asyncio, sys
from expnet_tf.serving import logs
from expnet_tf.serving.app import Server, Settings
slow = [sys.executable, "-c", "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(60)"]
logs.configure("info")
asyncio.run(Server(Settings(grpc_port=0, rest_port=0), slow).run())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_model_loads(number, tmp_path):
    with subprocess.Popen([sys.executable, "-c", LOADING], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            loading = int(process.stderr.readline())
            process.send_signal(number)
            assert process.wait(20) == 0
            assert json.loads(process.stderr.read())["event"] == "stopped while loading"
            with pytest.raises(ProcessLookupError):
                os.kill(loading, 0)
        finally:
            process.kill()


def test_a_server_that_could_not_start_leaves_nothing_behind(serve, put, tmp_path):
    put(tmp_path, "toy", 1)
    first = serve(tmp_path)

    async def second(**ports):
        server = Server(Settings(repository=tmp_path, **ports))
        with pytest.raises(StartError, match="cannot be listened at"):
            await server.start()

    asyncio.run(second(grpc_port=0, rest_port=first.server.rest_port))
    asyncio.run(second(grpc_port=first.server.grpc_port, rest_port=0))
