"""`expnet predict`: photos in; coefficients, meshes and pictures out."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expnet_tf.commands import predict_release2018, predict_video
from expnet_tf.commands.common import FAILED, FINE, UsageError, command, count, folder, many, out, usage
from expnet_tf.models import DEFAULT
from expnet_tf.quiet import quiet

if TYPE_CHECKING:
    from expnet_tf.batch import Summary
    from expnet_tf.detect import Detector
    from expnet_tf.inputs import Inputs

FACE_FORMATS = ("json", "obj", "ply", "glb", "png")  # batch.FORMATS, which is too heavy to import for --help
DEFAULT_FORMATS = ("json", "obj", "png")


def add(commands: Any) -> None:
    parser = command(
        commands,
        "predict",
        "photos or a video in; coefficients, meshes and pictures out",
        """
        Of each photo the largest face, or with --all-faces all of them, largest first:
          json  expression [29], 52 ARKit blendshapes, identity [99], pose, box, timing (docs/face-json.md)
          obj, ply, glb  the face as a mesh, in the photo's expression (mm; glb: m)
          png   photo, crop, mesh over the photo, mesh from the front and turned, strongest blendshapes

        The files carry the photo's name and suffix: DIR/a/1.jpg.json, DIR/a/1.jpg.obj, ...; with --all-faces
        meshes and pictures are counted as in the JSON: DIR/a/1.jpg.0.obj, DIR/a/1.jpg.1.obj, ... The folder
        (a/ here) is the photo's path below the deepest folder that holds all arguments.

        A photo that cannot be read, is above 50 million px, or shows no face is reported in one line, and the
        others go on.

        For very many photos, --shards writes no file a photo but tables with a row a face (docs/batch.md), made by
        many workers: DIR/faces-00000-of-00200.jsonl, ..., DIR/faces.json that says what they are, and
        DIR/failures.jsonl with a sentence for each photo that has no row. A run that was stopped goes on where it
        was, with the same arguments.

          expnet predict photo.jpg --out results
          expnet predict holiday.mp4 --out film --smooth
          expnet predict photos 'more/*/*.png' --out results --all-faces --format json,glb
          expnet predict photos --out table --shards parquet --workers 8
          expnet predict photos --out table --shards jsonl --scheduler tcp://10.0.0.1:8786
          expnet predict --pipeline release2018 --input input.csv --networks NETS --face-model FILE --out meshes
        """,
    )
    parser.add_argument(
        "photos",
        nargs="*",
        metavar="PHOTO|DIR|GLOB|VIDEO",
        help="JPEG, PNG, WebP, BMP, TIFF or GIF files; folders, searched to any depth for files with such "
        "suffixes; or patterns in quotes (** is any depth); or one video file",
    )
    out(parser)
    parser.add_argument("--model", default=DEFAULT, help="a shipped model or a .keras file (default: %(default)s)")
    parser.add_argument(
        "--box",
        type=_box,
        metavar="X,Y,W,H",
        help="where the face is, in px of the photo after its EXIF rotation: left, top, width, height, forehead to "
        "chin and ear to ear; instead of detection, for every photo (write --box=-5,... where X is negative)",
    )
    parser.add_argument("--all-faces", action="store_true", help="all faces, not the largest alone")
    parser.add_argument(
        "--format",
        type=_face_formats,
        metavar="NAMES",
        help=f"what to write: a list, with commas, of {', '.join(FACE_FORMATS)}, or all (default: json,obj,png)",
    )
    parser.add_argument(
        "--detector",
        choices=("blazeface", "mtcnn"),
        default="blazeface",
        help="mtcnn needs the extra expnet_tf[mtcnn], whose weights are NOT for commercial use (default: blazeface)",
    )
    shards = parser.add_argument_group("tables of very many photos")
    shards.add_argument(
        "--shards",
        choices=("jsonl", "parquet"),  # faceshard.FORMATS
        help="write rows, one a face, in place of files by photo; parquet needs the extra expnet_tf[parquet]",
    )
    shards.add_argument("--shard-size", type=count, metavar="N", help="photos a shard, the unit of work (default: 500)")
    shards.add_argument("--workers", type=count, metavar="K", help="processes (default: one a core)")
    shards.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster, tcp://host:port, whose workers make the shards"
    )
    predict_video.arguments(parser)
    predict_release2018.arguments(parser)


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not four numbers X,Y,W,H in px") from None
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: finite numbers are expected, W and H above 0")
    return x, y, w, h


def _face_formats(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in (*FACE_FORMATS, "all")]
    if unknown or not names:
        what = f"unknown format {unknown[0]!r}" if unknown else "no format"
        raise argparse.ArgumentTypeError(f"{what}; accepted: all, {', '.join(FACE_FORMATS)}")
    return tuple(name for name in FACE_FORMATS if name in names or "all" in names)


def run(options: argparse.Namespace) -> int:
    from expnet_tf.inputs import Inputs

    if predict_release2018.wanted(options):
        return predict_release2018.run(options)
    if predict_video.wanted(options):
        return predict_video.run(options, _detector)
    if not options.photos:
        raise UsageError("no photo is named; required: PHOTO|DIR|GLOB, a video, --camera or --pipeline.")
    _check(options)
    root = folder(options.out)
    try:
        inputs = Inputs(options.photos, root)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if options.shards:
        return _run_shards(options, inputs, root)
    with quiet():
        from tqdm import tqdm

        from expnet_tf.batch import Job, Summary, predict_files
        from expnet_tf.network import ModelError
        from expnet_tf.predictor import load

        with usage(ModelError, ImportError):
            predictor = load(options.model, _detector(options))
            predictor.warm_up()
    job = Job(root, options.format or DEFAULT_FORMATS, options.box, options.all_faces, frozenset(inputs.files))
    total = sum(1 for _ in inputs)
    summary = Summary()
    with (
        usage(ModelError),
        tqdm(total=total, unit="photo", disable=total < 2, file=sys.stderr) as bar,
    ):
        try:
            predict_files(
                predictor,
                inputs,
                job,
                report=lambda text: tqdm.write(text, file=sys.stderr),
                progress=bar.update,
                summary=summary,
            )
        except KeyboardInterrupt:
            bar.close()
            print(f"{_counts(summary)} before the interruption; every file in {root} is whole.")
            raise
    print(f"{_counts(summary)}{f'; results are in {root}' if summary.photos else ''}.")
    return FAILED if summary.failed else FINE


def _check(options: argparse.Namespace) -> None:
    """Raises UsageError for options that do not go together."""
    if options.shards and options.format:
        raise UsageError("--format names files by photo; with --shards there are rows of numbers only.")
    if options.scheduler and options.workers:
        raise UsageError("--workers counts processes of this machine; with --scheduler the cluster has its own.")
    for name in ("shard_size", "workers", "scheduler"):
        if getattr(options, name) and not options.shards:
            raise UsageError(f"--{name.replace('_', '-')} needs --shards jsonl or --shards parquet.")


def _run_shards(options: argparse.Namespace, inputs: Inputs, root: Path) -> int:
    with quiet() as terminal:
        from tqdm import tqdm

        from expnet_tf.data.labelling.shard import ToolsDiffer
        from expnet_tf.data.labelling.workers import Cluster, Processes, WorkerError, cores
        from expnet_tf.faceshard import Ask, ShardError, make_shard
        from expnet_tf.network import ModelError
        from expnet_tf.shards import PHOTOS_PER_SHARD, one_by_one, predict_shards

        # Workers may run in another folder; a shipped name is none.
        model = os.path.abspath(options.model) if os.path.exists(options.model) else options.model
        ask = Ask(options.shards, model, options.detector, options.box, options.all_faces)
        workers = options.workers or cores()
        runner = (
            Cluster(options.scheduler, make_shard)
            if options.scheduler
            else Processes(workers, make_shard)
            if workers > 1
            else one_by_one
        )
        with (
            usage(ShardError, ModelError, WorkerError, ToolsDiffer, OSError),
            tqdm(unit="photo", file=terminal, delay=0.1) as bar,
        ):

            def progress(photos: int, total: int) -> None:
                bar.total = total
                bar.update(photos - bar.n)

            size = options.shard_size or PHOTOS_PER_SHARD
            done = predict_shards(inputs, root, ask, runner, progress, size)
    failed = f", {done.failed} failed" if done.failed else ""
    print(f"{many(done.photos, 'photo')} done, {many(done.faces, 'face')}{failed}; see {root}/faces.json.")
    if done.failed:
        print(f"{done.failed:,} failed, each with a sentence in {root}/failures.jsonl.", file=sys.stderr)
    return FAILED if done.failed else FINE


def _counts(summary: Summary) -> str:
    failed = f", {summary.failed} failed" if summary.failed else ""
    return f"{many(summary.photos, 'photo')} done, {many(summary.faces, 'face')}{failed}"


def _detector(options: argparse.Namespace) -> Detector | None:
    from expnet_tf.detect import MTCNN, BlazeFace

    if options.box:
        return None
    return MTCNN() if options.detector == "mtcnn" else BlazeFace()
