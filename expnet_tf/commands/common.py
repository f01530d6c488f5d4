"""What the subcommands of `expnet` share: exit codes, usage errors, and the kinds of their arguments."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

FINE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """What was asked for cannot be: one sentence, exit code 2."""


def command(commands: Any, name: str, summary: str, details: str) -> argparse.ArgumentParser:
    """A subcommand's parser; `details` is its help, layout kept."""
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{textwrap.dedent(details).strip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return made


def out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the results; made if missing"
    )


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


@contextmanager
def usage(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds, which carry one clear sentence, become exit code 2."""
    try:
        yield
    except kinds as error:
        raise UsageError(str(error)) from error


def folder(path: Path) -> Path:
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


def many(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def printer(file: TextIO) -> Callable[[str], None]:
    return lambda text: print(text, file=file)
