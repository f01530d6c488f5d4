"""The server as it starts by default: the shipped model under the name expnet, and the same face as `predict`."""

import numpy as np
import pytest

import expnet_tf
from expnet_tf.commands.serve import _load_shipped
from expnet_tf.models import ASSETS, shipped
from expnet_tf.network import read_info
from expnet_tf.serving.app import Server, Settings, StartError
from expnet_tf.serving.client import Client

PHOTO = ASSETS / "astronaut.jpg"


def test_the_shipped_model(serve):
    running = serve(None, _load_shipped)
    (face,) = expnet_tf.load().predict(expnet_tf.read_image(PHOTO))
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


def test_a_server_that_could_not_start_leaves_nothing_behind(serve, put, tmp_path):
    import asyncio

    put(tmp_path, "toy", 1)
    first = serve(tmp_path)

    async def second(**ports):
        server = Server(Settings(repository=tmp_path, **ports))
        with pytest.raises(StartError, match="cannot be listened at"):
            await server.start()
        await server.models.close()

    asyncio.run(second(grpc_port=0, rest_port=first.server.rest_port))
    asyncio.run(second(grpc_port=first.server.grpc_port, rest_port=0))
