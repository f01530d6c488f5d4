"""`expnet predict VIDEO` and `expnet predict --camera N`: what happens in a film."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from expnet_tf.commands.common import FAILED, FINE, UsageError, folder, many, usage
from expnet_tf.inputs import FILMS
from expnet_tf.quiet import quiet

if TYPE_CHECKING:
    from expnet_tf.detect import Detector
    from expnet_tf.predictor import Predictor
    from expnet_tf.video.run import Summary

# What is taken for a video and not for a photo. Sound files among them, so that they are refused as what they are.
SUFFIXES = (*FILMS, ".ts", ".mts", ".mp3", ".wav", ".m4a", ".aac", ".flac", ".ogg", ".opus")
FORMATS = ("csv", "parquet", "mp4", "webm", "glb")  # video.run.FORMATS, which is too heavy to import for --help
DEFAULT_FORMATS = ("csv", "mp4", "glb")
OWN = ("seconds", "smooth", "video_format")
OTHERS = ("box", "all_faces", "format", "shards", "shard_size", "workers", "scheduler")


def arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "video (docs/video.md)",
        "VIDEO, one file, in place of photos: every face of every frame, each person with a number. DIR/faces.csv has "
        "a row a face a frame, DIR/overlay.mp4 the meshes over the film, DIR/faces.glb everybody animated, "
        "DIR/video.json says what all is. A run that was stopped goes on with the same arguments.",
    )
    group.add_argument("--camera", type=_camera, metavar="N", help="a camera of this machine, from 0; Ctrl-C ends it")
    group.add_argument("--seconds", type=_seconds, metavar="S", help="how long the camera is read")
    group.add_argument("--smooth", action="store_true", help="One Euro filter: less jitter, a little lag")
    group.add_argument(
        "--video-format",
        type=_formats,
        metavar="NAMES",
        help=f"what to write: a list, with commas, of {', '.join(FORMATS)} (default: {','.join(DEFAULT_FORMATS)}); "
        "webm is the film for browsers, ten times as slow; parquet needs the extra expnet_tf[parquet]",
    )


def wanted(options: argparse.Namespace) -> bool:
    """Whether it is this that was asked for. Raises UsageError for options that do not go together."""
    films = [path for path in options.photos if Path(path).suffix.lower() in SUFFIXES]
    if options.camera is None and not films:
        for name in OWN:
            if getattr(options, name):
                raise UsageError(f"--{name.replace('_', '-')} needs a video, or --camera.")
        return False
    if options.camera is not None and options.photos:
        raise UsageError(f"--camera is read, or {options.photos[0]}; one of them is expected.")
    if len(options.photos) > 1:
        raise UsageError(f"{films[0]} is a video; one video at a time is expected, and no photos beside it.")
    if options.seconds and options.camera is None:
        raise UsageError("--seconds needs --camera; of a video every frame is read.")
    for name in OTHERS:
        if getattr(options, name):
            raise UsageError(f"--{name.replace('_', '-')} is for photos; a video has --video-format and --smooth.")
    return True


def run(options: argparse.Namespace, detector: Callable[[argparse.Namespace], Detector | None]) -> int:
    root = folder(options.out)
    with quiet():
        from tqdm import tqdm

        from expnet_tf.network import ModelError
        from expnet_tf.predictor import load
        from expnet_tf.video.reader import Camera, VideoError, VideoFile
        from expnet_tf.video.run import process

        with usage(VideoError, ModelError, ImportError):
            live = options.camera is not None
            source = Camera(options.camera, options.seconds) if live else VideoFile(options.photos[0])
            if Path(options.model).suffix in (".tflite", ".onnx"):
                from expnet_tf.video.artifact import load_artifact

                predictor: Predictor = load_artifact(Path(options.model), detector(options))
            else:
                predictor = load(options.model, detector(options))
            predictor.warm_up()
    # Shown with its first frame: no empty bar above an error, or where all is done already.
    with usage(VideoError, ModelError), tqdm(unit="frame", file=sys.stderr, smoothing=0.1, delay=math.inf) as bar:

        def progress(stage: str, done: int, total: int | None) -> None:
            if bar.desc != f"{stage}: ":
                bar.delay = 0
                bar.reset(total)
                bar.initial = bar.n = bar.last_print_n = done
                bar.set_description(stage, refresh=False)
            bar.update(done - bar.n)

        try:
            summary = process(
                source,
                root,
                predictor,
                options.video_format or DEFAULT_FORMATS,
                options.smooth,
                report=lambda text: tqdm.write(text, file=sys.stderr),
                progress=progress,
            )
        except OSError as error:
            raise UsageError(f"{error.filename or root} cannot be written ({error.strerror or error}).") from error
        except KeyboardInterrupt:
            bar.close()
            print(f"The finished part in {root} is kept; the same command goes on from there.")
            raise
    print(f"{_counts(summary)}; {', '.join(summary.files)} and video.json are in {root}.")
    return FAILED if summary.dropped else FINE


def _counts(summary: Summary) -> str:
    missing = sum(gap.count for gap in summary.dropped)
    people = len(summary.people)
    parts = [many(summary.frames, "frame"), f"{people:,} {'person' if people == 1 else 'people'}"]
    parts += [many(summary.faces, "face")] + ([f"{many(missing, 'frame')} missing"] if missing else [])
    return ", ".join(parts)


def _camera(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a camera; they count from 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in s above 0")
    return seconds


def _formats(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        what = f"unknown format {unknown[0]!r}" if unknown else "no format"
        raise argparse.ArgumentTypeError(f"{what}; accepted: {', '.join(FORMATS)}")
    if "mp4" in names and "webm" in names:
        raise argparse.ArgumentTypeError("mp4 and webm are the same film; one of them is expected")
    return tuple(name for name in FORMATS if name in names)
