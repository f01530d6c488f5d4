"""Which photos PHOTO, DIR and GLOB arguments mean, and what each is called in the output folder.

A photo's name is its path below the deepest folder that holds all the arguments: `predict photos` keeps
`a/1.jpg` for photos/a/1.jpg, and so do `predict photos/a photos/b` and `predict 'photos/*/*.jpg'`. Two
photos never share a name.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""What is taken for a photo in a folder, in either case. A file that is named itself is always tried."""

FILMS = (
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2ts", ".wmv", ".flv", ".3gp", ".3g2",
    ".ogv", ".mjpeg", ".mjpg", ".h264", ".hevc",
)  # fmt: skip
"""What is taken for a film, which is read by itself (video/)."""


class Photo(NamedTuple):
    """A file to read; it need not exist."""

    path: str
    name: str  # below the output folder, with /


class Problem(NamedTuple):
    """An argument, a folder in one, or a film in a folder, that gives no photo: one sentence."""

    text: str


class Inputs:
    """The photos of the arguments, walked through anew, in a fixed order, with each iteration.

    Folders are read as they are reached, so that a tree of any size costs no memory. Hidden files and
    folders (`.name`) are left out, and so is what lies below `out`.
    """

    def __init__(self, arguments: Sequence[str], out: str | os.PathLike[str]) -> None:
        """Raises ValueError where `out` is a folder to be searched: its pictures would be taken for photos."""
        self._out = os.path.abspath(out)
        self._parts: list[tuple[str, str]] = []  # what was written, and a path or "" for a glob without a match
        roots: list[str] = []
        missing: list[str] = []
        for argument in arguments:
            pattern = not os.path.lexists(argument) and glob.has_magic(argument)
            paths = sorted(glob.iglob(argument, recursive=True)) if pattern else [argument]
            self._parts += [(argument, path) for path in paths] or [(argument, "")]
            folder = _fixed_part(argument) if pattern else argument
            whole = pattern or os.path.isdir(argument)
            root = os.path.abspath(folder if whole else os.path.dirname(argument) or ".")
            (roots if os.path.lexists(folder) else missing).append(root)
        # A mistyped path must not move everybody else's results.
        self._base = os.path.commonpath(roots or missing)
        self.files = {os.path.abspath(path) for _, path in self._parts if path and not os.path.isdir(path)}
        for _, path in self._parts:
            if path and os.path.isdir(path) and os.path.abspath(path) == self._out:
                raise ValueError(f"{path} is searched for photos, so results cannot go into it as well.")

    def __iter__(self) -> Iterator[Photo | Problem]:
        # One argument names no photo twice.
        seen: set[str] | None = set() if len(self._parts) > 1 else None
        for argument, path in self._parts:
            if not path:
                yield Problem(f"{argument} matches no file.")
            elif os.path.isdir(path):
                yield from self._unseen(self._walk(path), seen)
            else:
                yield from self._unseen(iter([self._photo(path)]), seen)

    def _photo(self, path: str) -> Photo:
        name = os.path.relpath(os.path.abspath(path), self._base)
        return Photo(path, Path(name).as_posix())

    def _unseen(self, items: Iterator[Photo | Problem], seen: set[str] | None) -> Iterator[Photo | Problem]:
        for item in items:
            if isinstance(item, Photo) and seen is not None:
                if item.name in seen:
                    continue
                seen.add(item.name)
            yield item

    def _walk(self, top: str) -> Iterator[Photo | Problem]:
        problems: list[OSError] = []
        count = films = 0
        for folder, folders, files in os.walk(top, onerror=problems.append):
            folders[:] = sorted(
                name for name in folders if name[0] != "." and os.path.abspath(os.path.join(folder, name)) != self._out
            )
            for name in sorted(files):
                if name[0] != "." and name.lower().endswith(SUFFIXES):
                    count += 1
                    yield self._photo(os.path.join(folder, name))
                elif name[0] != "." and name.lower().endswith(FILMS):
                    films += 1
                    yield Problem(f"{os.path.join(folder, name)} is a film: it is read by itself, not among photos.")
        for error in problems:
            yield Problem(f"{error.filename} cannot be read ({error.strerror}).")
        if not count and not films and not problems:
            yield Problem(f"{top} holds no photo; files that end with {', '.join(SUFFIXES)} are taken.")


def _fixed_part(pattern: str) -> str:
    """The folder before the first component with a wildcard."""
    parts = Path(pattern).parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return str(Path(*parts[:first])) if first else "."
