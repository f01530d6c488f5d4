"""`expnet import-2018`: the networks released with ExpNet in 2018, as .keras files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from expnet_tf.commands.common import FINE, UsageError, command, folder, out, printer, usage
from expnet_tf.quiet import quiet


def add(commands: Any) -> None:
    parser = command(
        commands,
        "import-2018",
        "make .keras files of the networks that were released with ExpNet in 2018",
        """
        For those who hold the release's files: its TF1 checkpoints are read variable by variable, compared by name and
        shape with the network they belong to, and written as DIR/expression.keras (ExpNet, 29), DIR/shape.keras
        (3DMM-CNN: identity 99, texture 99) and DIR/pose.keras (FacePoseNet, 6, in our frame). Pickles are never read,
        and FacePoseNet's PAM_frontal_ALexNet.npy is not needed. docs/release2018.md has the details.

          expnet import-2018 --expression Expression_Model --shape Shape_Model --pose fpn_new_model --out networks
          expnet export networks/expression.keras --out exported --format onnx,tflite
        """,
    )
    what = "the release's folder, or the checkpoint in it"
    parser.add_argument("--expression", type=Path, metavar="DIR", help=f"Expression_Model: {what}")
    parser.add_argument("--shape", type=Path, metavar="DIR", help=f"Shape_Model: {what}")
    parser.add_argument("--pose", type=Path, metavar="DIR", help=f"fpn_new_model: {what}")
    parser.add_argument(
        "--mean-image",
        type=Path,
        metavar="FILE",
        help="3DMM_shape_mean.npy, which expression and shape both take off (default: in their folders)",
    )
    parser.add_argument(
        "--pose-images",
        type=Path,
        metavar="FILE",
        help="perturb_Oxford_train_imgs_mean.npz (default: in the folder of --pose)",
    )
    parser.add_argument(
        "--pose-labels",
        type=Path,
        metavar="FILE",
        help="perturb_Oxford_train_labels_mean_std.npz (default: in the folder of --pose)",
    )
    out(parser)


def run(options: argparse.Namespace) -> int:
    if not (options.expression or options.shape or options.pose):
        raise UsageError("no network is named; at least one of --expression, --shape, --pose is expected.")
    root = folder(options.out)
    with quiet() as terminal:
        from expnet_tf.network import ModelError
        from expnet_tf.release2018 import ReleaseError
        from expnet_tf.release2018.importer import Sources, import_networks

        sources = Sources(
            options.expression,
            options.shape,
            options.pose,
            options.mean_image,
            options.pose_images,
            options.pose_labels,
        )
        with usage(ReleaseError, ModelError, OSError):
            import_networks(sources, root, printer(terminal))
    return FINE
