"""`expnet average`: the mean of trained networks' weights."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from expnet_tf.commands.common import FINE, UsageError, command, usage


def add(commands: Any) -> None:
    parser = command(
        commands,
        "average",
        "write the mean of networks' weights",
        """
        Averages networks of one backbone that come from one another: what one has learned on other pictures is
        kept beside what it knew. Heads that all have are kept; quality is taught anew by `expnet quality`.

          expnet average before.keras run/base.keras --out base.keras
        """,
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help=".keras files, two or more")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".keras file to write")
    parser.add_argument("--version", metavar="V", help="of the model that is written (default: the last one's)")
    parser.add_argument(
        "--float16",
        action="store_true",
        help="store weights in half precision, kernels with eight significant bits: three eighths of the bytes",
    )


def run(options: argparse.Namespace) -> int:
    from expnet_tf.quiet import quiet

    with quiet():
        from expnet_tf.network import ModelError, load_model, read_info, save_model
        from expnet_tf.train.averaging import mean_of

    if options.out.suffix != ".keras":
        raise UsageError(f"--out {options.out}: a model is saved as .keras.")
    with usage(ModelError, FileNotFoundError):
        infos = [read_info(path) for path in options.models]
        made, described = mean_of([load_model(path) for path in options.models], infos)
        save_model(made, options.out, replace(described, version=options.version or described.version), options.float16)
    print(f"{options.out}: {', '.join(described.heads)} of the mean of {len(infos)} networks.")
    return FINE
