"""`expnet demo`: the whole way on the photo in the package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from expnet_tf.commands.common import FAILED, FINE, command, folder, printer, usage
from expnet_tf.quiet import quiet


def add(commands: Any) -> None:
    parser = command(
        commands,
        "demo",
        "predict, export and verify on the photo in the package",
        "About a minute on two cores.",
    )
    parser.add_argument("--out", type=Path, default=Path("demo_out"), metavar="DIR", help="(default: demo_out)")


def run(options: argparse.Namespace) -> int:
    root = folder(options.out)
    with quiet() as terminal:
        from expnet_tf.demo import run
        from expnet_tf.network import ModelError

        with usage(ModelError):
            return FINE if run(root, progress=printer(terminal)) else FAILED
