"""Long files that are whole or not there: written piece by piece under a temporary name, then renamed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = ".part-"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix; renamed to it when the block ends well, else removed."""
    temporary = path.with_name(f"{MARK}{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes what a killed process left under temporary names."""
    for left in (*folder.glob(f"{MARK}*"), *folder.glob(".*.tmp")):
        left.unlink(missing_ok=True)
