"""`expnet verify`: do the exported artifacts compute what the model computes?"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expnet_tf.commands.common import FAILED, FINE, UsageError, command, printer, usage
from expnet_tf.export import GUESTS
from expnet_tf.quiet import quiet


def add(commands: Any) -> None:
    parser = command(
        commands,
        "verify",
        "prove that exported artifacts compute what the model computes",
        """
        Runs every artifact of an export folder in its own runtime on the reference faces, compares it with
        the reference answer, in sigma and, decoded, in mm on the mesh, prints the table, writes
        DIR/parity.json, .md and .png, and notes each verdict in the manifest. The sha256 in the manifest is
        checked before anything is loaded; a SavedModel is code, so verify only folders that you trust.

        Exit code 1 when one artifact is damaged or out of tolerance. What this machine cannot run (a TensorRT
        engine without its GPU) is listed as not run.
        """,
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="a folder made by `expnet export`")
    parser.add_argument(
        "--also",
        default="",
        metavar="RUNTIMES",
        help=f"a list, with commas, of {', '.join(GUESTS)}: judge the ONNX files in these too",
    )


def run(options: argparse.Namespace) -> int:
    also = [name.strip() for name in options.also.split(",") if name.strip()]
    return FINE if verify_folder(options.directory, also) else FAILED


def verify_folder(directory: Path, also: Sequence[str] = ()) -> bool:
    """Verify an export folder and print the table; whether everything in it passed."""
    if directory.is_dir() and not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"{directory} cannot be written to, and the certificate goes there; verify a copy.")
    with quiet() as terminal:
        from expnet_tf.export import ExportError
        from expnet_tf.export.certificate import certify, table

        with usage(ExportError, FileNotFoundError):
            report = certify(directory, also=also, progress=printer(terminal))
    print(table(report))
    return report.passed
