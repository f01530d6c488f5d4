"""The `expnet` command: arguments in, one call into the package, an exit code out.

0: everything done. 1: some items failed, each with one sentence on standard error. 2: not understood, nothing
done. 130: interrupted. Heavy imports are inside the functions, so that --help and --version answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from expnet_tf.arguments import parser
from expnet_tf.quiet import quiet

if TYPE_CHECKING:
    from expnet_tf.batch import Summary
    from expnet_tf.detect import Detector

FINE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """What was asked for cannot be: one sentence, exit code 2."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; None: the arguments of the process. Returns the exit code."""
    try:
        options = parser().parse_args(arguments)
    except SystemExit as stop:  # argparse has printed help, the version or what is wrong
        return int(stop.code or 0)
    try:
        code = COMMANDS[options.command](options)
        sys.stdout.flush()  # a reader that left is noticed here, and not when the interpreter ends
        return code
    except UsageError as error:
        print(f"expnet {options.command}: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print(f"expnet {options.command}: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output left. Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED


def _predict(options: argparse.Namespace) -> int:
    from expnet_tf.inputs import Inputs

    out = _folder(options.out)
    try:
        inputs = Inputs(options.photos, out)
    except ValueError as error:
        raise UsageError(str(error)) from None
    with quiet():
        from tqdm import tqdm

        from expnet_tf.batch import Job, Summary, predict_files
        from expnet_tf.network import ModelError
        from expnet_tf.predictor import load

        with _usage(ModelError, ImportError):
            predictor = load(options.model, _detector(options))
            predictor.warm_up()
    job = Job(out, options.format, options.box, options.all_faces, frozenset(inputs.files))
    total = sum(1 for _ in inputs)
    summary = Summary()
    with (
        _usage(ModelError),
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
            print(f"{_counts(summary)} before the interruption; every file in {out} is whole.")
            raise
    print(f"{_counts(summary)}{f'; results are in {out}' if summary.photos else ''}.")
    return FAILED if summary.failed else FINE


def _counts(summary: Summary) -> str:
    failed = f", {summary.failed} failed" if summary.failed else ""
    return f"{_many(summary.photos, 'photo')} done, {_many(summary.faces, 'face')}{failed}"


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _detector(options: argparse.Namespace) -> Detector | None:
    from expnet_tf.detect import MTCNN, BlazeFace

    if options.box:
        return None
    return MTCNN() if options.detector == "mtcnn" else BlazeFace()


def _synth(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from expnet_tf.data.synth import synthesize

    out = _folder(options.out)
    total = options.identities * options.per_identity
    with _usage(ValueError), tqdm(total=total, unit="image", file=sys.stderr) as bar:
        rendered = synthesize(
            out,
            options.identities,
            options.per_identity,
            options.size,
            options.seed,
            options.assets,
            options.workers,
            progress=bar.update,
        )
    print(f"{_many(rendered, 'image')} rendered, {total} in {out}; have a look at {out / 'contact.png'}.")
    return FINE


def _export(options: argparse.Namespace) -> int:
    out = _folder(options.out)
    with quiet() as terminal:
        from expnet_tf.export.bundle import ExportError, export_model
        from expnet_tf.models import resolve
        from expnet_tf.network import ModelError

        with _usage(ModelError, ExportError):
            result = export_model(resolve(options.model), out, options.format, progress=_printer(terminal))
    for failure in result.failures.values():
        print(f"expnet export: {failure}", file=sys.stderr)
    verified = _verify_folder(out)
    return FINE if result.passed and verified else FAILED


def _verify(options: argparse.Namespace) -> int:
    return FINE if _verify_folder(options.directory) else FAILED


def _verify_folder(directory: Path) -> bool:
    """Verify an export folder and print the table; whether everything in it passed."""
    with quiet() as terminal:
        from expnet_tf.export.parity import ExportError, table, verify

        with _usage(ExportError, FileNotFoundError):
            report = verify(directory, progress=_printer(terminal))
    print(table(report))
    return report.passed


def _printer(file: TextIO) -> Callable[[str], None]:
    return lambda text: print(text, file=file)


def _demo(options: argparse.Namespace) -> int:
    out = _folder(options.out)
    with quiet() as terminal:
        from expnet_tf.demo import run
        from expnet_tf.network import ModelError

        with _usage(ModelError):
            return FINE if run(out, progress=_printer(terminal)) else FAILED


def _models(options: argparse.Namespace) -> int:
    with quiet():
        from expnet_tf.models import parameters, sha256, shipped
        from expnet_tf.network import read_info
    rows = [("name", "version", "size px", "parameters", "file MB", "licence", "sha256")]
    for name, path in shipped().items():
        info, count = read_info(path), parameters(path)
        size = f"{path.stat().st_size / 1e6:.2f}"
        rows.append((name, info.version, str(info.size), f"{count:,}", size, info.licence, sha256(path)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if len(rows) == 1:
        print("No weights are in this copy of the package.")
    return FINE


@contextmanager
def _usage(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds, which carry one clear sentence, become exit code 2."""
    try:
        yield
    except kinds as error:
        raise UsageError(str(error)) from error


def _folder(path: Path) -> Path:
    """Check, before anything slow, that the output folder can be made; it is made with the first file."""
    existing = path
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        where = "is a file" if existing == path else f"lies below the file {existing}"
        raise UsageError(f"--out {path} {where}; a folder is expected.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"--out {path} cannot be written to.")
    return path


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "predict": _predict,
    "synth": _synth,
    "export": _export,
    "verify": _verify,
    "demo": _demo,
    "models": _models,
}
