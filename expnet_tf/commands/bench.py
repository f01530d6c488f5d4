"""`expnet bench`: how fast and how large are the exported artifacts on this machine?"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from expnet_tf.commands.common import FAILED, FINE, UsageError, command, count, printer, usage
from expnet_tf.export.bench_report import ROUNDS
from expnet_tf.quiet import quiet


def add(commands: Any) -> None:
    parser = command(
        commands,
        "bench",
        "measure exported artifacts: latency, throughput, memory, time to load",
        """
        Runs every artifact of an export folder in its own runtime, and ONNX in OpenVINO too where it is installed,
        each in a process of its own, in turns. Prints a table and the fastest per use, and writes DIR/bench.json.

          ms        median of a call; p5: 5th percentile; spread: interquartile range over the median
          CPU-ms    CPU time of a call over all threads: steadier than ms on a busy machine
          import s  of the runtime; load s of the artifact; first s of the first call
          RAM, MB   peak memory above what the process needed with the runtime imported

        Exit code 1 when an artifact is damaged or fails; one that this machine cannot run is listed and does not count.

          expnet bench exported
          expnet bench exported --only onnx,openvino --threads 4 --batch 1,32
        """,
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="a folder made by `expnet export`")
    parser.add_argument("--threads", type=_counts, default=(1, 2), metavar="LIST", help="default: 1,2")
    parser.add_argument("--batch", type=_counts, default=(1, 8), metavar="LIST", help="batch sizes (default: 1,8)")
    parser.add_argument(
        "--rounds", type=count, default=ROUNDS, metavar="N", help=f"over all artifacts (default: {ROUNDS})"
    )
    parser.add_argument(
        "--calls", type=count, metavar="N", help="of an artifact in a round (default: as many as take 0.06 s)"
    )
    parser.add_argument(
        "--only",
        type=_names,
        default=(),
        metavar="NAMES",
        help="a list, with commas, of artifacts and of runtimes, as in the table (default: all)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go (default: DIR/bench.json)")


def _counts(text: str) -> tuple[int, ...]:
    return tuple(count(part.strip()) for part in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def run(options: argparse.Namespace) -> int:
    if options.json and not options.json.resolve().parent.is_dir():
        raise UsageError(f"--json {options.json} lies in a folder that does not exist.")
    where = options.json.resolve().parent if options.json else options.directory
    if where.is_dir() and not os.access(where, os.W_OK | os.X_OK):
        raise UsageError(f"{where} cannot be written to; --json FILE puts the figures elsewhere.")
    with quiet() as terminal:
        from expnet_tf.export.bench import ExportError, bench
        from expnet_tf.export.bench_report import table

        with usage(ExportError, FileNotFoundError):
            report = bench(
                options.directory,
                threads=options.threads,
                batches=options.batch,
                rounds=options.rounds,
                calls=options.calls,
                only=options.only,
                output=options.json,
                progress=printer(terminal),
            )
    print(table(report))
    return FINE if report.passed else FAILED
