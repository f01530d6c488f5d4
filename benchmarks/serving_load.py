"""The generator of the benchmarks of serving: requests whose right answers are known, and two ways to send them.

Messages are serialised beforehand and every gRPC client has a connection of its own. Answers are parsed, and compared.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import cv2
import grpc
import numpy as np
from served import NAME
from serving_bare import Bare, Outputs

import expnet_tf
from expnet_tf.export.tolerances import FLOAT32
from expnet_tf.serving.protocol import DT_FLOAT, DT_STRING, PredictRequest, PredictResponse, TensorProto
from expnet_tf.serving.tensors import write_tensor

PREDICT = "/tensorflow.serving.PredictionService/Predict"
# Not from expnet_tf.models, which imports TensorFlow.
PHOTO = Path(expnet_tf.__file__).parent / "assets" / "astronaut.jpg"
BOX = (190.0, 60.0, 110.0, 150.0)
_SAME = FLOAT32.max_dz_sigma  # batches of other sizes sum in another order


def blobs(count: int, side: int) -> np.ndarray:
    """uint8 [count, side, side, 3]: smooth, all different, and to the network all different faces."""
    coarse = np.random.default_rng(0).uniform(0, 255, (count, 5, 5, 3))
    large = [cv2.resize(one, (side, side), interpolation=cv2.INTER_CUBIC) for one in coarse]
    return np.clip(np.stack(large), 0, 255).astype(np.uint8)


class Known:
    """Several requests of `rows` different faces each, with the answers of the bare runtime."""

    def __init__(self, bare: Bare, side: int, rows: int, count: int = 8) -> None:
        self.rows = rows
        self.images = blobs(count * rows, side).reshape(count, rows, side, side, 3)
        self.messages = [_crops(images) for images in self.images]
        self.bodies = [json.dumps({"instances": images.tolist()}).encode() for images in self.images[:, :1]]
        self._answers: dict[int, list[Outputs]] = {}
        self.learn(1, bare)
        z = np.concatenate([answer["expression"] for answer in self._answers[1]])
        apart = np.abs(z[:, None] - z[None]).max(-1) + np.eye(len(z))
        assert apart.min() > 10 * _SAME, "the answers are too much alike to tell one from another"

    def learn(self, version: int, bare: Bare) -> None:
        """What another version of the model answers."""
        self._answers[version] = [bare.outputs(images) for images in self.images]

    def right(self, number: int, response: PredictResponse) -> bool:
        """Whether the response to message `number` is that of the version that it names."""
        answered = {name: read(proto) for name, proto in response.outputs.items()}
        return _alike(answered, self._answers[response.model_spec.version.value][number])

    def right_arrays(self, number: int, answered: Outputs) -> bool:
        """Whether these outputs for images `number` are those of a version, where none is named."""
        return any(_alike(answered, answers[number]) for answers in self._answers.values())

    def right_json(self, number: int, answer: dict) -> bool:
        """The same of REST's answer to body `number`, which has one face."""
        answered = {name: np.array([values]) for name, values in answer["predictions"][0].items()}
        one = ({name: values[:1] for name, values in answers[number].items()} for answers in self._answers.values())
        return any(_alike(answered, right) for right in one)


def read(proto: TensorProto) -> np.ndarray:
    """A float32 tensor of an answer, in its shape."""
    return np.frombuffer(proto.tensor_content, "<f4").reshape([dim.size for dim in proto.tensor_shape.dim])


def _alike(answered: Outputs, right: Outputs) -> bool:
    return answered.keys() == right.keys() and all(
        values.shape == right[name].shape and np.allclose(values, right[name], rtol=1e-4, atol=_SAME)
        for name, values in answered.items()
    )


def _crops(images: np.ndarray) -> bytes:
    request = PredictRequest()
    request.model_spec.name = NAME
    request.inputs["image"].CopyFrom(write_tensor(images))
    return request.SerializeToString()


def photo_message() -> bytes:
    """A photo of 512 x 512 px and its box, as a message."""
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = NAME, "photo"
    photo = TensorProto(dtype=DT_STRING, string_val=[PHOTO.read_bytes()])
    photo.tensor_shape.dim.add(size=1)
    box = TensorProto(dtype=DT_FLOAT, float_val=BOX)
    for size in (1, 4):
        box.tensor_shape.dim.add(size=size)
    request.inputs["image_bytes"].CopyFrom(photo)
    request.inputs["box"].CopyFrom(box)
    return request.SerializeToString()


def photo_body() -> bytes:
    """The same as JSON."""
    row = {"image_bytes": {"b64": base64.b64encode(PHOTO.read_bytes()).decode()}, "box": BOX}
    return json.dumps({"signature_name": "photo", "instances": [row]}).encode()


