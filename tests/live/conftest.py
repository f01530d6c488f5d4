"""What the tests of `expnet live` share: a clip, the shipped model, and a server on loopback."""

import contextlib
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

import expnet_tf
from expnet_tf.video.overlay import open_writer

pytest.importorskip("aiohttp", reason="the extra expnet_tf[live] is not installed")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photo in the package, turning and coming nearer: 24 frames of 320x240 px at 12 frames/s."""
    from importlib import resources

    with resources.as_file(resources.files("expnet_tf") / "assets" / "astronaut.jpg") as path:
        photo = expnet_tf.read_image(path)
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    writer = open_writer(path, 12, (320, 240))
    centre = np.array([224.0, 120.0])  # of the face
    for index in range(24):
        turn = cv2.getRotationMatrix2D(tuple(centre), 5 * np.sin(index / 4), 0.8 + 0.005 * index)
        turn[:, 2] += [160, 110] - centre
        writer.write(cv2.cvtColor(cv2.warpAffine(photo, turn, (320, 240)), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture(scope="session")
def predictor():
    return expnet_tf.load()


@pytest.fixture
def serving():
    """Gives a started server and its port: `async with serving() as (server, port)`."""
    from expnet_tf.live.doors import Doors
    from expnet_tf.live.server import Server, bound

    @contextlib.asynccontextmanager
    async def started(**given):
        doors = Doors("127.0.0.1", given.pop("origins", ()), given.pop("token", None))
        server, listening = Server(doors, given.pop("clients", 8), **given), bound("127.0.0.1", 0)
        await server.start(listening)
        try:
            yield server, listening.getsockname()[1]
        finally:
            await server.stop()
            listening.close()

    return started


@pytest.fixture
def decoded():
    return _decoded


def _decoded(packet: bytes) -> list[tuple]:
    """The messages of a bundle, each as (address, *values), after OSC 1.0."""
    assert len(packet) % 4 == 0
    assert packet[:16] == b"#bundle\0\0\0\0\0\0\0\0\1"
    found, at = [], 16
    while at < len(packet):
        (size,) = struct.unpack_from(">i", packet, at)
        found.append(_message(packet[at + 4 : at + 4 + size]))
        at += 4 + size
    assert at == len(packet)
    return found


def _message(data: bytes) -> tuple:
    address, at = _text(data, 0)
    tags, at = _text(data, at)
    assert tags[0] == ","
    values = [address]
    for tag in tags[1:]:
        if tag == "s":
            value, at = _text(data, at)
        else:
            (value,) = struct.unpack_from({"i": ">i", "f": ">f"}[tag], data, at)
            at += 4
        values.append(value)
    assert at == len(data)
    return tuple(values)


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    after = at + (end - at) // 4 * 4 + 4
    assert not data[end:after].strip(b"\0")
    return data[at:end].decode(), after
