"""gRPC's health service: one state for all services of the server, asked (Check) or told as it changes (Watch)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import grpc  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from expnet_tf.serving.errors import ServingError, exhausted
from expnet_tf.serving.grpcservice import abort

# A Watch stays for as long as its client does, and every call takes one of the server's places.
MAX_WATCHERS = 32

_State = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """Not serving until `set` says otherwise.

    grpcio-health-checking's own servicer takes any number of watchers, and forgets those that stay when one leaves.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(services)
        self._state = _State.NOT_SERVING
        self._changed = asyncio.Event()  # of this state; a new one is made for the next
        self._watchers = 0

    def set(self, serving: bool) -> None:
        """Tell the state, to those who watch as well."""
        state = _State.SERVING if serving else _State.NOT_SERVING
        if state != self._state:
            changed, self._state, self._changed = self._changed, state, asyncio.Event()
            changed.set()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._services:
            await abort(context, ServingError(grpc.StatusCode.NOT_FOUND, "There is no such service."))
        return _State(status=self._state)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext) -> None:
        if self._watchers >= MAX_WATCHERS:
            await abort(context, exhausted(f"{MAX_WATCHERS} clients watch, the most this server tells; use Check."))
        self._watchers += 1
        try:
            while True:
                changed = self._changed
                known = request.service in self._services
                await context.write(_State(status=self._state if known else _State.SERVICE_UNKNOWN))
                await changed.wait()
        finally:
            self._watchers -= 1
