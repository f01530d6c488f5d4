"""Keeps the chatter of native libraries off the terminal, and nothing else."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

# Lines that TensorFlow, its converters and LiteRT print whatever the log level is set to.
NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|[IW]0000 |INFO: |"
    rb"\d{4}-\d\d-\d\d [\d:.]+: [IW] "
)


@contextmanager
def quiet() -> Iterator[TextIO]:
    """Hold back what is written to standard error, then pass on all lines that are not known noise.

    Gives a file that writes to standard error at once, for progress.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Deprecations inside the converters: nothing that who runs a command could act on.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        sys.stderr.flush()
        terminal = os.dup(2)
    except (OSError, ValueError):  # started without standard error: there is nothing to keep quiet
        with open(os.devnull, "w") as nowhere:
            yield nowhere
        return
    with tempfile.TemporaryFile() as held, open(terminal, "w", buffering=1, errors="backslashreplace") as direct:
        os.dup2(held.fileno(), 2)
        try:
            yield direct
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            held.seek(0)
            lines = [line for line in held if line.strip() and not NOISE.match(line)]
            os.write(2, b"".join(lines))
