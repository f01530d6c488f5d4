"""`expnet live` as a whole: a clip, the shipped model, a real server, and clients of each kind."""

import asyncio
import csv
import json
import os
import signal
import socket
import threading
import time
from collections import deque

import aiohttp
import cv2
import numpy as np
import pytest

from expnet_tf.cli import main
from expnet_tf.live.message import SCHEMA
from expnet_tf.live.run import Summary
from expnet_tf.video.reader import Camera, VideoFile
from expnet_tf.video.run import process


@pytest.fixture
def loaded(predictor, monkeypatch):
    """The model is loaded and compiled once for all tests here, which takes several seconds."""
    monkeypatch.setattr("expnet_tf.predictor.load", lambda name: predictor)


@pytest.fixture(scope="module")
def said_by_predict(clip, predictor, tmp_path_factory):
    """The rows of `expnet predict CLIP` by frame; by True those of --smooth."""
    made = {}

    def rows(smooth):
        out = tmp_path_factory.getbasetemp() / "predicted"
        process(VideoFile(clip), out, predictor, ("csv",), smooth)
        with (out / "faces.csv").open() as file:
            return {int(row["frame"]): row for row in csv.DictReader(file)}

    for smooth in (False, True):
        made[smooth] = rows(smooth)
    return made


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Client(threading.Thread):
    """Connects as soon as it can, reads until the end, and asks for pictures meanwhile."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.messages, self.pictures, self.codes = port, [], [], {}
        self.start()

    def run(self):
        asyncio.run(asyncio.wait_for(self.read(), 60))

    async def read(self):
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    pictures = await session.ws_connect(f"http://127.0.0.1:{self.port}/picture")
                    break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.02)
            messages = await session.ws_connect(f"http://127.0.0.1:{self.port}/blendshapes")
            await asyncio.gather(self.look(pictures), self.listen(messages))

    async def listen(self, ws):
        async for message in ws:
            self.messages.append(json.loads(message.data))
        self.codes["blendshapes"] = ws.close_code

    async def look(self, ws):
        await ws.send_str("next")
        async for message in ws:
            self.pictures.append(message.data)
            await ws.send_str("next")
        self.codes["picture"] = ws.close_code


@pytest.mark.parametrize("smooth", [False, True])
def test_messages_say_what_predict_says(loaded, clip, said_by_predict, smooth, capsys):
    port = free_port()
    client = Client(port)
    code = main(["live", str(clip), "--fast", "--port", str(port), *(["--smooth"] if smooth else [])])
    client.join(10)
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert f"ws://127.0.0.1:{port}/blendshapes" in out
    assert "24 frames, 1 person, from picture to message" in out
    assert client.codes["blendshapes"] == aiohttp.WSCloseCode.GOING_AWAY
    # Who asks for the next picture of a server that has just ended finds the connection gone before it reads why.
    assert client.codes["picture"] in (aiohttp.WSCloseCode.GOING_AWAY, aiohttp.WSCloseCode.ABNORMAL_CLOSURE)
    predicted = said_by_predict[smooth]
    assert len(predicted) == 24
    assert client.messages[-1]["frame"] == 23
    for message in client.messages:
        row = predicted[message["frame"]]
        assert (message["schema"], message["width"], message["height"]) == (SCHEMA, 320, 240)
        assert message["time"] == pytest.approx(float(row["time_s"]), abs=1e-6)
        (face,) = message["faces"]
        assert face["id"] == int(row["id"])
        assert face["quality"] == pytest.approx(float(row["quality"]), abs=1e-4)
        assert len(face["blendshapes"]) == 52
        for name, weight in face["blendshapes"].items():
            assert weight == pytest.approx(float(row[name]), abs=6e-6), name  # five digits in the CSV
        turn = np.linalg.norm([float(row[f"rotation_{axis}"]) for axis in "xyz"])
        assert 2 * np.arccos(face["rotation"][3]) == pytest.approx(turn, abs=1e-3)
        assert face["translation"][2] < -0.1
    for picture in client.pictures:
        assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).shape == (240, 320, 3)
    assert client.pictures


def test_vmc_until_sigterm(loaded, clip, said_by_predict, decoded, capsys):
    """At its own pace, again and again; frames may be left out, and then faces are tracked a little otherwise."""
    got = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(60)

        def listen():
            while sum(one[0] == "/VMC/Ext/Blend/Apply" for one in got) < 5:
                got.extend(decoded(receiver.recv(65536)))
            os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        words = ["--loop", "--port", "0", "--vmc", f"127.0.0.1:{receiver.getsockname()[1]}"]
        code = main(["live", str(clip), *words])
        thread.join(5)
    assert (code, capsys.readouterr().err) == (0, "")
    predicted = said_by_predict[False]
    weights = {name: value for _, name, value in (one for one in got if one[0] == "/VMC/Ext/Blend/Val")}
    assert len(weights) == 52
    smiles = [float(row["mouthSmileLeft"]) for row in predicted.values()]
    assert min(smiles) - 0.1 < weights["MouthSmileLeft"] < max(smiles) + 0.1
    (head,) = [one for one in got if one[:2] == ("/VMC/Ext/Bone/Pos", "Head")][-1:]
    assert np.linalg.norm(head[5:]) == pytest.approx(1, abs=1e-5)


def test_a_camera_that_falls_silent(loaded, clip, monkeypatch, capsys):
    """Read as a camera is, as fast as it gives pictures; a clip stands in for it, and its end for the cable."""

    class Plugged(Camera):
        def __init__(self, number):
            assert number == 3
            super().__init__(str(clip))

        def close(self):
            super().close()
            closed.append(self)

    closed = []
    monkeypatch.setattr("expnet_tf.video.reader.Camera", Plugged)
    assert main(["live", "--camera", "3", "--port", "0"]) == 1
    out, err = capsys.readouterr()
    assert "The clip starts" not in out
    assert "10 frames missing" in out
    assert err.splitlines() == ["expnet live: frame 23: 1 missing, the camera gave no picture."] * 10
    assert len(closed) == 1


def test_another_machine_is_named(loaded, clip, monkeypatch, capsys):
    """Nothing is sent: the clip ends before its first frame."""

    async def ended(*given):
        return Summary(frames=2, missed=1, people=1, lost=3, latencies=deque([0.01, 0.01]))

    monkeypatch.setattr("expnet_tf.live.run.live", ended)
    assert main(["live", str(clip), "--port", "0", "--vmc", "192.0.2.1:39540"]) == 1
    out, err = capsys.readouterr()
    assert err == "expnet live: blendshapes are sent to 192.0.2.1, another machine, without encryption.\n"
    assert out == (
        "2 frames, 1 person, 1 frame left out, 3 frames missing, from picture to message 10.0 ms (median), 10.0 ms "
        "(95th percentile).\n"
    )


def refused(capsys, *words):
    """The sentence with which it ends at once."""
    start = time.monotonic()
    assert main(["live", *map(str, words)]) == 2
    assert time.monotonic() - start < 60
    return capsys.readouterr().err


def test_what_cannot_be_shown(clip, tmp_path, capsys):
    assert "camera 97 is not there, in use, or gives no picture" in refused(capsys, "--camera", 97)
    assert f"{tmp_path / 'none.mp4'} does not exist" in refused(capsys, tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no film at all, but long enough to be looked at")
    assert "holds no video that can be decoded" in refused(capsys, tmp_path / "text.mp4")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(capsys, clip, "--port", port)
        assert f"127.0.0.1:{port} cannot be listened at: Address already in use" in said
    assert "one of them is expected" in refused(capsys, clip, "--camera", 0)
    assert "--loop is for a clip" in refused(capsys, "--loop")
    assert "--vmc" in refused(capsys, clip, "--vmc", "name.invalid:39540")


@pytest.mark.parametrize(
    "words",
    [["--vmc", "127.0.0.1"], ["--vmc", "a:b"], ["--vmc", "a:70000"], ["--port", "-1"], ["--allow-origin", "localhost"],
     ["--allow-origin", "http://a/b"], ["--max-clients", "0"], ["--camera", "front"]],
)  # fmt: skip
def test_arguments_that_are_refused(words, capsys):
    assert words[1] in refused(capsys, *words)
