"""The newest of something, for any number of readers at their own pace: who is slow misses some, and delays nobody."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """Belongs to one event loop. Nothing waits in it: there is the newest item, and its number."""

    def __init__(self) -> None:
        self.number, self.ended = 0, False
        self._newest: T | None = None
        self._changed = asyncio.Event()

    def publish(self, item: T) -> None:
        self._newest, self.number = item, self.number + 1
        self._wake()

    def end(self) -> None:
        """No more come; readers are told when they have had the last."""
        self.ended = True
        self._wake()

    async def after(self, number: int) -> tuple[int, T] | None:
        """The newest item and its number, as soon as that is beyond `number`; None: no more come."""
        while self.number <= number:
            if self.ended:
                return None
            await self._changed.wait()
        assert self._newest is not None
        return self.number, self._newest

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
