"""Only noise is held back; what matters reaches standard error, also when something fails."""

import os
import subprocess
import sys

import pytest

from expnet_tf.quiet import quiet


def say(text: str) -> None:
    os.write(2, text.encode())  # as a C library does


def test_noise_is_dropped_and_the_rest_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet() as terminal:
        say("WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n")
        say("I0000 00:00:1795417483.095248   16838 port.cc:153] oneDNN custom operations are on.\n")
        say("E0000 00:00:1795417483.095248   16838 cuda.cc:1] out of memory\n")
        print("halfway", file=terminal)
        assert capfd.readouterr().err == "halfway\n"
        print("a Python warning", file=sys.stderr)
        say("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
    assert sorted(capfd.readouterr().err.splitlines()) == [
        "E0000 00:00:1795417483.095248   16838 cuda.cc:1] out of memory",
        "a Python warning",
    ]
    say("after\n")
    assert capfd.readouterr().err == "after\n"


def test_error_is_not_swallowed(capfd: pytest.CaptureFixture[str]) -> None:
    def load() -> None:
        say("libfoo.so: cannot open shared object file\n")
        raise ImportError("gone")

    with pytest.raises(ImportError, match="gone"), quiet():
        load()
    assert capfd.readouterr().err == "libfoo.so: cannot open shared object file\n"


def test_closed_standard_error() -> None:
    code = (
        "import os; os.close(2)\nfrom expnet_tf.quiet import quiet\nwith quiet() as f: print('x', file=f)\nprint('ok')"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ok\n")
