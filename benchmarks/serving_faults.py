"""Serving: workers killed, versions switched and the server ended, all under load.

    python benchmarks/serving_faults.py EXPORT [--seconds 20] [--workers N]

Prints Markdown for benchmarks/serving.md, and ends with 1 where something that must hold does not. The server has one
half of the cores, the generator the other; gRPC and REST clients, one face a request, ask again once they are answered,
and every answer is compared with the bare runtime's.

Killed: SIGKILL to one of the server's child processes every second for `seconds`, later where there was no answer since
the last. Requests may fail as UNAVAILABLE (503), for each kill no more than a batch has faces; then the workers are
back, and the throughput. Switched: version 2, the same network with its last constants moved, is renamed into the
repository and out again, for `seconds`; no request may fail, and answers are those of the version they name.
Ended: SIGTERM; requests are answered, or refused as UNAVAILABLE (503), or find no one there (or CANCELLED, see GONE),
and the exit code is 0.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper
from served import NAME, Served, machine, put, split, workers
from serving_bare import Bare
from serving_load import Clients, Known, Tally, ask_known, ask_known_json, closed_loop

FILE = "model.onnx"  # of which another version can be made without a toolchain
GRPC, REST = 24, 4  # clients
BATCH = 4  # --max-batch: fewer than clients, so that more failures than the batch in flight has would be seen
UNAVAILABLE = ("UNAVAILABLE", "503")
# Of a server that ends: to REST's clients no one there; CANCELLED is gRPC's own word to calls that it has not handed on
# to the server when that stops (grpc/grpc 41785).
GONE = ("CANCELLED", "ClientConnectorError", "ClientOSError", "ServerDisconnectedError")


class Part(NamedTuple):
    """A paragraph of the page, and what does not hold."""

    told: str
    failed: list[str]


def all_clients(clients: Clients, known: Known, tally: Tally) -> list[Callable[[], Awaitable[object]]]:
    """One function a client."""
    count = len(known.messages)

    async def ask_grpc(client: int) -> None:
        await ask_known(clients, client, known, client % count, tally, time.perf_counter(), timeout=60)

    async def ask_rest(client: int) -> None:
        await ask_known_json(clients, known, client % count, tally)

    over_grpc = [functools.partial(ask_grpc, client) for client in range(GRPC)]
    return [*over_grpc, *(functools.partial(ask_rest, client) for client in range(REST))]


@asynccontextmanager
async def meanwhile(work: Callable[[], Awaitable[object]]):
    """`work` goes on while the context does; what it raises is raised."""
    task = asyncio.ensure_future(work())
    try:
        yield
    finally:
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=task.cancelling() > 0)


async def throughput(clients: Clients, known: Known, seconds: float) -> float:
    """Requests a second, of which none fails: the best of five rounds, for a busy machine takes half of some."""
    tally = Tally()
    asks = all_clients(clients, known, tally)
    await closed_loop(asks, 0.5)
    rate = max([(await closed_loop(asks, seconds / 5))[0] for _ in range(5)])
    if tally.refused or tally.wrong:
        raise SystemExit(f"Undisturbed requests failed: {tally}, {tally.wrong} wrong; {tally.said}")
    return rate


async def killed(server: Served, known: Known, seconds: float) -> Part:
    crew = workers(server.pid)
    if not crew:
        return Part("Killed: skipped; this server has no worker processes.", [])
    tally, kills = Tally(), 0
    async with Clients(server.address, server.url, GRPC) as clients:
        before = await throughput(clients, known, seconds / 4)

        async def kill() -> None:
            nonlocal kills
            chance = random.Random(0)
            while True:
                await asyncio.sleep(1)
                if alive := sorted(workers(server.pid)):
                    os.kill(chance.choice(alive), signal.SIGKILL)
                    kills, answered = kills + 1, len(tally.seconds)
                    while len(tally.seconds) <= answered + BATCH:  # a batch may have been on its way
                        await asyncio.sleep(0.005)

        async with meanwhile(kill):
            await closed_loop(all_clients(clients, known, tally), seconds)
        end = time.perf_counter() + 30
        while len(workers(server.pid)) < len(crew) and time.perf_counter() < end:
            await asyncio.sleep(0.1)
        there = len(workers(server.pid))
        after = await throughput(clients, known, seconds / 4)
    lost = len(tally.refused)
    failed = [f"{code} after a kill: {said}" for code, said in tally.others(*UNAVAILABLE).items()]
    if lost > kills * BATCH:
        failed.append(f"{lost} requests failed, more than the {kills * BATCH} of the batches in flight.")
    if tally.wrong:
        failed.append(f"{tally.wrong} wrong answers after kills.")
    if there != len(crew):
        failed.append(f"{there} workers after the kills, {len(crew)} before.")
    if after < 0.8 * before:
        failed.append(f"Throughput fell from {before:,.0f} to {after:,.0f} requests/s.")
    return Part(
        f"Killed: {kills} times SIGKILL in {seconds:g} s to one of {len(crew)} worker(s), with batches of at most "
        f"{BATCH}: {len(tally.seconds):,} requests answered, {tally.wrong} wrong, {lost} failed where {kills * BATCH} "
        f"could ({tally}); {tally.gap:.2f} s at most without an answer; afterwards {there} worker(s) and "
        f"{after / before:.0%} of the throughput before.",
        failed,
    )


def other_weights(source: Path, target: Path) -> None:
    """An ONNX file whose last constants are one more: to the runtime the same network, and other answers."""
    model = onnx.load(source)
    constants = {one.name: one for one in model.graph.initializer}
    heads = {output.name for output in model.graph.output}
    for node in model.graph.node:
        if heads.intersection(node.output):
            for one in (constants[name] for name in node.input if name in constants):
                one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one) + np.float32(1), one.name))
    onnx.save(model, target)


async def switched(server: Served, known: Known, base: Path, seconds: float) -> Part:
    """`known` knows version 2, which lies in `base` under `.2`."""
    tally, hidden, shown = Tally(), base / ".2", base / NAME / "2"
    waits: list[float] = []  # s from the rename to the first answer of the version

    async def switch() -> None:
        while True:
            for version, there, to in ((2, hidden, shown), (1, shown, hidden)):
                await asyncio.sleep(0.5)
                there.rename(to)
                since = time.perf_counter()
                while tally.version != version:
                    await asyncio.sleep(0.01)
                waits.append(time.perf_counter() - since)

    async with Clients(server.address, server.url, GRPC) as clients:
        before = Tally()
        await closed_loop(all_clients(clients, known, before), seconds / 4)
        async with meanwhile(switch):
            await closed_loop(all_clients(clients, known, tally), seconds)
    failed = [f"{code} while versions were switched: {said}" for code, said in tally.others().items()]
    if tally.wrong:
        failed.append(f"{tally.wrong} wrong answers while versions were switched.")
    if len(waits) < 2:
        failed.append(f"{len(waits)} switches in {seconds:g} s.")
    p99, usual = (1000 * np.quantile(one.seconds, 0.99) for one in (tally, before))
    return Part(
        f"Switched: {len(waits)} times between two versions in {seconds:g} s (the repository is looked at every 0.2 s, "
        f"and the new version answers {np.median(waits or [np.nan]):.1f} s after the rename): {len(tally.seconds):,} "
        f"requests answered, {tally.wrong} wrong, {len(tally.refused)} failed; p99 {p99:.0f} ms, {usual:.0f} before.",
        failed,
    )


async def ended(server: Served, known: Known) -> Part:
    tally, since = Tally(), 0.0
    async with Clients(server.address, server.url, GRPC) as clients:

        async def end() -> int:
            nonlocal since
            await asyncio.sleep(1)
            since = time.perf_counter()
            return await asyncio.to_thread(server.stop)

        ending = asyncio.create_task(end())

        async def until_refused(ask: Callable[[], Awaitable[object]]) -> None:
            while not tally.refused or not ending.done():
                await ask()
                if tally.refused:
                    await asyncio.sleep(0.02)

        await asyncio.gather(*map(until_refused, all_clients(clients, known, tally)))
        seconds, code = time.perf_counter() - since, await ending
    failed = [f"{code} at the end: {said}" for code, said in tally.others(*UNAVAILABLE, *GONE).items()]
    if tally.wrong:
        failed.append(f"{tally.wrong} wrong answers at the end.")
    if code:
        failed.append(f"The server ended with {code}.")
    return Part(f"Ended: exit code {code} {seconds:.1f} s after SIGTERM; requests until then: {tally}.", failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path, help=f"with {FILE}")
    parser.add_argument("--side", type=int, default=96, help="px of the model's crop (default: 96)")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--workers", type=int, help="that are killed (default: one a core of the server)")
    options = parser.parse_args()
    where = machine(cores := split())
    parts = []
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        put(options.export, FILE, base)
        (base / ".2").mkdir()
        other_weights(options.export / FILE, base / ".2" / FILE)
        with Bare(options.export / FILE, cores.server) as first, Bare(base / ".2" / FILE, cores.server) as second:
            known = Known(first, options.side, 1)
            known.learn(2, second)
        many = ("--workers", str(options.workers)) if options.workers else ()
        with Served(base, cores.server, "--max-batch", str(BATCH), "--poll", "3600", *many) as server:
            parts.append(asyncio.run(killed(server, known, options.seconds)))
        with Served(base, cores.server, "--poll", "0.2") as server:
            parts.append(asyncio.run(switched(server, known, base, options.seconds)))
            parts.append(asyncio.run(ended(server, known)))
    print(f"{FILE}, {options.side} px; {GRPC} gRPC and {REST} REST clients, one face a request; {where}\n")
    for part in parts:
        print(part.told, *(f"FAILED: {one}" for one in part.failed), end="\n\n")
    return 1 if any(part.failed for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
