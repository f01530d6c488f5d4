"""Exports: one file an artifact, and the check that each computes what the Keras model computes.

This file is the registry. Adding an artifact: a module with `write(model, info, path)`, a line in
`EXPORTERS`, and, for a runtime that is new, a Runner in `runners.py`. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import keras

    from expnet_tf.network import ModelInfo

REFERENCE_MODEL = "reference.keras"  # the model the artifacts were made from
REFERENCE_INPUTS = "parity_inputs.npz"  # image uint8 [n, S, S, 3], and each head float64 [n, width]
MANIFEST = "manifest.json"
PARITY = "parity.json"


class Exporter(NamedTuple):
    """One kind of artifact: where it lies in the export folder, and what judges it."""

    name: str  # as in `--format`
    file: str  # file or folder inside the export folder
    module: str  # module of this package, with write(model, info, path)
    precision: str  # key of parity.TOLERANCES
    runners: tuple[str, ...]  # keys of runners.RUNNERS: all must pass

    def write(self, model: keras.Model, info: ModelInfo, path: Path) -> None:
        """Write the artifact of `model` to `path`, which does not exist yet."""
        function = "write_float16" if self.precision == "float16" else "write"
        getattr(import_module(f"{__name__}.{self.module}"), function)(model, info, path)


EXPORTERS = {
    exporter.name: exporter
    for exporter in (
        Exporter("savedmodel", "savedmodel", "savedmodel", "float32", ("savedmodel", "savedmodel-v1")),
        Exporter("onnx", "model.onnx", "onnx", "float32", ("onnxruntime",)),
        Exporter("tflite", "model.tflite", "tflite", "float32", ("litert",)),
        Exporter("tflite-fp16", "model-fp16.tflite", "tflite", "float16", ("litert",)),
    )
}


class ExportError(ValueError):
    """An export that cannot be made or judged: one sentence with what was received and what is accepted."""


def choose(formats: str | Iterable[str]) -> list[Exporter]:
    """The exporters for names, a comma-separated list or `all`, each once, in the order of the registry.

    Raises ExportError for a name that is not registered, or none at all.
    """
    names = formats.split(",") if isinstance(formats, str) else list(formats)
    names = [name.strip() for name in names if name.strip()]
    if unknown := [name for name in names if name not in EXPORTERS and name != "all"]:
        raise ExportError(f"Unknown format {', '.join(unknown)}; accepted: all, {', '.join(EXPORTERS)}.")
    if not names:
        raise ExportError(f"No format given; accepted: all, {', '.join(EXPORTERS)}.")
    return [exporter for name, exporter in EXPORTERS.items() if "all" in names or name in names]
