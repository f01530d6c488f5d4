"""TensorFlow Serving's REST API, and the pages for operations: /metrics, /healthz (alive), /readyz (ready)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

from aiohttp import web
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]
from grpc import StatusCode  # type: ignore[import-untyped]

from expnet_tf.serving import protocol as pb
from expnet_tf.serving.bodies import Bodies
from expnet_tf.serving.errors import ServingError, invalid
from expnet_tf.serving.grpcservice import CROP_FACTOR, REQUEST_ID, metadata, status
from expnet_tf.serving.limits import Limits
from expnet_tf.serving.logs import request_id
from expnet_tf.serving.models import Servable
from expnet_tf.serving.restjson import read_body, write_body
from expnet_tf.serving.service import Request, Service

# TensorFlow Serving's own routes; it, too, takes them in any case.
_ROUTE = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<verb>:predict|:classify|:regress|/metadata)?",
    re.IGNORECASE,
)
_id: ContextVar[str] = ContextVar("request_id")  # of the request that this task answers
_SHORT = 256 * 1024  # bytes of JSON, read in some 5 ms
_MAX_VERSION = 2**63  # an int64 in the protocol


class Rest:
    """The routes of one server."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._reader = ThreadPoolExecutor(1, "json")
        self._bodies = Bodies(service.limits)

    def app(self) -> web.Application:
        made = web.Application(middlewares=[_answer(self._service.limits)])
        made.on_cleanup.append(self._clean_up)
        made.router.add_get("/metrics", self._metrics)
        made.router.add_get("/healthz", self._alive)
        made.router.add_get("/readyz", self._ready)
        made.router.add_route("*", "/{path:.*}", self._route)
        return made

    async def _clean_up(self, app: web.Application) -> None:
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def _alive(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _ready(self, request: web.Request) -> web.Response:
        if why := self._service.not_ready():
            return web.json_response({"status": "not ready", "reason": why}, status=503)
        return web.json_response({"status": "ready"})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._service.metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _route(self, request: web.Request) -> web.Response:
        parts = _ROUTE.fullmatch(request.path)
        verb = (parts["verb"] or "").lower() if parts else ""
        if parts and verb == ":predict" and request.method == "POST":
            return await self._predict(request, parts["name"], parts["version"], parts["label"])
        told = Request("rest", _id.get(), request.remote or "", "other")
        with self._service.answering(told):
            if not parts or request.method != ("POST" if verb.startswith(":") else "GET"):
                if not request.path.startswith("/v1/"):
                    raise ServingError(StatusCode.NOT_FOUND, f"Nothing is at {request.path[:200]}.")
                raise invalid(f"Malformed request: {request.method} {request.path[:200]}")
            told.model = parts["name"]
            target = (told.model, _number(parts["version"]), parts["label"] or "")
            if verb not in ("", "/metadata"):
                raise ServingError(StatusCode.UNIMPLEMENTED, "Not served: the models answer :predict.")
            told.method = "metadata" if verb else "status"
            if not verb:
                return _json(status(self._service.models.status(*target)))
            servable = self._service.models.find(*target)
            told.version = servable.version
            return _metadata(servable)

    async def _predict(self, request: web.Request, name: str, version: str | None, label: str | None) -> web.Response:
        service = self._service
        told = Request("rest", _id.get(), request.remote or "", model=name)
        with service.answering(told):
            target = (name, _number(version), label or "")
            told.version = service.models.find(*target).version
            service.door.check()
            # The door is entered with the whole body: who sends slowly takes no one's place.
            async with self._bodies.read(request) as body:
                told.bytes = len(body)
                with service.door.enter():
                    answer = await self._work(body, target, told)
        return web.Response(body=answer, content_type="application/json")

    async def _work(self, body: bytes, target: tuple[str, int | None, str], told: Request) -> bytes:
        service = self._service
        servable = service.models.find(*target)
        told.version = servable.version
        with servable.in_use():
            async with service.deadline():
                # JSON is Python's work alone: with a second thread at it, both and the loop wait for each other. So
                # here where it is short, and in one thread, where it cannot hold up the loop, where it is long.
                if len(body) <= _SHORT:
                    signature, inputs, rows = read_body(body, servable.signatures, service.limits)
                else:
                    signature, inputs, rows = await asyncio.get_running_loop().run_in_executor(
                        self._reader, read_body, body, servable.signatures, service.limits
                    )
                outputs = await service.predict(servable, signature.name, inputs, told)
                return write_body(outputs, rows)


def _answer(limits: Limits) -> Callable[..., Awaitable[web.StreamResponse]]:
    @web.middleware
    async def answer(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Request ids, errors as TensorFlow Serving has them, and an end to a reader that does not read."""
        _id.set(request_id(request.headers.get(REQUEST_ID)))
        try:
            response = await handler(request)
        except ServingError as error:
            response = web.json_response({"error": str(error)}, status=error.http_status)
        except web.HTTPException as error:
            response = web.json_response({"error": error.reason}, status=error.status)
        response.headers[REQUEST_ID] = _id.get()
        if request.can_read_body and not request.content.at_eof():
            response.force_close()  # a body that was not read is in the way of the next request
        try:
            async with asyncio.timeout(limits.patience):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # the client went away
        return response

    return answer


def _number(version: str | None) -> int | None:
    """Of a path; any number of digits. Raises ServingError (INVALID_ARGUMENT)."""
    number = int(version[:20]) if version else None
    if number is not None and number >= _MAX_VERSION:
        raise invalid(f"Failed to convert version: {number} to numeric.")
    return number


def _metadata(servable: Servable) -> web.Response:
    made = metadata(servable)
    # TensorFlow Serving prints the packed map itself, not protobuf's wrapping of it.
    packed = pb.SignatureDefMap()
    made.metadata["signature_def"].Unpack(packed)
    body = {"model_spec": _dict(made.model_spec), "metadata": {"signature_def": _dict(packed)}}
    body["model_spec"].pop("version_label", None)
    factor = servable.contract.crop_factor
    headers = {} if factor is None else {CROP_FACTOR: repr(factor)}
    return web.Response(body=json.dumps(body, indent=1), content_type="application/json", headers=headers)


def _dict(message: Message) -> dict:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _json(message: Message) -> web.Response:
    return web.Response(body=json.dumps(_dict(message), indent=1), content_type="application/json")
