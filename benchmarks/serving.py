"""Serving: throughput and latency of `expnet serve` for clients that wait for their answers, beside the bare runtime.

    python benchmarks/serving.py EXPORT [--file model.onnx] [--seconds 2] [--rounds 5]

EXPORT is a folder of `expnet export`. Prints Markdown; benchmarks/serving.md has the figures of one machine.
serving_overload.py, serving_faults.py and serving_hostile.py are the other parts of that page.

The server has one half of the cores, this generator the other, and the bare runtime, in a process of its own, those of
the server, with as many threads as the server has workers. Everything is measured in turns, `seconds` a round; ratios
are the median over the rounds of throughput over throughput, so that a busy machine shows in both. What batching gains
is measured with a second server, whose batches have one image. No limit is reached. The last column is how much of its
one core the generator used: near 100% it is what is measured. CPU ms are those of all the server's processes.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from served import Served, cpu, machine, put, split
from serving_bare import Bare
from serving_load import Clients, Known, closed_loop, photo_body, photo_message

CONCURRENCY = (1, 4, 16, 64)
ROWS = (1, 32)  # faces a request
AIM = 0.8  # of the bare runtime, requests of 32 faces
BARE, ALONE = "bare runtime", "gRPC, crops, --max-batch 1"
# 64 clients with 32 faces are 2048 images; what the queue refuses is for serving_overload.py.
OPTIONS = ("--max-queue", "4096", "--max-concurrent", "128", "--poll", "3600")


class Cell(NamedTuple):
    """One way to ask, for some seconds."""

    rate: float  # images a second
    times: list[float]  # s a request
    batch: float  # images a run of the network; NaN where it is not counted
    cpu: float  # s a face, of the server's processes
    busy: float  # of the generator's one core


class Row(NamedTuple):
    """A line of the table: a way to ask, faces a request, clients."""

    way: str
    faces: int
    clients: int


async def batches(clients: Clients) -> np.ndarray:
    """Images and batches until now, from the server's own /metrics."""
    lines = (line.rsplit(" ", 1) for line in (await clients.get("/metrics")).splitlines())
    values = {name.partition("{")[0]: float(value) for name, value in lines if name.startswith("expnet_batch_size")}
    return np.array([values.get(f"expnet_batch_size_{what}", np.nan) for what in ("sum", "count")])


async def cell(
    server: Served, clients: Clients, ask: Callable[[int], Awaitable[object]], row: Row, seconds: float
) -> Cell:
    asks = [functools.partial(ask, client) for client in range(row.clients)]
    await asyncio.gather(*(one() for one in asks))  # every connection once
    before, used, own, start = await batches(clients), cpu(server.pid), time.process_time(), time.perf_counter()
    rate, times = await closed_loop(asks, seconds)
    busy = (time.process_time() - own) / (time.perf_counter() - start)
    used = (cpu(server.pid) - used) / (len(times) * row.faces)
    images, runs = await batches(clients) - before
    return Cell(rate * row.faces, times, images / runs if runs else np.nan, used, busy)


def ways(clients: Clients, alone: Clients, known: dict[int, Known]) -> dict[tuple[str, int], Callable]:
    """{(way, faces a request): client -> a request and its answer}"""
    photo, photo_json = photo_message(), photo_body()

    async def grpc_crops(faces: int, to: Clients, client: int) -> None:
        number = client % len(known[faces].messages)
        response = await to.predict(client, known[faces].messages[number])
        assert known[faces].right(number, response), "a wrong answer"

    async def post(body: bytes, client: int) -> None:
        status, answer = await clients.post(body)
        assert status == 200, answer

    async def photo_grpc(client: int) -> None:
        await clients.predict(client, photo)

    return {
        ("gRPC, crops", 1): functools.partial(grpc_crops, 1, clients),
        (ALONE, 1): functools.partial(grpc_crops, 1, alone),
        ("gRPC, crops", 32): functools.partial(grpc_crops, 32, clients),
        ("REST, crops as JSON", 1): functools.partial(post, known[1].bodies[0]),
        ("gRPC, photos with a box", 1): photo_grpc,
        ("REST, photos with a box", 1): functools.partial(post, photo_json),
    }


async def measure(server: Served, single: Served, bare: Bare, side: int, options: argparse.Namespace):
    """{row: one Cell a round}"""
    known = {faces: Known(bare, side, faces, 8 if faces == 1 else 4) for faces in ROWS}
    async with (
        Clients(server.address, server.url, max(CONCURRENCY)) as clients,
        Clients(single.address, single.url, max(CONCURRENCY)) as alone,
    ):
        asks = ways(clients, alone, known)
        measured: dict[Row, list[Cell]] = {}
        for _ in range(options.rounds):
            for count in CONCURRENCY:
                for faces in ROWS:
                    times, used = bare.loop(known[faces].images[0], options.seconds)
                    rate = bare.threads * len(times) / sum(times) * faces
                    alike = Cell(rate, times, faces, used / (len(times) * faces), np.nan)
                    measured.setdefault(Row(BARE, faces, count), []).append(alike)
                    for (way, many), ask in asks.items():
                        if many == faces:
                            row = Row(way, faces, count)
                            to = (single, alone) if way == ALONE else (server, clients)
                            measured.setdefault(row, []).append(await cell(*to, ask, row, options.seconds))
    return measured


