"""`expnet label`: expression codes of photos, as the paper made them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expnet_tf.commands.common import FAILED, FINE, UsageError, command, count, folder, many, out, usage
from expnet_tf.quiet import quiet

if TYPE_CHECKING:
    from expnet_tf.data.labelling.recipe import Recipe

FILES = ("openface", "pts", "npz")  # kinds of --landmarks, --shape, --pose that name a file or folder


def add(commands: Any) -> None:
    parser = command(
        commands,
        "label",
        "expression codes of photos, to train on",
        """
        Section III-B of the paper: 68 landmarks, a shape that all images of a person share, a head pose, and then the
        29 expression coefficients that explain the landmarks best, |z| <= 3, eq. (2). All of it is in
        docs/labelling.md.

        SOURCE is CASIA-WebFace's folder tree, an InsightFace train.rec, or a folder of expnet synth. Writes
        labels-*.npz (labels.json says how they were made), and failures.csv with a reason for each image that has
        none. A run that was stopped goes on where it was, with the same arguments.

          expnet label CASIA-WebFace --out labels --landmarks openface:csv --workers 8
          expnet label CASIA-WebFace --out labels --scheduler tcp://10.0.0.1:8786
          expnet label synthetic --out labels --landmarks dlib --prior 1.5
        """,
    )
    parser.add_argument("source", metavar="SOURCE", help="face images of people, see above")
    out(parser)
    parser.add_argument(
        "--landmarks",
        default="dlib",
        metavar="WHAT",
        help="dlib (extra expnet_tf[baselines]; its model is NOT for commercial use), openface:PATH, pts:DIR, "
        "npz:FILE, or labels: the true points of synthetic faces (default: dlib)",
    )
    parser.add_argument(
        "--shape",
        default="network",
        metavar="WHAT",
        help="network[:MODEL], npz:FILE, or labels: the true shape of synthetic faces (default: network, our own "
        "identity head)",
    )
    parser.add_argument(
        "--pose",
        default="network",
        metavar="WHAT",
        help="network[:MODEL], npz:FILE, landmarks: solved together with the expression, or labels: the true pose "
        "of synthetic faces (default: network, our own pose head)",
    )
    parser.add_argument(
        "--camera", choices=("pinhole", "orthographic"), default="pinhole", help="(default: pinhole, as in the paper)"
    )
    parser.add_argument(
        "--pool",
        choices=("mean", "confidence"),
        default="mean",
        help="how the shapes of a person's images are put together: their mean, as in the paper, or weighed by the "
        "landmarks' confidence (default: mean)",
    )
    parser.add_argument(
        "--boxes",
        choices=("detect", "labels"),
        help="where the face box comes from (default: labels for synthetic faces, else detect)",
    )
    parser.add_argument(
        "--jaw",
        type=float,
        metavar="DEGREES",
        help="heads turned further than this are fitted without the jaw, points 0 to 16; 180: always with, as in the "
        "paper (default: 15)",
    )
    parser.add_argument(
        "--prior",
        type=float,
        metavar="PX",
        help="noise of a landmark coordinate, px of the image: adds a Gaussian prior of the expressions to eq. (2) "
        "(default: none, as in the paper)",
    )
    parser.add_argument(
        "--face-model", type=Path, metavar="FILE", help="another face model than ours (npz of MorphableModel)"
    )
    parser.add_argument("--workers", type=count, metavar="K", help="processes (default: one a core)")
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster, tcp://host:port, whose workers make the labels"
    )


def run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from expnet_tf.data.labelling.job import label, one_by_one
    from expnet_tf.data.labelling.recipe import RecipeError
    from expnet_tf.data.labelling.shard import ToolsDiffer
    from expnet_tf.data.labelling.workers import Cluster, Processes, WorkerError, cores
    from expnet_tf.data.labels import LabelError
    from expnet_tf.data.sources import SourceError, open_source

    root = folder(options.out)
    if options.scheduler and options.workers:
        raise UsageError("--workers counts processes of this machine; with --scheduler the cluster has its own.")
    with quiet() as terminal, usage(SourceError, RecipeError, LabelError, WorkerError, ToolsDiffer, OSError):
        source = open_source(options.source)
        recipe = _recipe(options, source.kind)
        workers = options.workers or cores()
        runner = Cluster(options.scheduler) if options.scheduler else Processes(workers) if workers > 1 else one_by_one
        with tqdm(total=len(source), unit="image", file=terminal) as bar:
            done = label(source, root, recipe, runner, lambda images, _: bar.update(images - bar.n))
    print(f"{many(done.labelled, 'image')} labelled, {many(done.failed, 'image')} left out; see {root}/labels.json.")
    if done.failed:
        print(f"{many(done.failed, 'image')} left out, each with a reason in {root}/failures.csv.", file=sys.stderr)
    return FAILED if done.failed else FINE


def _recipe(options: argparse.Namespace, kind: str) -> Recipe:
    from expnet_tf.data.labelling.recipe import JAW_DEGREES, Recipe

    return Recipe(
        landmarks=_absolute(options.landmarks),
        shape=_absolute(options.shape),
        pose=_absolute(options.pose),
        camera=options.camera,
        pool=options.pool,
        boxes=options.boxes or ("labels" if kind == "synthetic" else "detect"),
        jaw=JAW_DEGREES if options.jaw is None else options.jaw,
        prior=options.prior,
        face_model=str(options.face_model.resolve()) if options.face_model else None,
    )


def _absolute(text: str) -> str:
    """Workers may run in another folder: paths are made absolute."""
    kind, colon, rest = text.partition(":")
    path = Path(rest)
    # A network may be a shipped name; only a path that is there is one.
    if rest and (kind in FILES or (kind == "network" and path.exists())):
        return f"{kind}{colon}{path.resolve()}"
    return text
