"""`expnet synth`: labelled synthetic faces."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from expnet_tf.commands.common import FINE, command, count, folder, many, out, usage


def add(commands: Any) -> None:
    parser = command(
        commands,
        "synth",
        "render labelled synthetic faces",
        """
        Writes OUT/0000001/001.jpg, ... (a folder a person), their exact labels in labels-*.npz and
        labels.json, and contact.png to look at. The same arguments give the same bytes; an interrupted run
        goes on where it stopped.

          expnet synth --out faces --identities 1000 --per-identity 20 --size 128
        """,
    )
    out(parser)
    parser.add_argument("--identities", type=count, required=True, metavar="N", help="people")
    parser.add_argument("--per-identity", type=count, required=True, metavar="M", help="images of each of them")
    parser.add_argument("--size", type=count, default=224, help="side of an image, px, 64 to 512 (default: 224)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other people (default: 0)")
    parser.add_argument(
        "--assets",
        type=Path,
        metavar="DIR",
        help="folder of MakeHuman's CC0 skins, eyes, hair, brows and teeth (default: procedural skin alone)",
    )
    parser.add_argument("--workers", type=count, metavar="K", help="processes (default: one a core)")


def run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from expnet_tf.data.synth import synthesize

    root = folder(options.out)
    total = options.identities * options.per_identity
    with usage(ValueError), tqdm(total=total, unit="image", file=sys.stderr) as bar:
        rendered = synthesize(
            root,
            options.identities,
            options.per_identity,
            options.size,
            options.seed,
            options.assets,
            options.workers,
            progress=bar.update,
        )
    print(f"{many(rendered, 'image')} rendered, {total} in {root}; have a look at {root / 'contact.png'}.")
    return FINE
