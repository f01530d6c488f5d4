"""The names of the artifacts, and that asking for them loads nothing heavy."""

import subprocess
import sys
from pathlib import Path

import pytest

from expnet_tf.export import EXPORTERS, ExportError, choose


def names(formats) -> list[str]:
    return [exporter.name for exporter in choose(formats)]


def test_choose() -> None:
    assert names("tflite, onnx,onnx") == ["onnx", "tflite"]
    assert names(["savedmodel"]) == ["savedmodel"]
    assert names("all") == [name for name, exporter in EXPORTERS.items() if exporter.available]


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`all` leaves it out; by name it fails, and says what to install."""
    absent = EXPORTERS["onnx"]._replace(name="strange", needs="no_such_package", extra="strange")
    monkeypatch.setitem(EXPORTERS, "strange", absent)
    assert "strange" not in names("all")
    assert names("strange") == ["strange"]
    message = r"strange needs the module no_such_package: pip install 'expnet_tf\[strange\]'"
    with pytest.raises(ExportError, match=message):
        absent.write(None, None, tmp_path / "x")


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
