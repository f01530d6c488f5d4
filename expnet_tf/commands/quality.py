"""`expnet quality`: teach a finished network to say how far its expression is to be trusted."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from expnet_tf.commands.common import FINE, UsageError, command, count, usage


def add(commands: Any) -> None:
    parser = command(
        commands,
        "quality",
        "add the output quality to a trained network",
        """
        Adds the head `quality` to MODEL, or teaches the one it has anew, on faces of expnet pack; all else in the model
        stays as it is, but for what --float16 rounds. Quality is between 0 and 1: the share of synthetic faces that
        the network reads worse than this one; near 0 for what is no face. Prints how it fares on people of the
        validation split.

          expnet quality run/compact.keras --data packed --out compact.keras
        """,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help=".keras file with an expression head")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of expnet pack")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".keras file to write")
    parser.add_argument("--images", type=count, default=60_000, metavar="N", help="to learn from (default: 60000)")
    parser.add_argument("--seed", type=int, default=0, help="of the looks and the weights (default: 0)")
    parser.add_argument("--version", metavar="V", help="of the model that is written (default: as it was)")
    parser.add_argument(
        "--float16",
        action="store_true",
        help="store weights in half precision, kernels with eight significant bits: three eighths of the bytes",
    )


def run(options: argparse.Namespace) -> int:
    from expnet_tf.quiet import quiet

    with quiet():
        from tqdm import tqdm

        from expnet_tf.network import ModelError, load_model, read_info, save_model
        from expnet_tf.train.config import JobError
        from expnet_tf.train.quality import with_quality

    if options.out.suffix != ".keras":
        raise UsageError(f"--out {options.out}: a model is saved as .keras.")
    with usage(JobError, ModelError, FileNotFoundError), tqdm(unit="image", mininterval=1.0, file=sys.stderr) as bar:
        info = read_info(options.model)
        if "expression" not in info.heads:
            raise UsageError(f"{options.model} has no expression head, whose errors quality is about.")
        network = load_model(options.model)
        made, described, figures = with_quality(
            network, info, options.data, options.images, options.seed, progress=bar.update
        )
    described = replace(described, version=options.version or described.version)
    save_model(made, options.out, described, options.float16)
    for name, value in figures.items():
        print(f"{name}: {value:.3f}")
    return FINE
