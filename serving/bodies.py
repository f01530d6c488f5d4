"""Bodies of HTTP requests, read within the limits: of one body, of all bodies in memory, and of patience."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from grpc import StatusCode  # type: ignore[import-untyped]

from expnet_tf.serving.errors import ServingError, exhausted, invalid
from expnet_tf.serving.limits import Limits


class Bodies:
    """All bodies of one server. They are counted as they arrive: a connection that sends nothing takes nothing."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held = 0  # bytes in memory

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[bytes]:
        """The whole body, in memory and counted until the context ends.

        Raises ServingError: RESOURCE_EXHAUSTED for one body, or all together, over the limit, as soon as that is
        known; DEADLINE_EXCEEDED for one that does not arrive; INVALID_ARGUMENT for a compressed one.
        """
        limits, body = self._limits, bytearray()
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise invalid("Content-Encoding is not supported; send the JSON as it is.")
        limits.check_bytes(request.content_length or 0)
        try:
            try:
                async with asyncio.timeout(limits.patience):
                    async for chunk in request.content.iter_any():
                        limits.check_bytes(len(body) + len(chunk))
                        if self.held + len(chunk) > limits.max_held:
                            raise exhausted(f"Bodies of {self.held:,} bytes are in memory, the most this server takes.")
                        self.held += len(chunk)
                        body += chunk
            except TimeoutError:
                late = f"The body did not arrive within {limits.patience:g} s."
                raise ServingError(StatusCode.DEADLINE_EXCEEDED, late) from None
            except (ConnectionError, web.RequestPayloadError) as error:
                raise invalid(f"The body broke off: {error}.") from None
            yield bytes(body)
        finally:
            self.held -= len(body)
