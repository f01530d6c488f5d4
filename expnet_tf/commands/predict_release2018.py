"""`expnet predict --pipeline release2018`: the program that was released with ExpNet in 2018."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from expnet_tf.commands.common import FAILED, FINE, UsageError, count, folder, many, usage
from expnet_tf.quiet import quiet

if TYPE_CHECKING:
    from expnet_tf.release2018.pipeline import Summary

BATCH = 16  # faces; of larger batches the networks are no faster on a CPU
NEEDED = ("input", "networks", "face_model")
OWN = (*NEEDED, "root", "batch_size", "no_jpeg", "colors")
OTHERS = (
    "photos", "box", "all_faces", "format", "shards", "shard_size", "workers", "scheduler", "seconds", "smooth",
    "video_format",
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "the program of 2018 (docs/release2018.md)",
        "Its own input.csv in; of each row DIR/<ID>_Shape_Expr_Pose.ply out.",
    )
    group.add_argument("--pipeline", choices=("release2018",), help="run this in place of one network")
    group.add_argument(
        "--input", type=Path, metavar="CSV", help="its table: ID,FILE,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT, box in px"
    )
    group.add_argument("--root", type=Path, metavar="DIR", help="what FILE is below (default: the folder of CSV)")
    group.add_argument("--networks", type=Path, metavar="DIR", help="what expnet import-2018 wrote, all three")
    group.add_argument("--face-model", type=Path, metavar="FILE", help="BaselFaceModel_mod.mat, or one as wide")
    group.add_argument("--batch-size", type=count, metavar="N", help=f"faces at once (default: {BATCH})")
    group.add_argument("--no-jpeg", action="store_true", help="no JPEG file of the crop, as the program has it")
    group.add_argument("--colors", action="store_true", help="meshes with the texture that the shape network sees")


def wanted(options: argparse.Namespace) -> bool:
    """Whether it is this that was asked for. Raises UsageError for options that do not go together."""
    if options.pipeline:
        given = [name for name in OTHERS if getattr(options, name)]
        if options.camera is not None:  # 0 is one
            given.append("camera")
        if given:
            raise UsageError(f"{_option(given[0])} does not go with --pipeline; photos and boxes are in --input.")
        if missing := [name for name in NEEDED if getattr(options, name) is None]:
            raise UsageError(f"--pipeline release2018 needs {', '.join(map(_option, missing))}.")
        return True
    for name in OWN:
        if getattr(options, name):
            raise UsageError(f"{_option(name)} needs --pipeline release2018.")
    return False


def _option(name: str) -> str:
    return "PHOTO" if name == "photos" else f"--{name.replace('_', '-')}"


def run(options: argparse.Namespace) -> int:
    out = folder(options.out)
    with quiet():
        from tqdm import tqdm

        from expnet_tf import facemodels
        from expnet_tf.morphable import FaceModelError
        from expnet_tf.network import ModelError
        from expnet_tf.release2018 import ReleaseError
        from expnet_tf.release2018.pipeline import Pipeline, Summary
        from expnet_tf.release2018.pipeline import run as reconstruct
        from expnet_tf.release2018.table import read_table

        with usage(ReleaseError, FaceModelError, ModelError, FileNotFoundError):
            rows = read_table(options.input, options.root or options.input.parent)
            pipeline = Pipeline.load(options.networks, facemodels.load(options.face_model), options.colors)
    summary = Summary()
    with usage(ModelError), tqdm(total=len(rows), unit="face", disable=len(rows) < 2, file=sys.stderr) as bar:
        try:
            reconstruct(
                pipeline,
                rows,
                out,
                options.batch_size or BATCH,
                not options.no_jpeg,
                report=lambda text: tqdm.write(text, file=sys.stderr),
                progress=bar.update,
                summary=summary,
            )
        except KeyboardInterrupt:
            bar.close()
            print(f"{_counts(summary)} before the interruption; every file in {out} is whole.")
            raise
    print(f"{_counts(summary)}{f'; meshes are in {out}' if summary.written else ''}.")
    return FAILED if summary.failed else FINE


def _counts(summary: Summary) -> str:
    failed = f", {summary.failed} failed" if summary.failed else ""
    return f"{many(summary.written, 'face')} done{failed}"
