"""`expnet evaluate`: how good the expressions are, by the paper's protocol and on synthetic faces."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expnet_tf.commands.common import FAILED, FINE, UsageError, command, folder, many, out, usage
from expnet_tf.models import DEFAULT
from expnet_tf.quiet import quiet

if TYPE_CHECKING:
    from expnet_tf.evaluate.run import AnyMethod, Run

SCALES = (1.0, 0.8, 0.6, 0.4, 0.2)  # the paper's


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="how good the expressions are: emotions by the paper's protocol, or synthetic faces",
        description="How good the expressions are: `expnet evaluate emotion` and `expnet evaluate synthetic`.",
    )
    kinds = parser.add_subparsers(dest="evaluation", required=True, metavar="WHAT")
    _add_emotion(kinds)
    _add_synthetic(kinds)


def _add_emotion(commands: Any) -> None:
    parser = command(
        commands,
        "emotion",
        "tell emotions by the expressions of labelled photos or clips",
        """
        The 5 nearest neighbours of a clip's expression vote for its emotion; right answers are counted with one
        clip left out, and with one subject left out where subjects are known, at every scale, with the box given
        and end to end. docs/evaluation.md states the protocol and the layouts:

          CK+     cohn-kanade-images/S005/001/*.png and Emotion/S005/001/*_emotion.txt
          AFEW    (EmotiW-17) Train/Angry/000046280.avi, or folders of frames, or without Train
          folder  CLASS/photo.jpg or CLASS/clip/frame.jpg, and perhaps boxes.csv beside the classes
          CSV     path, label; perhaps subject, clip, age, box_x, box_y, box_w, box_h

        Writes report.md, report.json and the pictures, the same bytes each time, and timings to runtime.json.
        Codes are kept in DIR/codes: an interrupted run goes on where it was.

          expnet evaluate emotion CK+ --out report
          expnet evaluate emotion photos --out report --baselines dlib,dlib-prior --codes openface.npz
        """,
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder or CSV of labelled photos or clips")
    out(parser)
    _add_methods(parser)
    parser.add_argument(
        "--codes",
        action="append",
        type=Path,
        default=[],
        metavar="FILE.npz",
        help="codes that another program made of these images; may be given several times (docs/evaluation.md)",
    )
    parser.add_argument(
        "--scales",
        type=_scales,
        default=SCALES,
        metavar="LIST",
        help=f"factors that images are scaled down by (default: {','.join(f'{s:g}' for s in SCALES)})",
    )


def _add_synthetic(commands: Any) -> None:
    parser = command(
        commands,
        "synthetic",
        "compare expressions with the truth of synthetic faces",
        """
        Error in mm by zone of the face and by how far the head is turned, R^2 of each component, what is read of
        neutral faces, how much identity leaks into the expression, calibration of the blendshapes. FACES is a
        folder of `expnet synth`, of a seed that nothing was trained on. Writes report.md, report.json and charts.

          expnet synth --out faces --identities 125 --per-identity 8 --seed 4242
          expnet evaluate synthetic faces --out report
        """,
    )
    parser.add_argument("data", type=Path, metavar="FACES", help="folder made by `expnet synth`")
    out(parser)
    _add_methods(parser)


def _add_methods(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        action="append",
        dest="models",
        metavar="M",
        help=f"a shipped model or a .keras file; may be given several times (default: {DEFAULT}; none with --codes)",
    )
    parser.add_argument(
        "--baselines",
        type=_names,
        default=(),
        metavar="NAMES",
        help="landmark methods to compare with, a list with commas: dlib, dlib-prior (need the extra "
        "expnet_tf[baselines], which is NOT for commercial use)",
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(round(float(part), 4) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale <= 1 for scale in scales):
        raise argparse.ArgumentTypeError(f"{text!r}: a list of numbers above 0 and up to 1 is expected, as 1,0.4,0.2")
    return scales


def run(options: argparse.Namespace) -> int:
    root = folder(options.out)
    if options.data.is_dir() and root.resolve().is_relative_to(options.data.resolve()):
        raise UsageError(f"--out {root} lies within {options.data}, whose pictures are data.")
    if not find_spec("matplotlib"):
        raise UsageError("The charts of the report need matplotlib: pip install 'expnet_tf[train]'.")
    return {"emotion": _emotion, "synthetic": _synthetic}[options.evaluation](options, root)


def _emotion(options: argparse.Namespace, root: Path) -> int:
    with quiet():
        from tqdm import tqdm

        from expnet_tf.detect import BlazeFace
        from expnet_tf.evaluate import emotion, measures, pictures, report
        from expnet_tf.evaluate.clips import DataError
        from expnet_tf.evaluate.datasets import check, read_clips
        from expnet_tf.evaluate.knn import NEIGHBOURS

        with usage(DataError):
            dataset = read_clips(options.data)
            check(dataset, NEIGHBOURS)
        methods = _methods(options, options.codes)
    with usage(DataError), tqdm(total=len(dataset.clips), unit="clip", file=sys.stderr) as bar:
        done = emotion.evaluate(dataset, methods, options.scales, root, BlazeFace(), progress=bar.update)
    with tqdm(total=len(methods) + pictures.PARTS, unit="part", file=sys.stderr) as bar:
        done.record.update(measures.measure(done, root, progress=bar.update))
        done.record["pictures"] = pictures.draw(done, root, progress=bar.update)
    report.write(root, done.record)
    problems = [*done.record["data"]["notes"], *done.record["data"]["unreadable"], *_times(options, done, root)]
    for sentence in problems:
        print(sentence, file=sys.stderr)
    print(report.summary(done.record))
    print(f"{many(len(dataset.clips), 'clip')}; the report is {root / 'report.md'}.")
    return FAILED if done.record["data"]["unreadable"] else FINE


def _times(options: argparse.Namespace, done: Run, root: Path) -> list[str]:
    """Write runtime.json and runtime.md; returns what went wrong."""
    from expnet_tf.evaluate import measures, runtime
    from expnet_tf.facejson import dumps
    from expnet_tf.files import write_whole

    models = _models(options, options.codes)
    if not models and not options.baselines:
        return []
    images, boxes, _ = measures.faces(done, runtime.PHOTOS)
    try:
        times = runtime.measure(images, [box.tolist() for box in boxes], models, options.baselines)
    except runtime.RuntimeFailure as error:
        return [str(error)]
    write_whole(root / "runtime.json", dumps(times).encode("ascii"))
    write_whole(root / "runtime.md", f"# Seconds an image\n\n{runtime.markdown(times)}\n".encode())
    return []


def _synthetic(options: argparse.Namespace, root: Path) -> int:
    with quiet():
        from tqdm import tqdm

        from expnet_tf.data.labels import LabelError
        from expnet_tf.evaluate import synthetic, synthetic_figures, synthetic_report

        with usage(LabelError):
            images = synthetic.count(options.data)
        methods = _methods(options, ())
    with usage(LabelError, synthetic.SyntheticError), tqdm(total=images, unit="image", file=sys.stderr) as bar:
        record = synthetic.evaluate(options.data, methods, progress=bar.update)
    root.mkdir(parents=True, exist_ok=True)
    record["pictures"] = synthetic_figures.draw(root, record)
    synthetic_report.write(root, record)
    for sentence in record["data"]["unreadable"]:
        print(sentence, file=sys.stderr)
    print(synthetic_report.summary(record))
    print(f"{many(record['data']['images'], 'image')}; the report is {root / 'report.md'}.")
    return FAILED if record["data"]["unreadable"] else FINE


def _models(options: argparse.Namespace, files: Sequence[Path]) -> list[str]:
    return list(dict.fromkeys(options.models or ([] if files else [DEFAULT])))


def _methods(options: argparse.Namespace, files: Sequence[Path]) -> list[Any]:
    """Networks first, then baselines, then files; names are told apart by a number."""
    from expnet_tf.evaluate.baselines import BASELINES
    from expnet_tf.evaluate.methods import CodesError, FileCodes, Network
    from expnet_tf.network import ModelError

    unknown = [name for name in options.baselines if name not in BASELINES]
    if unknown:
        raise UsageError(f"There is no baseline {unknown[0]!r}; accepted: {', '.join(BASELINES)}.")
    methods: list[AnyMethod] = []
    with usage(ModelError, CodesError, ImportError, ValueError):
        methods += [Network(model) for model in _models(options, files)]
        methods += [BASELINES[name]() for name in options.baselines]
        methods += [FileCodes(path) for path in files]
    taken: set[str] = set()
    for method in methods:
        name, number = method.name, 2
        while method.name in taken:
            method.name, number = f"{name} ({number})", number + 1
        taken.add(method.name)
    return methods