def ratio(ours: list[Cell], theirs: list[Cell]) -> float:
    return statistics.median(one.rate / other.rate for one, other in zip(ours, theirs, strict=True))


def cpu_ratio(ours: list[Cell], theirs: list[Cell]) -> float:
    """Faces for a second of CPU over faces for a second of CPU."""
    return statistics.median(other.cpu / one.cpu for one, other in zip(ours, theirs, strict=True))


def milliseconds(cells: list[Cell], quantile: float) -> float:
    return float(1000 * np.quantile(np.concatenate([one.times for one in cells]), quantile))


def tables(measured: dict[Row, list[Cell]], threads: int) -> str:
    lines = [
        "| way | faces | clients | faces/s | of the bare runtime | p50 ms | p99 ms | images a batch | CPU ms a face "
        "| generator |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    order = list(dict.fromkeys(row.way for row in measured))
    for row in sorted(measured, key=lambda row: (row.faces, order.index(row.way), row.clients)):
        cells = measured[row]
        if row.way == BARE:  # always the same loop, as often as there are numbers of clients
            if row.clients != CONCURRENCY[0]:
                continue
            cells = [one for count in CONCURRENCY for one in measured[Row(BARE, row.faces, count)]]
        share = 1.0 if row.way == BARE else ratio(cells, measured[Row(BARE, row.faces, row.clients)])
        rate = statistics.median(one.rate for one in cells)
        batch, used, busy = (np.median([getattr(one, name) for one in cells]) for name in ("batch", "cpu", "busy"))
        told = f"{threads} in a loop" if row.way == BARE else str(row.clients)
        own = "" if np.isnan(busy) else f"{busy:.0%}"
        lines.append(
            f"| {row.way} | {row.faces} | {told} | {rate:,.0f} | {share:.0%} | {milliseconds(cells, 0.5):.1f} | "
            f"{milliseconds(cells, 0.99):.1f} | {batch:.1f} | {1000 * used:.2f} | {own} |"
        )
    return "\n".join(lines)


def findings(measured: dict[Row, list[Cell]]) -> str:
    shares = {n: ratio(measured[Row("gRPC, crops", 32, n)], measured[Row(BARE, 32, n)]) for n in CONCURRENCY}
    over = milliseconds(measured[Row("gRPC, crops", 1, 1)], 0.5) - milliseconds(measured[Row(BARE, 1, 1)], 0.5)
    gains = [(n, ratio(measured[Row("gRPC, crops", 1, n)], measured[Row(ALONE, 1, n)])) for n in (16, 64)]
    by_cpu = [cpu_ratio(measured[Row("gRPC, crops", 32, n)], measured[Row(BARE, 32, n)]) for n in CONCURRENCY]
    reached = [n for n, share in shares.items() if share >= AIM]
    return (
        f"Requests of 32 faces: {', '.join(f'{share:.0%}' for share in shares.values())} of the bare runtime at "
        f"{', '.join(map(str, CONCURRENCY))} clients; the aim of {AIM:.0%} is "
        + (f"reached at {', '.join(map(str, reached))}" if reached else "missed")
        + f"; by CPU time, which a busy machine changes less, {', '.join(f'{share:.0%}' for share in by_cpu)}. "
        + f"Single faces: {over:.2f} ms a request more than "
        "the bare runtime, at one client; batches of up to 32 give "
        + " and ".join(f"{gain:.2f} times the throughput of --max-batch 1 at {n} clients" for n, gain in gains)
        + "."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("--file", default="model.onnx")
    parser.add_argument("--side", type=int, default=96, help="px of the model's crop (default: 96)")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    where = machine(cores := split())
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        put(options.export, options.file, base)
        bare = stack.enter_context(Bare(options.export / options.file, cores.server))
        server = stack.enter_context(Served(base, cores.server, *OPTIONS))
        single = stack.enter_context(Served(base, cores.server, *OPTIONS, "--max-batch", "1"))
        measured = asyncio.run(measure(server, single, bare, options.side, options))
    rounds = f"{options.rounds} rounds of {options.seconds:g} s"
    print(f"{options.file}, {bare.runtime}, {options.side} px; {rounds}; {where}\n")
    print(tables(measured, bare.threads), end="\n\n")
    print(findings(measured))


if __name__ == "__main__":
    main()
