"""The `expnet` command: arguments in, one call into the package, an exit code out.

0: everything done. 1: some items failed, each with one sentence on standard error. 2: not understood, nothing
done. 130: interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from expnet_tf import __version__
from expnet_tf.commands import COMMANDS
from expnet_tf.commands.common import FAILED, INTERRUPTED, USAGE, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; None: the arguments of the process. Returns the exit code."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as stop:  # argparse has printed help, the version or what is wrong
        return int(stop.code or 0)
    try:
        code = COMMANDS[options.command].run(options)
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


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="expnet",
        description="3D facial expression, identity and pose from a photo; exports that are proven equal.",
        epilog="exit codes: 0 everything done; 1 some items failed, each with a line on standard error; "
        "2 not understood, nothing done. `expnet COMMAND --help` has the details.",
    )
    made.add_argument("--version", action="version", version=f"expnet {__version__}")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS.values():
        module.add(commands)
    return made
