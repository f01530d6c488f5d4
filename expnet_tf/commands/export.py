"""`expnet export`: a model for other runtimes, with its certificate."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from expnet_tf.commands.common import FAILED, FINE, command, folder, out, printer, usage
from expnet_tf.commands.verify import verify_folder
from expnet_tf.export import EXPORTERS
from expnet_tf.quiet import quiet


def add(commands: Any) -> None:
    parser = command(
        commands,
        "export",
        "make a model's artifacts for other runtimes, and verify them",
        """
        Writes the artifacts, reference.keras, parity_inputs.npz (rendered faces and the float64 answers to
        them) and manifest.json, then does what `expnet verify` does.

          expnet export compact --out exported --format onnx,tflite
        """,
    )
    parser.add_argument("model", metavar="MODEL", help="a shipped model's name, or a .keras file")
    out(parser)
    parser.add_argument(
        "--format",
        default="all",
        metavar="NAMES",
        help=f"a list, with commas, of {', '.join(EXPORTERS)}, or all (default: all)",
    )


def run(options: argparse.Namespace) -> int:
    root = folder(options.out)
    with quiet() as terminal:
        from expnet_tf.export.bundle import ExportError, export_model
        from expnet_tf.models import resolve
        from expnet_tf.network import ModelError

        with usage(ModelError, ExportError):
            result = export_model(resolve(options.model), root, options.format, progress=printer(terminal))
        if "all" in options.format.split(","):
            for exporter in EXPORTERS.values():
                if not exporter.available and exporter.name not in result.failures:
                    print(f"{exporter.name}: left out; it takes the extra {exporter.extra}", file=terminal)
    for failure in result.failures.values():
        print(f"expnet export: {failure}", file=sys.stderr)
    verified = verify_folder(root)
    return FINE if result.passed and verified else FAILED
