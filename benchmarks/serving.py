"""Serving: requests a second and latency of `expnet serve`, beside the bare runner in this process.

    python benchmarks/serving.py EXPORT [--file model.onnx] [--seconds 3] [--rounds 3] [--requests 2000]

EXPORT is a folder of `expnet export`. Prints Markdown; benchmarks/serving.md has the figures of one machine. One image
a request; as many clients as the table says, each asking again once it is answered. The bare runner is called by as
many threads, without a batch being formed; the server is a process of its own, on loopback, and shares the CPUs with
the clients. Every cell is measured in turns, for `seconds` a round or `requests`, whichever ends first; the ratio is
the median over the rounds of throughput over throughput, so that a busy machine shows in both. No limit is reached.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import grpc
import numpy as np

from expnet_tf.models import ASSETS
from expnet_tf.serving.app import cores
from expnet_tf.serving.loaded import LoadedModel, load_version
from expnet_tf.serving.protocol import DT_FLOAT, DT_STRING, PredictionServiceStub, PredictRequest, TensorProto
from expnet_tf.serving.tensors import write_tensor

CONCURRENCY = (1, 8, 32)
BARE = "bare runner"
PHOTO, BOX = ASSETS / "astronaut.jpg", (190.0, 60.0, 110.0, 150.0)
Latencies = list[float]  # s, one a request


class Limit:
    """Ends a round: after some seconds or requests."""

    def __init__(self, seconds: float, requests: int) -> None:
        self._end, self._left = time.perf_counter() + seconds, requests

    def go_on(self) -> bool:
        self._left -= 1
        return self._left >= 0 and time.perf_counter() < self._end


def bare(model: LoadedModel, image: np.ndarray, clients: int, limit: Limit) -> Latencies:
    latencies: Latencies = []

    def ask() -> None:
        while limit.go_on():
            start = time.perf_counter()
            model.run(image)
            latencies.append(time.perf_counter() - start)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies


async def served(call: Callable[[], Awaitable[object]], clients: int, limit: Limit) -> Latencies:
    latencies: Latencies = []

    async def ask() -> None:
        while limit.go_on():
            start = time.perf_counter()
            await call()
            latencies.append(time.perf_counter() - start)

    await asyncio.gather(*(ask() for _ in range(clients)))
    return latencies


def photo_request() -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "expnet", "photo"
    photo = TensorProto(dtype=DT_STRING, string_val=[PHOTO.read_bytes()])
    photo.tensor_shape.dim.add(size=1)
    box = TensorProto(dtype=DT_FLOAT, float_val=BOX)
    for size in (1, 4):
        box.tensor_shape.dim.add(size=size)
    request.inputs["image_bytes"].CopyFrom(photo)
    request.inputs["box"].CopyFrom(box)
    return request


async def over_the_wire(address: str, url: str, image: np.ndarray, options: argparse.Namespace, model: LoadedModel):
    """{row: {clients: [(requests a second, latencies), one a round]}}"""
    crops = PredictRequest()
    crops.model_spec.name = "expnet"
    crops.inputs["image"].CopyFrom(write_tensor(image))
    photo = photo_request()
    body = json.dumps({"instances": image.tolist()}).encode()
    encoded = base64.b64encode(PHOTO.read_bytes()).decode()
    rows = [{"image_bytes": {"b64": encoded}, "box": BOX}]
    photo_body = json.dumps({"signature_name": "photo", "instances": rows}).encode()
    connector = aiohttp.TCPConnector(limit=0)
    async with grpc.aio.insecure_channel(address) as channel, aiohttp.ClientSession(connector=connector) as session:
        stub = PredictionServiceStub(channel)

        async def post(data: bytes) -> None:
            async with session.post(f"{url}/v1/models/expnet:predict", data=data) as response:
                assert response.status == 200, await response.text()
                await response.read()

        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "gRPC, crops": lambda: stub.Predict(crops),
            "REST, crops as JSON": lambda: post(body),
            "gRPC, photos with a box": lambda: stub.Predict(photo),
            "REST, photos with a box": lambda: post(photo_body),
        }
        for call in calls.values():  # warm up
            await call()
        measured: dict[str, dict[int, list[tuple[float, Latencies]]]] = {
            name: {clients: [] for clients in CONCURRENCY} for name in (BARE, *calls)
        }
        for _ in range(options.rounds):
            for clients in CONCURRENCY:
                for name in measured:
                    limit, start = Limit(options.seconds, options.requests), time.perf_counter()
                    if name == BARE:
                        latencies = await asyncio.to_thread(bare, model, image, clients, limit)
                    else:
                        latencies = await served(calls[name], clients, limit)
                    measured[name][clients].append((len(latencies) / (time.perf_counter() - start), latencies))
        async with session.get(f"{url}/metrics") as response:
            page = await response.text()
    return measured, page


def batch_sizes(page: str) -> str:
    """Images a batch on average, from the server's own /metrics."""
    values = dict(line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("expnet_batch_size"))
    total, batches = (float(values[f'expnet_batch_size_{what}{{model="expnet"}}']) for what in ("sum", "count"))
    return f"{total / batches:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("--file", default="model.onnx")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        version = Path(scratch) / "expnet" / "1"
        version.mkdir(parents=True)
        for name in (options.file, "manifest.json"):
            shutil.copy(options.export / name, version)
        model = load_version(version, cores(), 32)
        side = model.contract.size
        image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
        command = Path(sys.executable).with_name("expnet")
        words = [
            "serve",
            "--model-repository",
            scratch,
            "--grpc-port",
            "0",
            "--rest-port",
            "0",
            "--log-level",
            "warning",
        ]
        server = subprocess.Popen([command, *words], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            address, url = said.split("gRPC ")[1].split(",")[0], said.split("REST ")[1].strip().rstrip(".")
            load = os.getloadavg()[0]
            measured, page = asyncio.run(over_the_wire(address, url, image, options, model))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    print(
        f"{model.contract.model}, {options.file}, {model.runtime}, {side} px; {options.rounds} rounds of at most "
        f"{options.seconds:g} s; {os.cpu_count()} CPUs ({platform.machine()}), load {load:.1f} at the start; "
        f"{batch_sizes(page)} images a batch on average\n"
    )
    print("| one image a request | clients | requests/s | of the bare runner | p50 ms | p99 ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, cells in measured.items():
        for clients, rounds in cells.items():
            rate = statistics.median(rate for rate, _ in rounds)
            pairs = zip(rounds, measured[BARE][clients], strict=True)
            ratio = statistics.median(ours / theirs for (ours, _), (theirs, _) in pairs)
            p50, p99 = (1000 * np.quantile(np.concatenate([times for _, times in rounds]), q) for q in (0.5, 0.99))
            print(f"| {name} | {clients} | {rate:,.0f} | {ratio:.0%} | {p50:.1f} | {p99:.1f} |")


if __name__ == "__main__":
    main()