class Clients:
    """gRPC clients, each with its own connection, and HTTP; to be made, used and closed in one event loop."""

    def __init__(self, address: str, url: str, count: int) -> None:
        options = (
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.max_reconnect_backoff_ms", 500),
        )
        self._channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(count)]
        self._predict = [one.unary_unary(PREDICT, None, PredictResponse.FromString) for one in self._channels]
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._url = url

    async def predict(self, client: int, message: bytes, timeout: float | None = None) -> PredictResponse:
        """Raises grpc.aio.AioRpcError."""
        return await self._predict[client % len(self._predict)](message, timeout=timeout)

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """Status and answer of REST's :predict."""
        async with self._session.post(f"{self._url}/v1/models/{NAME}:predict", data=body) as response:
            return response.status, await response.read()

    async def get(self, path: str) -> str:
        async with self._session.get(self._url + path) as response:
            return await response.text()

    async def close(self) -> None:
        await self._session.close()
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def __aenter__(self) -> Clients:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@dataclass
class Tally:
    """What became of requests."""

    seconds: list[float] = field(default_factory=list)  # of those that were answered
    refused: list[float] = field(default_factory=list)  # s of the others
    codes: Counter[str] = field(default_factory=Counter)  # gRPC's names and HTTP's numbers
    said: dict[str, str] = field(default_factory=dict)  # the first message of each code
    wrong: int = 0  # answers that are not the right ones
    version: int = 0  # that the last answer over gRPC came from
    last: float = math.inf  # s of the clock, when the last one was answered
    gap: float = 0.0  # s, the longest time without an answer

    def add(self, code: str, seconds: float, right: bool = True, message: str = "") -> None:
        self.codes[code] += 1
        self.said.setdefault(code, message)
        self.wrong += not right
        if code not in ("OK", "200"):
            self.refused.append(seconds)
            return
        self.seconds.append(seconds)
        now = time.perf_counter()
        self.last, self.gap = now, max(self.gap, now - self.last)

    def __str__(self) -> str:
        return ", ".join(f"{code} {count:,}" for code, count in sorted(self.codes.items())) or "none"

    def others(self, *expected: str) -> dict[str, str]:
        """Codes that are neither success nor expected, with what was said."""
        return {code: said for code, said in self.said.items() if code not in ("OK", "200", *expected)}


async def ask_known(
    clients: Clients, client: int, known: Known, number: int, tally: Tally, since: float, timeout: float | None = None
) -> None:
    """One gRPC request, its answer compared and counted; its seconds are from `since` on."""
    try:
        response = await clients.predict(client, known.messages[number], timeout)
    except grpc.aio.AioRpcError as error:
        tally.add(error.code().name, time.perf_counter() - since, message=error.details() or "")
    else:
        seconds = time.perf_counter() - since
        tally.add("OK", seconds, known.right(number, response))
        tally.version = response.model_spec.version.value


async def ask_known_json(clients: Clients, known: Known, number: int, tally: Tally) -> None:
    """The same over REST, with one face."""
    since = time.perf_counter()
    try:
        status, answer = await clients.post(known.bodies[number])
    except aiohttp.ClientError as error:
        tally.add(type(error).__name__, time.perf_counter() - since, message=str(error))
    else:
        seconds = time.perf_counter() - since
        right = status != 200 or known.right_json(number, json.loads(answer))
        tally.add(str(status), seconds, right, "" if status == 200 else answer.decode(errors="replace"))


async def closed_loop(asks: Sequence[Callable[[], Awaitable[object]]], seconds: float) -> tuple[float, list[float]]:
    """As many clients as `asks`, each asking again once it is answered.

    Returns requests a second, and the seconds of every request.
    """
    times: list[float] = []
    begin = time.perf_counter()
    end = begin + seconds

    async def client(ask: Callable[[], Awaitable[object]]) -> None:
        while (start := time.perf_counter()) < end:
            await ask()
            times.append(time.perf_counter() - start)

    await asyncio.gather(*map(client, asks))
    return len(times) / (time.perf_counter() - begin), times


async def open_loop(ask: Callable[[int, float], Awaitable[object]], rate: float, seconds: float, seed: int) -> Tally:
    """Requests at times of their own, `rate` a second with Poisson's gaps, whatever becomes of those before.

    `ask(number, since)` is told when it should have been sent, and counts from then. Returns a tally whose seconds
    are how much later than that the requests were begun: what this generator did not keep up with.
    """
    rng, lags = np.random.default_rng(seed), Tally()
    due = np.cumsum(rng.exponential(1 / rate, int(rate * seconds))) + time.perf_counter()
    tasks: set[asyncio.Task] = set()

    async def one(number: int, since: float) -> None:
        lags.seconds.append(time.perf_counter() - since)
        await ask(number, since)

    for number, since in enumerate(due.tolist()):
        # Also where it is late: the others must come to read their answers.
        await asyncio.sleep(max(0.0, since - time.perf_counter()))
        task = asyncio.create_task(one(number, since))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return lags
