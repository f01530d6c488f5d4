"""OpenVINO: the same answer at any batch size, in float32, and nobody is told."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest

from expnet_tf.export.bundle import ExportResult
from expnet_tf.export.openvino_runner import OpenVinoRunner, import_openvino
from expnet_tf.export.runner import CannotRun

installed = pytest.mark.skipif(not find_spec("openvino"), reason="openvino is not installed (extra bench)")


@pytest.fixture(scope="module")
def runner(exported: ExportResult) -> OpenVinoRunner:
    return OpenVinoRunner(exported.written["onnx"], threads=2)


@installed
def test_answer(runner: OpenVinoRunner, model: keras.Model, images: np.ndarray) -> None:
    """1e-4 as for the other runtimes: in bfloat16, its default on many CPUs, it would be a hundred times as much."""
    assert runner.name == "openvino"
    assert runner.version.startswith("20")
    expected = {head: keras.ops.convert_to_numpy(value) for head, value in model(images).items()}
    for part in (slice(0, 1), slice(0, 6), slice(2, 4), slice(0, 6, 2)):
        outputs = runner.run(images[part])
        assert set(outputs) == set(expected)
        for head, value in outputs.items():
            assert value.dtype == np.float32
            np.testing.assert_allclose(value, expected[head][part], atol=1e-4, rtol=1e-5)


@installed
def test_an_answer_stays_after_the_next_call(runner: OpenVinoRunner, images: np.ndarray) -> None:
    first = runner.run(images[:1])["expression"]
    kept = first.copy()
    runner.run(images[1:2])
    np.testing.assert_array_equal(first, kept)


@installed
def test_nothing_is_sent(tmp_path: Path) -> None:
    """OpenVINO's own import loads the sender and leaves an identifier in ~/intel."""
    code = (
        "import sys; from expnet_tf.export.openvino_runner import import_openvino; print(import_openvino().Core);"
        "print('sender' if 'openvino_telemetry' in sys.modules else 'nothing')"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "CI": ""}  # it asks CI, and says nothing there
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "nothing"
    assert list(tmp_path.iterdir()) == []


def test_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setitem(sys.modules, "openvino_telemetry", sys)
    with pytest.raises(CannotRun, match=r"pip install 'expnet_tf\[bench\]'"):
        OpenVinoRunner(tmp_path / "model.onnx")
    assert sys.modules["openvino_telemetry"] is sys  # put back as it was


@installed
def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(RuntimeError):
        OpenVinoRunner(tmp_path / "model.onnx")
    assert import_openvino().Core  # the runtime is none the worse
