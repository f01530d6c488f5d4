"""How the message of a gRPC call comes in: within the limits' patience and memory, and as a message or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from grpc import StatusCode

from expnet_tf.serving.errors import ServingError, exhausted, invalid
from expnet_tf.serving.grpcservice import abort, told_of
from expnet_tf.serving.service import Service

# s. gRPC shows a message when it is whole, and not how much of it has come. One that is not there by now may grow to
# the limit of one message, and is counted as that long.
_PROMPT = 0.2


class Arrival(grpc.aio.ServerInterceptor):
    """Reads the message of every call that takes one, and counts its bytes until the call has ended.

    gRPC itself waits for a message for ever, and a call that is waited for counts among those it runs at most: a
    client that stops in the middle of its messages would keep all others out. Of bytes that are no such message it
    makes UNKNOWN, and a traceback in the log. On the wire a call with one message is a stream of one; so it is read
    as a stream here.
    """

    def __init__(self, service: Service) -> None:
        self._service, limits = service, service.limits
        self._patience, self._max_held = limits.patience, limits.max_held
        self._longest = min(limits.max_bytes, limits.max_held)
        self.held = 0  # bytes of all calls, as they were sent

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        parse, answer = handler.request_deserializer, handler.unary_stream or handler.unary_unary

        async def read(messages: object, context: grpc.aio.ServicerContext) -> Any:
            try:
                with self._counted() as count:
                    # Not kept in a name: frames live on after an abort, see grpcservice.
                    return await answer(await self._received(context, parse, count), context)
            except ServingError as error:  # of `_received`: `answer` ends its calls by itself
                refusal = ServingError(error.code, str(error))
            return await abort(context, refusal)

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(read, None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(read, None, handler.response_serializer)

    async def _received(
        self, context: grpc.aio.ServicerContext, parse: Callable[[bytes], Message], count: Callable[[int], None]
    ) -> Message:
        """`_message`, and its refusals logged and counted."""
        try:
            return await self._message(context, parse, count)
        except ServingError:
            with self._service.answering(told_of(context, "other")):
                raise

    async def _message(
        self, context: grpc.aio.ServicerContext, parse: Callable[[bytes], Message], count: Callable[[int], None]
    ) -> Message:
        """Raises ServingError: DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INVALID_ARGUMENT where it is no such message."""
        reading = asyncio.ensure_future(context.read())
        reserved = 0
        try:
            if not (await asyncio.wait({reading}, timeout=min(_PROMPT, self._patience)))[0]:
                count(self._longest)
                reserved = self._longest
                if not (await asyncio.wait({reading}, timeout=max(0.0, self._patience - _PROMPT)))[0]:
                    late = f"The message did not arrive within {self._patience:g} s."
                    raise ServingError(StatusCode.DEADLINE_EXCEEDED, late)
        finally:
            reading.cancel()
        data = reading.result()
        if data is grpc.aio.EOF:
            raise invalid("The call has no message.")
        count(len(data) - reserved)
        try:
            return parse(data)
        except DecodeError as error:
            raise invalid(f"{error}.") from None

    @contextmanager
    def _counted(self) -> Iterator[Callable[[int], None]]:
        """A function that counts bytes of one call; it raises ServingError (RESOURCE_EXHAUSTED) over the limit."""
        counted = 0

        def count(size: int) -> None:
            nonlocal counted
            if self.held + size > self._max_held:
                raise exhausted(f"Messages of {self.held:,} bytes are in memory, the most this server takes.")
            self.held += size
            counted += size

        try:
            yield count
        finally:
            self.held -= counted
