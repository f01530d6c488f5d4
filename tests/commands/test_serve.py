"""`expnet serve` on the command line: what is refused, and what the arguments become."""

import argparse
import logging
import socket

import pytest

from expnet_tf.commands import serve
from expnet_tf.commands.common import UsageError
from expnet_tf.serving.app import NAME, cores


@pytest.fixture(autouse=True)
def own_logging():
    """The command sends the log of its process to standard error; pytest's is restored."""
    root, own = logging.getLogger(), logging.getLogger("expnet")
    before = root.handlers[:], root.level, own.level
    yield
    root.handlers[:], root.level, own.level = before


def parsed(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add(parser.add_subparsers(dest="command"))
    return parser.parse_args(["serve", *map(str, words)])


def test_what_the_arguments_become(tmp_path):
    settings = serve._settings(parsed())
    assert (settings.host, settings.grpc_port, settings.rest_port) == ("127.0.0.1", 8500, 8501)
    assert (settings.repository, settings.workers, settings.reflection) == (None, cores(), False)
    assert settings.limits.max_bytes == 32 * 2**20
    assert settings.batching.max_queue == 256
    settings = serve._settings(
        parsed("--model-repository", tmp_path, "--max-mib", 2, "--max-delay", 0.005, "--poll", 1)
    )
    assert (settings.repository, settings.limits.max_bytes) == (tmp_path, 2**21)
    assert (settings.batching.max_delay, settings.poll) == (0.005, 1.0)


@pytest.mark.parametrize(
    "words",
    [["--grpc-port", "65536"], ["--rest-port", "x"], ["--timeout", "-1"], ["--max-batch", "0"], ["--poll", "nan"]],
)
def test_arguments_that_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        parsed(*words)
    assert words[1] in capsys.readouterr().err


def test_a_repository_that_is_no_folder(tmp_path):
    with pytest.raises(UsageError, match=r"--model-repository .*none is no folder"):
        serve.run(parsed("--model-repository", tmp_path / "none"))


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words in (["--grpc-port", 0, "--rest-port", port], ["--rest-port", 0, "--grpc-port", port]):
            with pytest.raises(UsageError, match=f"127.0.0.1:{port}, for .*, cannot be listened at"):
                serve.run(parsed("--model-repository", tmp_path, *words))


def test_reflection_needs_its_package(tmp_path):
    pytest.importorskip("grpc")
    try:
        import grpc_reflection  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match="needs the package grpcio-reflection"):
            serve.run(parsed("--model-repository", tmp_path, "--grpc-port", 0, "--rest-port", 0, "--reflection"))
    else:
        pytest.skip("grpcio-reflection is installed")


def test_what_can_be_reached_from_elsewhere():
    assert serve._loopback("127.0.0.1")
    assert serve._loopback("::1")
    assert serve._loopback("localhost")
    assert not serve._loopback("0.0.0.0")
    assert not serve._loopback("example")
    assert NAME == "expnet"
