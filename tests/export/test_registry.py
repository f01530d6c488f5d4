"""The names of the artifacts, and that asking for them loads nothing heavy."""

import subprocess
import sys

import pytest

from expnet_tf.export import EXPORTERS, ExportError, choose


def names(formats) -> list[str]:
    return [exporter.name for exporter in choose(formats)]


def test_choose() -> None:
    assert names("tflite, onnx,onnx") == ["onnx", "tflite"]
    assert names(["savedmodel"]) == ["savedmodel"]
    assert names("all") == list(EXPORTERS)


@pytest.mark.parametrize(
    ("formats", "message"),
    [("onnx,coreml", "Unknown format coreml; accepted: all, savedmodel"), (" ,", "No format")],
)
def test_choose_refuses(formats: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        choose(formats)


def test_files_do_not_collide() -> None:
    assert len({exporter.file for exporter in EXPORTERS.values()}) == len(EXPORTERS)


def test_registry_is_cheap() -> None:
    code = "import sys, expnet_tf.export; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"tensorflow", "keras", "numpy", "onnx"} & set(done.stdout.split())
