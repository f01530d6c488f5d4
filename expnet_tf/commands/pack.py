"""`expnet pack`: labels and images into TFRecord shards."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from expnet_tf.commands.common import FAILED, FINE, command, count, folder, many, out, usage

PADDED = 0.05  # share of black beyond the images from which a warning is due


def add(commands: Any) -> None:
    parser = command(
        commands,
        "pack",
        "labels and their images into TFRecord shards for training",
        """
        Writes square JPEG crops with their labels, in px of the crop: DIR/train-*.tfrecord and
        DIR/validation-*.tfrecord (no person is in both), their indexes, mean_image.npy, failures.csv and, last,
        manifest.json. An interrupted run goes on where it stopped. docs/packing.md has the details.

        What is cut out:
          none    the whole image, as the paper trains on CASIA; one that is not square gets black borders
          boxes   the label's box times --factor
          detect  the box that the default detector finds, times --factor. For images that are cut tight
                  (RecordIO of 112 px) much of the square lies beyond the image and is black: mind the warning

        The default factor of 1.6 leaves room for the network's own crop (1.25) to move, turn and grow.

          expnet pack faces --out packed
          expnet pack run1 run2 --out packed --crop boxes --size 288
          expnet pack labels --source CASIA-WebFace --out packed --size 224
        """,
    )
    parser.add_argument("labels", nargs="+", type=Path, metavar="LABELS", help="folders of expnet synth or label")
    out(parser)
    parser.add_argument("--crop", choices=("none", "boxes", "detect"), default="none", help="(default: none)")
    parser.add_argument(
        "--factor", type=float, metavar="F", help="side of the crop over the longer side of the box (default: 1.6)"
    )
    parser.add_argument("--size", type=count, default=128, metavar="S", help="side of a record, px (default: 128)")
    parser.add_argument(
        "--source",  # a text: Path would turn an empty one into the present folder
        metavar="PATH",
        help="the images: a folder a person, train.rec, or synthetic faces (default: where labels.json says)",
    )
    parser.add_argument(
        "--validation-share", type=float, default=0.05, metavar="P", help="of the people, at least one (default: 0.05)"
    )
    parser.add_argument(
        "--max-residual", type=float, metavar="PX", help="leave out labels with a larger residual (default: keep all)"
    )
    parser.add_argument(
        "--max-active", type=int, metavar="N", help="leave out labels with more codes at a bound (default: keep all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the order (default: 0)")
    parser.add_argument("--workers", type=count, metavar="K", help="processes (default: one a core)")


def run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from expnet_tf.data.labels import LabelError
    from expnet_tf.data.pack import pack
    from expnet_tf.data.pack_plan import Options, PackError
    from expnet_tf.data.sources import SourceError
    from expnet_tf.quiet import quiet

    root = folder(options.out)
    wanted = Options(
        crop=options.crop,
        factor=options.factor,
        size=options.size,
        validation_share=options.validation_share,
        max_residual=options.max_residual,
        max_active=options.max_active,
        seed=options.seed,
    )
    try:
        with usage(PackError, LabelError, SourceError), quiet() as terminal, tqdm(unit="image", file=terminal) as bar:

            def show(images: int, total: int) -> None:
                bar.total = total
                bar.update(images - bar.n)
                bar.refresh()

            done = pack(options.labels, root, wanted, source=options.source, workers=options.workers, progress=show)
    except OSError as error:  # images that cannot be read are listed: what is left is a disk that is full, say
        print(
            f"expnet pack: {root} cannot be written ({error.strerror or error}); shards that are done are kept, and "
            "the same command goes on from there.",
            file=sys.stderr,
        )
        return FAILED
    facts = done.manifest
    left_out = sum(facts["left_out"][name] for name in ("residual", "active"))
    for split, name in (("train", "for training"), ("validation", "for validation")):
        one = facts["splits"][split]
        print(f"{many(one['images'], 'image')} of {one['subjects']:,} people {name}")
    print(f"{many(left_out, 'label')} above a limit left out; {many(done.packed, 'record')} written now, to {root}.")
    found = facts["factor_found"]
    if facts["crop"] == "none":
        print(
            f"The images are {found['median']:.2f} times the box (5% to 95%: {found['percentile 5']:.2f} to "
            f"{found['percentile 95']:.2f})."
        )
    if facts["padding"] > PADDED:
        print(
            f"expnet pack: {facts['padding']:.0%} of the pixels lie beyond the images and are black: the framing "
            f"asks for more than was photographed. Use images with room around the face, or a smaller --factor.",
            file=sys.stderr,
        )
    if done.failed:
        print(f"expnet pack: {many(done.failed, 'image')} failed; {root / 'failures.csv'} says why.", file=sys.stderr)
        return FAILED
    return FINE
