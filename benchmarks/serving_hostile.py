"""Serving: ten thousand hostile requests to `expnet serve`, with valid ones in between.

    python benchmarks/serving_hostile.py EXPORT [--file model.onnx] [--requests 10000] [--seed 0]

Prints Markdown for benchmarks/serving.md, and ends with 1 where something that must hold does not: no answer that says
the server is at fault (5xx, INTERNAL, UNKNOWN, ...), but 501 and UNIMPLEMENTED for what is not served; the server's
processes are those of the beginning, and its log has no error; every valid request gets the bare runtime's answer;
memory stays flat. Requests are made by tests/serving/hostile.py from the seed and their number: one that failed is made
again by `hostile.request(seed, number, "expnet", 96)`. The server has one half of the cores, the attackers the other.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from served import NAME, Memory, Served, machine, processes, put, split
from serving_bare import Bare
from serving_load import Known

from expnet_tf.serving.errors import ServingError
from expnet_tf.serving.transports import Target, Transport, connect

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "serving"))
import hostile

ATTACKERS, EVERY = 4, 10  # threads, and hostile requests to a valid one


class Found(NamedTuple):
    codes: dict[str, Counter[str]]  # of each kind of request
    faults: list[str]
    valid: int


def attack(server: Served, known: Known, options: argparse.Namespace, first: int) -> Found:
    """Every request with a number of this attacker's, and valid ones, of one protocol."""
    codes: dict[str, Counter[str]] = defaultdict(Counter)
    faults, valid = [], 0
    with ExitStack() as stack:
        attacker = stack.enter_context(hostile.Attacker(server.address, urlsplit(server.url).port))
        transport = connect(server.url if first % 2 else server.address)
        stack.callback(transport.close)
        for number in range(first, options.requests, ATTACKERS):
            outcome = attacker.send(hostile.request(options.seed, number, NAME, options.side))
            codes[outcome.kind][outcome.code] += 1
            if outcome.fault:
                faults.append(f"Request {number}: {outcome.fault}")
            if number // ATTACKERS % EVERY == 0:
                valid += 1
                if fault := ask(transport, known, number % len(known.messages)):
                    faults.append(f"A valid request after {number}: {fault}")
    return Found(codes, faults, valid)


def ask(transport: Transport, known: Known, number: int) -> str:
    """What is wrong with the answer to a valid request; empty where nothing is."""
    try:
        answer = transport.predict(Target(NAME, None), known.images[number], 20)
    except ServingError as error:
        return f"{error.code.name}: {error}"
    return "" if known.right_arrays(number, answer) else "a wrong answer"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("--file", default="model.onnx")
    parser.add_argument("--side", type=int, default=96, help="px of the model's crop (default: 96)")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    where = machine(cores := split())
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        put(options.export, options.file, base)
        with Bare(options.export / options.file, cores.server) as bare:
            known = Known(bare, options.side, 1)
        server = stack.enter_context(Served(base, cores.server))
        before, start = set(processes(server.pid)), time.perf_counter()
        with Memory(server.pid) as memory, ThreadPoolExecutor(ATTACKERS) as pool:
            parts = list(pool.map(lambda first: attack(server, known, options, first), range(ATTACKERS)))
        seconds, after = time.perf_counter() - start, set(processes(server.pid))
        faults = [fault for part in parts for fault in part.faults]
        if after != before or server.process.poll() is not None:
            faults.append(f"The server's processes were {sorted(before)} and are {sorted(after)}.")
        if not memory.flat():
            faults.append(f"Memory: {memory}.")
        if code := server.stop():
            faults.append(f"The server ended with {code}.")
        faults += server.errors()
    print(f"{options.file}, {options.requests:,} requests of seed {options.seed} in {seconds:.0f} s; {where}\n")
    print("| hostile | requests | how they were answered |")
    print("| --- | --- | --- |")
    for kind in sorted({kind for part in parts for kind in part.codes}):
        codes = sum((part.codes.get(kind, Counter()) for part in parts), Counter[str]())
        print(f"| {kind} | {codes.total():,} | {', '.join(f'{code} {n:,}' for code, n in sorted(codes.items()))} |")
    print(
        f"\nIn between {sum(part.valid for part in parts):,} valid requests. Memory of the server, all its processes: "
        f"{memory}. " + ("All that must hold did." if not faults else f"FAILED: {len(faults)}")
    )
    for fault in faults[:50]:
        print(f"- {fault[:500]}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
