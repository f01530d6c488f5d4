"""Serving: `expnet serve` under requests at a constant rate, whatever becomes of them, up to 4 times its capacity.

    python benchmarks/serving_overload.py EXPORT [--file model.onnx] [--seconds 60] [--faces 8] [--timeout 2]

Prints Markdown for benchmarks/serving.md, and ends with 1 where something that must hold does not. Capacity is what
clients that wait for their answers get, measured first. Then requests come with Poisson's gaps at half of it, at 0.8 of
it (a third of `seconds` each), and at 4 times of it for all `seconds`. Seconds count from when a request should have
been sent. Every answer is compared with the bare runtime's. `timeout` is the server's deadline, and the clients'.

The server has one half of the cores, the generator the other.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from served import Memory, Served, machine, put, split, workers
from serving_bare import Bare
from serving_load import Clients, Known, Tally, ask_known, closed_loop, open_loop

CLIENTS = 16  # connections, and clients of the closed loop
LOADS = (0.5, 0.8, 4.0)  # of capacity
REFUSED, LATE = "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"


class Phase(NamedTuple):
    load: float
    rate: float  # requests a second
    seconds: float
    tally: Tally
    lags: Tally
    memory: Memory


async def capacity(clients: Clients, known: Known, seconds: float) -> float:
    """Requests a second of clients that wait."""

    async def ask(client: int) -> None:
        await clients.predict(client, known.messages[client % len(known.messages)])

    asks = [functools.partial(ask, client) for client in range(CLIENTS)]
    await closed_loop(asks, 0.5)
    return (await closed_loop(asks, seconds))[0]


async def measure(server: Served, known: Known, options: argparse.Namespace) -> tuple[float, float, list[Phase]]:
    """Requests a second of clients that wait, before and after; and what became of those that do not."""
    phases = []
    async with Clients(server.address, server.url, CLIENTS) as clients:
        before = await capacity(clients, known, options.seconds / 12)
        for load in LOADS:
            seconds, tally = options.seconds / (1 if load > 1 else 3), Tally()

            async def ask(number: int, since: float, tally: Tally = tally) -> None:
                which = number % len(known.messages)
                await ask_known(clients, number, known, which, tally, since, options.timeout)

            with Memory(server.pid) as memory:
                lags = await open_loop(ask, load * before, seconds, seed=int(10 * load))
            phases.append(Phase(load, load * before, seconds, tally, lags, memory))
        after = await capacity(clients, known, options.seconds / 12)
    return before, after, phases


def milliseconds(seconds: list[float], quantile: float) -> str:
    return f"{1000 * np.quantile(seconds, quantile):.0f}" if seconds else "-"


def tables(phases: list[Phase]) -> str:
    lines = [
        "| of capacity | requests/s | sent | answered | refused | late | wrong | p50 ms | p99 ms | refusal, p50 ms | "
        "sent late, p99 ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for load, rate, _, tally, lags, _ in phases:
        codes = tally.codes
        lines.append(
            f"| {load:g} | {rate:,.0f} | {codes.total():,} | {codes['OK']:,} | {codes[REFUSED]:,} | {codes[LATE]:,} | "
            f"{tally.wrong} | {milliseconds(tally.seconds, 0.5)} | {milliseconds(tally.seconds, 0.99)} | "
            f"{milliseconds(tally.refused, 0.5)} | {milliseconds(lags.seconds, 0.99)} |"
        )
    return "\n".join(lines)


def failures(phases: list[Phase], timeout: float) -> list[str]:
    """What must hold, and does not."""
    found = []
    for load, _, _, tally, _, memory in phases:
        if tally.wrong:
            found.append(f"{tally.wrong} wrong answers at {load:g} of capacity.")
        found += [f"{code} at {load:g} of capacity: {said}" for code, said in tally.others(REFUSED, LATE).items()]
        if tally.seconds and np.quantile(tally.seconds, 0.99) > timeout:
            found.append(f"p99 at {load:g} of capacity is over the deadline of {timeout:g} s.")
        if not memory.flat():
            found.append(f"Memory grows at {load:g} of capacity: {memory}.")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("--file", default="model.onnx")
    parser.add_argument("--side", type=int, default=96, help="px of the model's crop (default: 96)")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--faces", type=int, default=8, help="a request (default: 8)")
    parser.add_argument("--timeout", type=float, default=2, help="s, the stated deadline (default: 2)")
    options = parser.parse_args()
    where = machine(cores := split())
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        put(options.export, options.file, base)
        with Bare(options.export / options.file, cores.server) as bare:
            known = Known(bare, options.side, options.faces)
        server = stack.enter_context(Served(base, cores.server, "--timeout", str(options.timeout)))
        crew = workers(server.pid)
        before, after, phases = asyncio.run(measure(server, known, options))
        failed = failures(phases, options.timeout)
        if workers(server.pid) != crew:
            failed.append("Worker processes died.")
        if code := server.stop():
            failed.append(f"The server ended with {code}.")
        failed += server.errors()
    print(
        f"{options.file}, {options.side} px, {options.faces} faces a request, deadline {options.timeout:g} s; "
        f"{CLIENTS} connections; {where}\n"
    )
    print(tables(phases), end="\n\n")
    last = phases[-1]
    goodput = last.tally.codes["OK"] / last.seconds / before
    print(
        f"Capacity {before:,.0f} requests/s ({before * options.faces:,.0f} faces/s); answered at {last.load:g} times "
        f"that: {goodput:.0%} of it; afterwards {after / before:.0%}. Memory of the server, all its processes, in "
        f"those {last.seconds:g} s: {last.memory}. "
        + (f"FAILED: {' '.join(failed)}" if failed else "All that must hold did.")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
