"""`expnet serve`: the embedded server."""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expnet_tf.commands.common import FINE, UsageError, command, count, usage
from expnet_tf.export import MANIFEST
from expnet_tf.quiet import quiet

if TYPE_CHECKING:
    from expnet_tf.serving.app import Server, Settings


def add(commands: Any) -> None:
    parser = command(
        commands,
        "serve",
        "serve models over TensorFlow Serving's protocols",
        """
        Speaks TensorFlow Serving's gRPC (PredictionService, ModelService) and REST (/v1/models/...), with dynamic
        batching, health checks, /metrics, /healthz and /readyz; docs/serving.md has requests to copy. Signature
        serving_default takes face crops, signature photo encoded photos with or without boxes.

        Without a repository the shipped model `compact` is served under the name expnet. A repository is
        DIR/NAME/VERSION/ with model.onnx, model.tflite or a SavedModel in it, and perhaps manifest.json. New versions
        are taken up while the server runs: loaded, tried out, then switched to; one that fails is refused and the old
        one goes on. A SavedModel is code: serve only what you trust.

        There is no encryption and no password: it listens to this machine only, unless --host says otherwise.
        SIGTERM and Ctrl-C end it when the requests in flight are answered.

          expnet serve
          expnet serve --model-repository models --grpc-port 8500 --rest-port 8501
        """,
    )
    parser.add_argument("--model-repository", type=Path, metavar="DIR", help="(default: the shipped model alone)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--grpc-port", type=_port, default=8500, metavar="N", help="0: any (default: 8500)")
    parser.add_argument("--rest-port", type=_port, default=8501, metavar="N", help="0: any (default: 8501)")
    parser.add_argument("--poll", type=_seconds, default=2.0, metavar="S", help="s between looks at DIR (default: 2)")
    parser.add_argument("--workers", type=count, metavar="N", help="processes for each model (default: one a core)")
    batching = parser.add_argument_group("batching")
    batching.add_argument("--max-batch", type=count, default=32, metavar="N", help="images at a time (default: 32)")
    batching.add_argument(
        "--max-delay",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="s that a free worker waits for a batch to fill (default: 0; batches form while workers are busy)",
    )
    limits = parser.add_argument_group("limits; what is over one is refused at once: RESOURCE_EXHAUSTED, 429")
    limits.add_argument("--max-queue", type=count, default=256, metavar="N", help="images waiting (default: 256)")
    limits.add_argument("--max-rows", type=count, default=64, metavar="N", help="images in a request (default: 64)")
    limits.add_argument("--max-mib", type=count, default=32, metavar="N", help="MiB of a request (default: 32)")
    limits.add_argument(
        "--max-pixels", type=count, default=50_000_000, metavar="N", help="px of a photo (default: 50 million)"
    )
    limits.add_argument("--max-concurrent", type=count, default=64, metavar="N", help="requests (default: 64)")
    limits.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="S", help="s for a request, then DEADLINE_EXCEEDED, 504 (30)"
    )
    limits.add_argument(
        "--patience", type=_seconds, default=15.0, metavar="S", help="s for a client to send and to read (default: 15)"
    )
    limits.add_argument(
        "--drain", type=_seconds, default=20.0, metavar="S", help="s for requests in flight at the end (default: 20)"
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info", help="(info)")
    parser.add_argument(
        "--reflection", action="store_true", help="gRPC reflection; needs the package grpcio-reflection (default: off)"
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to a day")
    return value


def run(options: argparse.Namespace) -> int:
    import asyncio

    # gRPC's own lines on standard error say nothing that the server's do not; read when gRPC is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if options.model_repository is not None and not options.model_repository.is_dir():
        raise UsageError(f"--model-repository {options.model_repository} is no folder.")
    if options.model_repository is not None and (options.model_repository / MANIFEST).is_file():
        raise UsageError(
            f"--model-repository {options.model_repository} is one export, not DIR/NAME/VERSION/: copy it to "
            "DIR/expnet/1, or run `expnet repository`, and give that DIR."
        )
    if not _loopback(options.host):
        print(
            f"expnet serve: {options.host} can be reached from other machines, without encryption or password.",
            file=sys.stderr,
        )
    with quiet():
        try:
            from expnet_tf.serving import logs
            from expnet_tf.serving.app import Server, StartError
        except ImportError as error:
            raise UsageError(f"{error}; the server needs the extra expnet_tf[serving].") from None
        server = Server(_settings(options), None if options.model_repository else _shipped())
    logs.configure(options.log_level)
    with usage(StartError):
        asyncio.run(server.run(_started))
    return FINE


def _settings(options: argparse.Namespace) -> Settings:
    from expnet_tf.serving.app import Settings, cores
    from expnet_tf.serving.batching import BatchPolicy
    from expnet_tf.serving.limits import Limits

    return Settings(
        repository=options.model_repository,
        host=options.host,
        grpc_port=options.grpc_port,
        rest_port=options.rest_port,
        workers=options.workers or cores(),
        batching=BatchPolicy(options.max_batch, options.max_delay, options.max_queue),
        limits=Limits(
            max_bytes=options.max_mib * 2**20,
            max_pixels=options.max_pixels,
            max_rows=options.max_rows,
            max_concurrent=options.max_concurrent,
            timeout=options.timeout,
            patience=options.patience,
        ),
        poll=options.poll,
        drain=options.drain,
        reflection=options.reflection,
    )


def _shipped() -> list[str]:
    from expnet_tf.models import DEFAULT, shipped
    from expnet_tf.serving.worker import program

    return program("keras", shipped()[DEFAULT])


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _started(server: Server) -> None:
    names = ", ".join(f"{one.name} version {one.version}" for one in server.models.serving) or "no model yet"
    host = server.settings.host
    print(f"Serving {names}: gRPC {host}:{server.grpc_port}, REST http://{host}:{server.rest_port}.", flush=True)
