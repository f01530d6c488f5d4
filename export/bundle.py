"""export_model: one folder with the artifacts of a model and everything needed to judge them later."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

from expnet_tf.export import (
    BENCH,
    CERTIFICATE,
    EXPORTERS,
    MANIFEST,
    REFERENCE_INPUTS,
    REFERENCE_MODEL,
    Exporter,
    ExportError,
    choose,
    manifest,
    reference,
)
from expnet_tf.network import ModelInfo, load_model, read_info, save_model

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass
class ExportResult:
    """What `export_model` wrote, by format, and what it could not write, with the reason."""

    directory: Path
    written: dict[str, Path] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every format asked for was written."""
        return not self.failures


def export_model(
    model: str | os.PathLike | keras.Model,
    out: str | os.PathLike,
    formats: str | Iterable[str] = "all",
    *,
    info: ModelInfo | None = None,
    images: np.ndarray | None = None,
    progress: Callable[[str], None] = log.info,
) -> ExportResult:
    """Write the artifacts of a .keras file (or of a model, with its `info`) into the folder `out`.

    Beside them: reference.keras, parity_inputs.npz (`images`, uint8 [n, S, S, 3], by default 256 rendered
    faces, and the network's answer) and manifest.json. Artifacts of the same weights that lie in `out` already
    stay; those of other weights, and an old certificate, are removed: they would be taken for this model's.

    A format that fails is noted in the result and the others go on. Raises ExportError for an unknown format
    or an unusable `out` or backend, and what `load_model` raises.
    """
    choose(formats)  # an unknown format is told before anything is loaded
    if keras.backend.backend() != "tensorflow":
        raise ExportError(f"Exports need KERAS_BACKEND=tensorflow; this process runs {keras.backend.backend()}.")
    source = None
    if isinstance(model, keras.Model):
        if info is None:
            raise ExportError("A model without a file needs its ModelInfo: pass info=, or save it and pass the path.")
    else:
        source = Path(model)
        info = read_info(source)
        model = load_model(source)
    exporters = choose(formats, info.pixels)
    if left := [e.name for e in choose(formats) if e not in exporters]:
        progress(f"{', '.join(left)}: left out; the model takes the pixels {info.pixels}, which no graph cuts")
    directory = Path(out)
    if directory.exists() and not directory.is_dir():
        raise ExportError(f"{directory}: is a file; exports go into a folder.")
    directory.mkdir(parents=True, exist_ok=True)

    kept = _clear(directory, model, exporters)
    progress(f"{REFERENCE_MODEL}: writing")
    if source:
        content = source.read_bytes()
        _replace(directory / REFERENCE_MODEL, lambda path: path.write_bytes(content))
    else:
        save_model(model, directory / REFERENCE_MODEL, info)
    facts: dict[str, Any] = {}
    if images is None:
        progress(f"{REFERENCE_INPUTS}: rendering {reference.COUNT} faces")
        images, coverage = reference.face_images(info.size, info.crop_factor)
        facts = {"seed": reference.SEED, "coverage": coverage}
    facts["count"] = len(images)
    progress(f"{REFERENCE_INPUTS}: {len(images)} faces through the network")
    facts["precision"] = _replace(
        directory / REFERENCE_INPUTS, lambda path: reference.write_inputs(path, model, images)
    )

    result = ExportResult(directory)
    for exporter in exporters:
        progress(f"{exporter.file}: converting")
        try:
            _replace(directory / exporter.file, partial(exporter.write, model, info))
            result.written[exporter.name] = directory / exporter.file
        except Exception as error:  # a converter may raise anything, and the other formats go on
            log.debug("export to %s failed", exporter.name, exc_info=True)
            result.failures[exporter.name] = f"{exporter.name}: {_sentence(error)}"
            _remove(directory / exporter.file)
        _let_go()

    written = [EXPORTERS[name] for name in result.written]
    manifest.write_json(directory / MANIFEST, manifest.build(directory, model, info, written, kept, facts))
    return result


def _clear(directory: Path, model: keras.Model, exporters: list[Exporter]) -> dict[str, dict]:
    """Remove what an earlier export left, except artifacts of the same weights that this one does not renew.

    Returns the manifest's entries of those: hashing the files anew would bless what happened to them since.
    """
    try:
        record = manifest.read(directory)
    except (FileNotFoundError, ExportError):
        record = {}
    same = record.get("weights_sha256") == manifest.weights_digest(model)
    kept = {}
    for exporter in EXPORTERS.values():
        if exporter in exporters:
            continue
        if exporter.name not in record.get("artifacts", {}):
            continue
        if same:
            kept[exporter.name] = record["artifacts"][exporter.name]
        else:
            _remove(directory / exporter.file)
    for name in (*CERTIFICATE, BENCH):
        (directory / name).unlink(missing_ok=True)
    return kept


def _let_go() -> None:
    """Give back what a converter leaves: of a ResNet-101 10 GB after tf2onnx and 6 GB after TensorFlow's converter."""
    gc.collect()  # graphs that refer to themselves
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps what its threads have freed
        if trim is not None:
            trim(0)


def _replace(path: Path, write: Callable[[Path], T]) -> T:
    """Let `write` make a file or folder beside `path`, then put it in its place; returns what `write` does."""
    scratch = Path(tempfile.mkdtemp(prefix=".export-", dir=path.parent))
    try:
        made = scratch / path.name
        result = write(made)
        _remove(path)
        os.replace(made, path)
        return result
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sentence(error: Exception) -> str:
    """The first line of what a converter said: some print a page."""
    if isinstance(error, ExportError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
