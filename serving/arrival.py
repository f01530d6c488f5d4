"""How the message of a gRPC call comes in: within the limits' patience, and as a message or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from grpc import StatusCode

from expnet_tf.serving.errors import ServingError, invalid
from expnet_tf.serving.grpcservice import abort
from expnet_tf.serving.limits import Limits


class Arrival(grpc.aio.ServerInterceptor):
    """Reads the message of every call that takes one and gives one.

    gRPC itself waits for a message for ever, and a call that is waited for counts among those it runs at most: a
    client that stops in the middle of its messages would keep all others out. Of bytes that are no such message it
    makes UNKNOWN, and a traceback in the log. On the wire a call with one message is a stream of one; so it is read
    as a stream here.
    """

    def __init__(self, limits: Limits) -> None:
        self._patience = limits.patience

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        parse, answer = handler.request_deserializer, handler.unary_unary

        async def read(messages: object, context: grpc.aio.ServicerContext) -> Any:
            try:
                return await answer(await self._message(context, parse), context)
            except ServingError as error:  # of `_message`: `answer` ends its calls by itself
                refusal = ServingError(error.code, str(error))
            return await abort(context, refusal)

        return grpc.stream_unary_rpc_method_handler(read, None, handler.response_serializer)

    async def _message(self, context: grpc.aio.ServicerContext, parse: Callable[[bytes], Message]) -> Message:
        """Raises ServingError: DEADLINE_EXCEEDED, or INVALID_ARGUMENT for what is no such message."""
        try:
            async with asyncio.timeout(self._patience):
                data = await context.read()
        except TimeoutError:
            late = f"The message did not arrive within {self._patience:g} s."
            raise ServingError(StatusCode.DEADLINE_EXCEEDED, late) from None
        if data is grpc.aio.EOF:
            raise invalid("The call has no message.")
        try:
            return parse(data)
        except DecodeError as error:
            raise invalid(f"{error}.") from None
