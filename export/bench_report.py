"""What `bench` measured: the record, the winner of each use, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1
ROUNDS = 15
MEASURED, FAILED, NOT_RUN = "measured", "failed", "not run"


@dataclass
class Times:
    """One batch size of one run."""

    first_s: float  # the first call: some runtimes prepare only then
    warm_s: float  # one of the next
    memory_bytes: int  # the most so far, above what the process had when the runtime was imported
    calls: int = 0  # that the following are of
    median_ms: float = 0.0  # of a call, by the clock
    p5_ms: float = 0.0  # 5th percentile: what the machine does when it is left alone
    spread: float = 0.0  # interquartile range over the median
    cpu_ms: float = 0.0  # of a call, all threads of the process; the median of the rounds
    images_per_s: float = 0.0  # batch size over the median


@dataclass
class Run:
    """One artifact in one runtime with one number of threads. Where it was not measured, `reason` says why."""

    artifact: str
    runtime: str
    threads: int
    path: str
    precision: str
    bytes: int
    runtime_version: str = ""
    import_s: float | None = None  # the runtime's import; None: part of load_s
    load_s: float | None = None  # the artifact, its file in the system's cache
    batches: dict[int, Times] = field(default_factory=dict)  # by batch size
    result: str = FAILED
    reason: str | None = None


@dataclass
class Report:
    """What `bench` found; `bench.json` is this record."""

    schema: int
    model: dict[str, Any]
    created: str
    machine: dict[str, Any]  # load: the average over the minute before the start
    manifest_sha256: str
    settings: dict[str, Any]
    results: list[Run]
    best: list[dict[str, Any]]  # see best()
    passed: bool  # something was measured and nothing failed; what this machine cannot run has not failed


def best(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The winner of each use among what was measured.

    Each is {"use", "artifact", "runtime", "threads", "batch", "value", "unit"}. Latency and memory are judged at the
    smallest number of threads and the smallest batch size.
    """
    measured = [(run, batch, times) for run in runs if run.result == MEASURED for batch, times in run.batches.items()]
    if not measured:
        return []
    least = min(run.threads for run, _, _ in measured), min(batch for _, batch, _ in measured)
    small = sorted((m for m in measured if (m[0].threads, m[1]) == least), key=lambda m: m[2].median_ms)
    found = [("lowest latency", small[0], small[0][2].median_ms, "ms")]
    if float32 := [m for m in small if m[0].precision == "float32"]:
        found.append(("lowest latency in float32", float32[0], float32[0][2].median_ms, "ms"))
    most = max(measured, key=lambda m: m[2].images_per_s)
    found.append(("highest throughput", most, most[2].images_per_s, "images/s"))
    lightest = min(small, key=lambda m: m[2].memory_bytes)
    found.append(("least memory", lightest, lightest[2].memory_bytes / 1e6, "MB"))
    smallest = min(small, key=lambda m: m[0].bytes)  # of equals the fastest
    found.append(("smallest file", smallest, smallest[0].bytes / 1e6, "MB"))
    return [
        {
            "use": use,
            "artifact": run.artifact,
            "runtime": run.runtime,
            "threads": run.threads,
            "batch": batch,
            "value": value,
            "unit": unit,
        }
        for use, (run, batch, _), value, unit in found
    ]


COLUMNS = (
    *("artifact", "runtime", "version"),
    *("threads", "batch", "ms", "p5", "spread", "CPU-ms", "images/s", "import s", "load s", "first s", "MB", "RAM, MB"),
)
WORDS = 3  # columns that are not numbers


def rows(runs: Sequence[Run]) -> list[list[str]]:
    """The cells under COLUMNS: a row for each batch size of each run that was measured."""
    return [
        [
            *(run.artifact, run.runtime, run.runtime_version, str(run.threads), str(batch)),
            *(f"{times.median_ms:.3f}", f"{times.p5_ms:.3f}", f"{100 * times.spread:.0f}%", f"{times.cpu_ms:.3f}"),
            f"{times.images_per_s:.0f}",
            "-" if run.import_s is None else f"{run.import_s:.2f}",
            *(f"{run.load_s:.3f}", f"{times.first_s:.3f}"),
            *(f"{run.bytes / 1e6:.2f}", f"{times.memory_bytes / 1e6:.0f}"),
        ]
        for run in runs
        if run.result == MEASURED
        for batch, times in run.batches.items()
    ]


def winners(report: Report) -> list[str]:
    """A line for each use."""
    return [
        f"{w['use']}: {w['artifact']} in {w['runtime']}, threads {w['threads']}, batch {w['batch']}: "
        f"{w['value']:.4g} {w['unit']}"
        for w in report.best
    ]


def unmeasured(runs: Sequence[Run]) -> list[str]:
    """A line for each run that was not measured, with the reason."""
    lines = [f"{run.artifact} in {run.runtime}: {run.result}: {run.reason}" for run in runs if run.reason]
    return list(dict.fromkeys(lines))  # often the same for every number of threads


def table(report: Report) -> str:
    """The report as plain text: what was measured, what was not and why, the winners, the machine."""
    lines = [list(COLUMNS), *rows(report.results)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    text = [
        "  ".join(
            cell.ljust(width) if i < WORDS else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    text.insert(1, "  ".join("-" * width for width in widths))
    about = report.machine
    where = f"model {report.model['id']}, {about['cpu']}, {about['cores']} cores, load {about['load']} at the start"
    return "\n".join([*text, *unmeasured(report.results), *winners(report), where])
