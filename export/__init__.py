"""Exports: one file an artifact, and the check that each computes what the Keras model computes.

This file is the registry. Adding an artifact: a module with `write(model, info, path)`, a line in
`EXPORTERS`, and, for a runtime that is new, a Runner in `runners.py`; docs/exports.md has the checklist. Nothing
heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import keras

    from expnet_tf.network import ModelInfo

REFERENCE_MODEL = "reference.keras"  # the model the artifacts were made from
REFERENCE_INPUTS = "parity_inputs.npz"  # image uint8 [n, S, S, 3], and each head float64 [n, width]
MANIFEST = "manifest.json"
PARITY = "parity.json"
CERTIFICATE = (PARITY, "parity.md", "parity.png")
BENCH = "bench.json"


class Exporter(NamedTuple):
    """One kind of artifact: where it lies in the export folder, and what judges it."""

    name: str  # as in `--format`
    file: str  # file or folder inside the export folder
    writer: str  # module:function of this package; function(model, info, path)
    precision: str  # key of tolerances.TOLERANCES
    runners: tuple[str, ...]  # keys of runners.RUNNERS: all must pass
    needs: str | None = None  # a module that is not in the base installation
    extra: str | None = None  # the extra of this package that brings it
    guests: tuple[str, ...] = ()  # keys of runners.RUNNERS that run it too, where a user has them
    cuts: str | None = None  # the one of image.PIXELS that it cuts out of photos by itself

    def write(self, model: keras.Model, info: ModelInfo, path: Path) -> None:
        """Write the artifact of `model` to `path`, which does not exist yet.

        Raises ExportError where the package that it needs is not installed.
        """
        if not self.available:
            raise ExportError(f"{self.name} needs the module {self.needs}: pip install 'expnet_tf[{self.extra}]'.")
        module, function = self.writer.split(":")
        getattr(import_module(f"{__name__}.{module}"), function)(model, info, path)

    @property
    def available(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or find_spec(self.needs) is not None


ONNX_GUESTS = ("openvino", "onnxruntime-cuda", "onnxruntime-tensorrt")

EXPORTERS = {
    exporter.name: exporter
    for exporter in (
        Exporter("savedmodel", "savedmodel", "savedmodel:write", "float32", ("savedmodel", "savedmodel-v1")),
        Exporter(
            "savedmodel-bytes",
            "savedmodel-bytes",
            "savedmodel_bytes:write",
            "float32",
            ("savedmodel-bytes",),
            cuts="expnet",
        ),
        Exporter("onnx", "model.onnx", "onnx:write", "float32", ("onnxruntime",), guests=ONNX_GUESTS),
        Exporter("onnx-fp16", "model-fp16.onnx", "onnx_fp16:write", "float16", ("onnxruntime",), guests=ONNX_GUESTS),
        Exporter("tflite", "model.tflite", "tflite:write", "float32", ("litert",)),
        Exporter("tflite-fp16", "model-fp16.tflite", "tflite:write_float16", "float16", ("litert",)),
        Exporter("tflite-dynamic", "model-dynamic.tflite", "tflite_int8:write_dynamic", "int8", ("litert",)),
        Exporter("tflite-int8", "model-int8.tflite", "tflite_int8:write", "int8", ("litert",)),
        Exporter(
            "tensorrt-fp16", "model-fp16.engine", "tensorrt:write", "float16", ("tensorrt",), "tensorrt", "tensorrt"
        ),
        Exporter(
            "tensorrt-rtx-fp16",
            "model-fp16-rtx.engine",
            "tensorrt:write_rtx",
            "float16",
            ("tensorrt-rtx",),
            "tensorrt_rtx",
            "tensorrt-rtx",
        ),
    )
}


GUESTS = tuple(dict.fromkeys(guest for exporter in EXPORTERS.values() for guest in exporter.guests))


class ExportError(ValueError):
    """An export that cannot be made or judged: one sentence with what was received and what is accepted."""


def choose(formats: str | Iterable[str], pixels: str = "expnet") -> list[Exporter]:
    """The exporters for names, a comma-separated list or `all`, each once, in the order of the registry.

    `all` leaves out those whose package is not installed, and those that cut other pixels than the model takes; by
    name they are kept, and fail with a reason.

    Raises ExportError for a name that is not registered, or none at all.
    """
    names = formats.split(",") if isinstance(formats, str) else list(formats)
    names = [name.strip() for name in names if name.strip()]
    if unknown := [name for name in names if name not in EXPORTERS and name != "all"]:
        raise ExportError(f"Unknown format {', '.join(unknown)}; accepted: all, {', '.join(EXPORTERS)}.")
    if not names:
        raise ExportError(f"No format given; accepted: all, {', '.join(EXPORTERS)}.")
    everything = "all" in names

    def fits(exporter: Exporter) -> bool:
        return everything and exporter.available and exporter.cuts in (None, pixels)

    return [exporter for name, exporter in EXPORTERS.items() if name in names or fits(exporter)]
