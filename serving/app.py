"""The embedded server: gRPC and REST in one event loop, until SIGTERM or SIGINT, and then a graceful end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc  # type: ignore[import-untyped]
from aiohttp import web
from grpc_health.v1 import health_pb2_grpc  # type: ignore[import-untyped]

from expnet_tf.detect import Detector
from expnet_tf.serving import protocol as pb
from expnet_tf.serving.arrival import Arrival
from expnet_tf.serving.batching import BatchPolicy
from expnet_tf.serving.grpcservice import Prediction, Status
from expnet_tf.serving.health import Health
from expnet_tf.serving.limits import Limits
from expnet_tf.serving.metrics import Metrics
from expnet_tf.serving.models import Models
from expnet_tf.serving.photos import Edge
from expnet_tf.serving.ports import reserved
from expnet_tf.serving.rest import Rest
from expnet_tf.serving.service import Service
from expnet_tf.serving.workers import WorkerError

log = logging.getLogger("expnet.serve")

NAME, VERSION = "expnet", 1  # of the model that is served without a repository
HEALTH_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class StartError(Exception):
    """A server that cannot start: one sentence."""


@dataclass(frozen=True)
class Settings:
    """What `expnet serve` is told."""

    repository: Path | None = None  # None: `load` makes the one model
    host: str = "127.0.0.1"
    grpc_port: int = 8500  # 0: any free one
    rest_port: int = 8501
    workers: int = field(default_factory=cores)
    batching: BatchPolicy = field(default_factory=BatchPolicy)
    limits: Limits = field(default_factory=Limits)
    poll: float = 2.0  # s between looks at the repository
    drain: float = 20.0  # s for requests in flight when the server is told to stop
    reflection: bool = False


class Server:
    """One embedded server. `start`, `stop`; or `run`, which does both."""

    def __init__(
        self,
        settings: Settings,
        alone: Sequence[str] | None = None,
        detector: Detector | None = None,
    ) -> None:
        """
        Args:
            alone: words that start a worker of the one model, where no repository is given (worker.program).
            detector: finds faces in photos without a box; None: BlazeFace.
        """
        self.settings, self._alone = settings, alone
        self.grpc_port = self.rest_port = 0
        self._edge = ThreadPoolExecutor(settings.workers, "edge")
        self.metrics = Metrics()
        self.models = Models(settings.workers, settings.batching, self.metrics, settings.repository)
        edge = Edge(self._edge, settings.limits.max_pixels, detector)
        self.service = Service(self.models, edge, settings.limits, self.metrics)
        self.arrival = Arrival(self.service)
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what there is, then listen. Raises StartError."""
        settings = self.settings
        with ExitStack() as ports:
            for port, protocol in ((settings.grpc_port, "gRPC"), (settings.rest_port, "REST")):
                try:
                    ports.enter_context(reserved(settings.host, port))
                except OSError as error:
                    raise _not_listened(settings.host, port, protocol, error) from None
            try:
                await self._load_models()
            except BaseException:
                await self.models.close()
                raise
        try:
            await self._start_grpc()
            await self._start_rest()
        except BaseException:
            await self._grpc.stop(None)
            await self.models.close()
            raise
        self._watching = asyncio.create_task(self._watch(settings.poll))

    async def _load_models(self) -> None:
        settings = self.settings
        if settings.repository is None:
            assert self._alone is not None
            try:
                self.models.add(NAME, VERSION, await self.models.start(self._alone))
            except WorkerError as error:
                raise StartError(str(error)) from None
        else:
            await self.models.poll(stable=False)
            if not self.models.serving:
                log.warning("no model is served yet", extra={"repository": str(settings.repository)})

    async def _watch(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as both:
            both.create_task(self._tell_health())
            if self.settings.repository is not None:
                both.create_task(self._look(seconds))

    async def _tell_health(self) -> None:
        """Beside `_look`: that may be done seldom, and a version may take long to load."""
        while True:
            await asyncio.sleep(1.0)
            self._health.set(not self.service.not_ready())

    async def _look(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(max(seconds, 0.05))  # 0 would take a core for itself
            try:
                await self.models.poll()
            except Exception:
                log.exception("the repository cannot be looked at")

    async def _start_grpc(self) -> None:
        limits, settings = self.settings.limits, self.settings
        self._grpc = grpc.aio.server(
            interceptors=(self.arrival,),
            options=(
                ("grpc.max_receive_message_length", limits.max_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", 16 * 1024),
                ("grpc.server_handshake_timeout_ms", int(1000 * limits.patience)),  # half-open connections
                ("grpc.keepalive_time_ms", 60_000),  # peers that went without a word
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.so_reuseport", 0),  # a second server on the port fails, and does not share it in silence
            ),
            # Beyond the door's own limit, for messages are held in memory before the door sees them; health checks
            # and metadata need room of their own.
            maximum_concurrent_rpcs=2 * limits.max_concurrent + 64,
        )
        pb.add_PredictionServiceServicer_to_server(Prediction(self.service), self._grpc)
        pb.add_ModelServiceServicer_to_server(Status(self.service), self._grpc)
        self._health = Health(HEALTH_SERVICES)
        self._health.set(not self.service.not_ready())
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        if settings.reflection:
            _reflect(self._grpc)
        try:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            self.grpc_port = self._grpc.add_insecure_port(f"{host}:{settings.grpc_port}")
        except RuntimeError:
            raise _not_listened(settings.host, settings.grpc_port, "gRPC") from None
        await self._grpc.start()

    async def _start_rest(self) -> None:
        settings = self.settings
        self._runner = web.AppRunner(
            Rest(self.service).app(),
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,  # who went away is not computed for
            keepalive_timeout=settings.limits.patience,  # also for headers that do not come
            lingering_time=2.0,
            auto_decompress=False,  # a few bytes would become many before their length is known
            shutdown_timeout=2.0,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, settings.host, settings.rest_port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise _not_listened(settings.host, settings.rest_port, "REST", error) from None
        self.rest_port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse what comes, answer what is in flight (for at most `drain` seconds), and close."""
        self.service.door.closed = True
        self._health.set(False)
        if self._watching is not None:
            self._watching.cancel()
        start = time.monotonic()
        try:
            async with asyncio.timeout(self.settings.drain):
                await self.service.door.empty()
        except TimeoutError:
            log.warning("requests were given up", extra={"requests": self.service.door.inside})
        await asyncio.gather(self._grpc.stop(1.0), self._runner.cleanup())
        if self._watching is not None:  # it may have to end the workers of a version that was on its way
            await asyncio.gather(self._watching, return_exceptions=True)
        await self.models.close()
        self._edge.shutdown(wait=False, cancel_futures=True)
        log.info("stopped", extra={"seconds": round(time.monotonic() - start, 3)})

    async def run(self, started: Callable[[Server], object] = lambda server: None) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends the drain. Before it serves either ends the process."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        starting, told = asyncio.create_task(self.start()), asyncio.create_task(stop.wait())
        await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            log.info("stopped while loading")
            return
        await starting
        # JSON makes ten thousand lists an image: at the usual threshold the collector walks over the whole heap again
        # and again, for half of the server's time.
        gc.freeze()
        gc.set_threshold(50_000, 10, 10)
        started(self)
        await stop.wait()
        log.info("stopping", extra={"in_flight": self.service.door.inside})
        stopping = asyncio.create_task(self.stop())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.cancel)
        await asyncio.gather(stopping, return_exceptions=True)
        if stopping.cancelled():  # a worker that is stuck would not leave by itself
            await self.models.close()


def _not_listened(host: str, port: int, protocol: str, error: OSError | None = None) -> StartError:
    reason = f": {error.strerror or error}" if error else ""
    return StartError(f"{host}:{port}, for {protocol}, cannot be listened at{reason}.")


def _reflect(server: grpc.aio.Server) -> None:
    try:
        from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]
    except ImportError:
        raise StartError("Reflection needs the package grpcio-reflection.") from None
    reflection.enable_server_reflection((*HEALTH_SERVICES[1:], reflection.SERVICE_NAME), server)
