"""`expnet models`: which models the package has."""

from __future__ import annotations

import argparse
from typing import Any

from expnet_tf.commands.common import FINE, command
from expnet_tf.quiet import quiet


def add(commands: Any) -> None:
    command(
        commands,
        "models",
        "list the models in the package",
        "Name, version, side of the input (px), parameters, size of the file (MB), licence and sha256. The files are\n"
        "expnet_tf/assets/NAME.keras, which plain Keras 3 loads as well.",
    )


def run(options: argparse.Namespace) -> int:
    with quiet():
        from expnet_tf.models import parameters, sha256, shipped
        from expnet_tf.network import read_info
    rows = [("name", "version", "size px", "parameters", "file MB", "licence", "sha256")]
    for name, path in shipped().items():
        info, count = read_info(path), parameters(path)
        size = f"{path.stat().st_size / 1e6:.2f}"
        rows.append((name, info.version, str(info.size), f"{count:,}", size, info.licence, sha256(path)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if len(rows) == 1:
        print("No weights are in this copy of the package.")
    return FINE
