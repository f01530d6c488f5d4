"""What the server takes: the limits, and the door where requests over them are turned away at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from grpc import StatusCode  # type: ignore[import-untyped]

from expnet_tf.image import MAX_PIXELS
from expnet_tf.serving.errors import ServingError, exhausted


@dataclass(frozen=True)
class Limits:
    """Above any of these a request, or a photo in it, is refused with RESOURCE_EXHAUSTED (429) at once.

    The queue before the network has its own, see BatchPolicy.
    """

    max_bytes: int = 32 * 2**20  # of a request, as sent; checked before it is parsed
    max_pixels: int = MAX_PIXELS  # of a photo, read from its header before it is decoded
    max_rows: int = 64  # images in a request
    max_concurrent: int = 64  # requests being worked on
    max_held: int = 256 * 2**20  # bytes in memory, arriving or worked on, of all REST bodies, and of all gRPC messages
    timeout: float = 30.0  # s; a request that takes longer fails with DEADLINE_EXCEEDED (504)
    patience: float = 15.0  # s for a client to send its headers, its body, or to read the answer

    def check_rows(self, rows: int) -> None:
        if rows > self.max_rows:
            raise exhausted(f"{rows} images in one request; at most {self.max_rows} are taken.")

    def check_bytes(self, size: int) -> None:
        if size > self.max_bytes:
            raise exhausted(f"The request has {size:,} bytes; at most {self.max_bytes:,} are read.")


class Door:
    """Counts the requests inside. Once closed it lets no one in, and `empty()` waits until all are out."""

    def __init__(self, max_concurrent: int) -> None:
        self._max = max_concurrent
        self.inside = 0
        self.closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    def check(self) -> None:
        """Raises ServingError: UNAVAILABLE when closed, RESOURCE_EXHAUSTED when full."""
        if self.closed:
            raise ServingError(StatusCode.UNAVAILABLE, "The server is shutting down.")
        if self.inside >= self._max:
            raise exhausted(f"{self._max} requests are being worked on, the most this server takes at a time.")

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Raises ServingError, see `check`."""
        self.check()
        self.inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self.inside -= 1
            if not self.inside:
                self._empty.set()

    async def empty(self) -> None:
        await self._empty.wait()
