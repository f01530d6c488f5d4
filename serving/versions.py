"""Which versions lie in a model repository: BASE/NAME/VERSION/, VERSION a whole number, as in TensorFlow Serving."""

from __future__ import annotations

import os
from pathlib import Path

from expnet_tf.serving import artifacts

Fingerprint = tuple[tuple[str, int, int], ...]
"""Path, bytes and time of change of every file of a version: two alike, a while apart, and it is complete."""


def scan(base: Path) -> dict[str, dict[int, Fingerprint]]:
    """{model: {version: fingerprint}} of the versions that have an artifact; hidden folders are left out.

    A folder without a numbered one in it, such as the `lost+found` of a volume, is no model. What cannot be read, or
    vanishes meanwhile, is not there.
    """
    found: dict[str, dict[int, Fingerprint]] = {}
    for model in _folders(base):
        numbered = [folder for folder in _folders(model) if folder.name.isascii() and folder.name.isdecimal()]
        if not numbered:
            continue
        versions = {}
        for folder in numbered:
            if artifacts.find(folder):
                fingerprint = _fingerprint(folder)
                if fingerprint:
                    versions[int(folder.name)] = fingerprint
        found[model.name] = versions
    return found


def folder(base: Path, model: str, version: int) -> Path:
    """Where a version that `scan` found lies: its name may have leading zeros."""
    found = (path for path in _folders(base / model) if path.name.isdecimal() and int(path.name) == version)
    return next(found, base / model / str(version))  # gone since: whoever loads it says so


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir() and entry.name[0] != ".")
    except OSError:
        return []


def _fingerprint(top: Path) -> Fingerprint:
    files = []
    try:
        for path in sorted(p for p in top.rglob("*") if p.is_file()):
            facts = path.stat()
            files.append((path.relative_to(top).as_posix(), facts.st_size, facts.st_mtime_ns))
    except OSError:
        return ()
    return tuple(files)
