"""bench: how fast and how large every artifact of an export folder is, in its own runtime on this machine.

Each artifact, runtime and number of threads has a process of its own: memory, thread settings and crashes are then its
own. All of them stay loaded, and rounds of short blocks of calls go over all in a new order each time, so that whatever
else the machine does disturbs all alike.
"""

from __future__ import annotations

import logging
import os
import platform
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.evaluate.runtime import machine
from expnet_tf.export import BENCH, EXPORTERS, MANIFEST, ExportError, manifest
from expnet_tf.export.bench_process import Process
from expnet_tf.export.bench_report import FAILED, MEASURED, NOT_RUN, ROUNDS, SCHEMA, Report, Run, Times, best
from expnet_tf.export.openvino_runner import OpenVinoRunner
from expnet_tf.export.reference import read_inputs
from expnet_tf.export.runner import CannotRun
from expnet_tf.export.runners import RUNNERS

log = logging.getLogger(__name__)

BLOCK = 0.06  # s that a block of calls is meant to take: long beside the clock, short beside what disturbs a machine
MOST_CALLS = 200  # in a block


def bench(
    directory: str | os.PathLike,
    *,
    threads: Sequence[int] = (1, 2),
    batches: Sequence[int] = (1, 8),
    rounds: int = ROUNDS,
    calls: int | None = None,
    only: Sequence[str] = (),
    output: str | os.PathLike | None = None,
    progress: Callable[[str], None] = log.info,
) -> Report:
    """Measure the artifacts in the export folder and write the report to `output` (None: bench.json in the folder).

    calls: in each block (None: as many as take BLOCK seconds); only: names of artifacts and of runtimes, empty for
    all. An artifact that is damaged, fails or takes its process down makes a result that has failed and says why; the
    others go on.

    Raises FileNotFoundError or ExportError where there is no manifest that can be read, the reference images are
    damaged, or `only` names nothing that is there.
    """
    folder = Path(directory)
    record = manifest.read(folder)
    runs = list(_runs(record, only, sorted(set(threads))))
    inputs = record["reference"]["inputs"]
    manifest.check(folder, inputs)
    read_inputs(folder / inputs["path"])
    about = {**machine(), "platform": platform.platform(), "python": platform.python_version()}
    if about["load"] and about["load"] > about["cores"]:
        progress(f"This machine is busy: load {about['load']} on {about['cores']} cores. Times will be too long.")
    with ExitStack() as stack:
        alive: dict[int, Process] = {}
        for number, run in enumerate(runs):
            progress(f"{run.artifact} in {run.runtime}, threads {run.threads}: loading")
            with _noting(run):
                manifest.check(folder, record["artifacts"][run.artifact])  # before loading: a SavedModel is code
                if run.runtime not in RUNNERS:
                    raise ExportError(f"not an artifact that this version knows; it knows {', '.join(EXPORTERS)}.")
                process = Process(run.runtime, folder / run.path, run.threads, folder / inputs["path"])
                alive[number] = stack.enter_context(process)
                _load(run, process, sorted(set(batches)))
        _measure(runs, alive, rounds, calls, progress)
    report = Report(
        schema=SCHEMA,
        model=record["model"],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=about,
        manifest_sha256=manifest.digest(folder / MANIFEST),
        settings={"threads": sorted(set(threads)), "batches": sorted(set(batches)), "rounds": rounds, "calls": calls},
        results=runs,
        best=best(runs),
        passed=all(r.result != FAILED for r in runs) and any(r.result == MEASURED for r in runs),
    )
    manifest.write_json(Path(output or folder / BENCH), asdict(report))
    return report


def _runs(record: dict[str, Any], only: Sequence[str], threads: Sequence[int]) -> Iterator[Run]:
    """What there is to run: `only` may name artifacts, runtimes or both, and the kind that it does not name is free.

    `savedmodel`, which is both, is the artifact.
    """
    pairs = [(name, runtime) for name, noted in record["artifacts"].items() for runtime in _runtimes(name, only)]
    if not pairs:
        raise ExportError("No artifact is in the folder.")
    artifacts = list(dict.fromkeys(name for name, _ in pairs))
    runtimes = [name for name in dict.fromkeys(runtime for _, runtime in pairs) if name not in artifacts]
    if unknown := [name for name in only if name not in artifacts + runtimes]:
        there = ", ".join(artifacts + runtimes)
        raise ExportError(f"Nothing there is called {', '.join(unknown)}; artifacts and runtimes there: {there}.")
    free = not set(only) & set(artifacts), not set(only) & set(runtimes)
    kept = [pair for pair in pairs if all(free[i] or pair[i] in only for i in (0, 1))]
    if not kept:
        raise ExportError(f"No artifact there runs in {', '.join(only)}.")
    for name, runtime in kept:
        noted = record["artifacts"][name]
        for count in threads:
            yield Run(name, runtime, count, **{key: noted[key] for key in ("path", "precision", "bytes")})


def _runtimes(name: str, only: Sequence[str]) -> list[str]:
    """Those that judge the artifact; of the others that run it those asked for, and OpenVINO where it is installed."""
    if name not in EXPORTERS:
        return ["unknown"]
    installed = [OpenVinoRunner.name] if find_spec("openvino") else []
    exporter = EXPORTERS[name]
    return [*exporter.runners, *(guest for guest in exporter.guests if guest in (*only, *installed))]


@contextmanager
def _noting(run: Run) -> Iterator[None]:
    """What goes wrong becomes the run's result, and the others go on."""
    try:
        yield
    except CannotRun as error:
        run.result, run.reason = NOT_RUN, str(error)
    except ExportError as error:
        run.result, run.reason = FAILED, str(error)


def _load(run: Run, process: Process, batches: Sequence[int]) -> None:
    """Load the artifact, and run it at each batch size, the small ones first: memory only grows."""
    facts = process.ask("load")
    run.runtime_version, run.import_s, run.load_s = facts["runtime_version"], facts["import_s"], facts["load_s"]
    run.batches = {batch: Times(**process.ask("warm_up", batch=batch)) for batch in batches}


def _measure(
    runs: Sequence[Run], alive: dict[int, Process], rounds: int, calls: int | None, progress: Callable[[str], None]
) -> None:
    """Rounds over every run and batch size; fills in their times."""
    turns = [(number, batch) for number in alive for batch in runs[number].batches]
    blocks: dict[tuple[int, int], list[dict[str, Any]]] = {turn: [] for turn in turns}
    order = random.Random(0)
    for round_number in range(rounds):
        progress(f"round {round_number + 1} of {rounds}")
        order.shuffle(turns)
        for number, batch in turns:
            run, process = runs[number], alive[number]
            if run.reason:
                continue
            count = calls or min(MOST_CALLS, max(1, round(BLOCK / run.batches[batch].warm_s)))
            with _noting(run):
                blocks[number, batch].append(process.ask("measure", batch=batch, calls=count))
    for (number, batch), answers in blocks.items():
        if not runs[number].reason:
            _fill(runs[number].batches[batch], batch, answers)
            runs[number].result = MEASURED


def _fill(times: Times, batch: int, answers: Sequence[dict[str, Any]]) -> None:
    seconds = np.concatenate([answer["seconds"] for answer in answers])
    low, lower, median, upper = np.percentile(seconds, [5, 25, 50, 75]).tolist()
    times.calls = len(seconds)
    times.median_ms, times.p5_ms, times.spread = 1e3 * median, 1e3 * low, (upper - lower) / median
    times.cpu_ms = 1e3 * float(np.median([answer["cpu_seconds"] / len(answer["seconds"]) for answer in answers]))
    times.images_per_s = batch / median
