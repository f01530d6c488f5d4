"""Dynamic batching: images of many requests go through the network together.

While all workers are busy images wait in one queue, and whoever is free takes all that fit into a batch; so batches
form by themselves under load. A worker that finds fewer may wait `max_delay` for more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from expnet_tf.serving.errors import exhausted
from expnet_tf.serving.signatures import Outputs


@dataclass(frozen=True)
class BatchPolicy:
    max_batch: int = 32  # images the network is given at a time
    max_delay: float = 0.0  # s that a free worker waits for a batch to fill
    max_queue: int = 256  # images waiting; above, requests are refused


class _Item:
    __slots__ = ("answer", "images")

    def __init__(self, images: np.ndarray, answer: asyncio.Future[Outputs]) -> None:
        self.images, self.answer = images, answer


class Batcher:
    """The queue before one model, and the workers that empty it. To be made, used and closed in one event loop."""

    def __init__(
        self,
        run: Callable[[np.ndarray], Awaitable[Outputs]],
        workers: int,
        policy: BatchPolicy,
        observe: Callable[[int], object] = lambda size: None,
    ) -> None:
        """
        Args:
            run: uint8 [B, S, S, 3] -> {head: float32 [B, width]}; `workers` calls at once.
            observe: is told the size of every batch.
        """
        self._run, self._policy, self._observe = run, policy, observe
        self._queue: deque[_Item] = deque()
        self._arrived = asyncio.Event()
        self._collecting = asyncio.Lock()  # one worker fills its batch at a time: two would share it out
        self._tasks = [asyncio.create_task(self._work()) for _ in range(workers)]
        self.waiting = 0  # images in the queue

    async def predict(self, images: np.ndarray) -> Outputs:
        """uint8 [n, S, S, 3], n >= 1 -> {head: float32 [n, width]}.

        Raises ServingError (RESOURCE_EXHAUSTED) where the queue has no room, and what the runtime raises.
        """
        if self.waiting + len(images) > self._policy.max_queue:
            raise exhausted(
                f"{self.waiting} images wait, and {len(images)} more exceed the queue of {self._policy.max_queue}."
            )
        step = self._policy.max_batch
        items = [
            _Item(images[start : start + step], asyncio.get_running_loop().create_future())
            for start in range(0, len(images), step)
        ]
        self._queue.extend(items)
        self.waiting += len(images)
        self._arrived.set()
        try:
            parts = await asyncio.gather(*(item.answer for item in items))
        except BaseException:
            for item in items:
                item.answer.cancel()
            raise
        return parts[0] if len(parts) == 1 else {h: np.concatenate([part[h] for part in parts]) for h in parts[0]}

    async def close(self) -> None:
        """Stop taking batches to the network; nothing must wait any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            async with self._collecting:
                batch = await self._collect()
            images = batch[0].images if len(batch) == 1 else np.concatenate([item.images for item in batch])
            self._observe(len(images))
            try:
                outputs = await self._run(images)
            except Exception as error:
                for item in batch:
                    if not item.answer.done():
                        item.answer.set_exception(error)
                continue
            start = 0
            for item in batch:
                end = start + len(item.images)
                if not item.answer.done():
                    item.answer.set_result({head: values[start:end] for head, values in outputs.items()})
                start = end

    async def _collect(self) -> list[_Item]:
        """The next batch, at least one item."""
        batch: list[_Item] = []
        size, end = 0, float("inf")
        loop = asyncio.get_running_loop()
        while True:
            while self._queue:
                item = self._queue[0]
                if item.answer.done():  # its request was given up
                    self._leave()
                    continue
                if size + len(item.images) > self._policy.max_batch:
                    return batch
                batch.append(self._leave())
                size += len(item.images)
            if batch and end == float("inf"):
                end = loop.time() + self._policy.max_delay
            if size == self._policy.max_batch or loop.time() >= end:
                return batch
            self._arrived.clear()
            try:
                async with asyncio.timeout(end - loop.time() if batch else None):
                    await self._arrived.wait()
            except TimeoutError:
                return batch

    def _leave(self) -> _Item:
        item = self._queue.popleft()
        self.waiting -= len(item.images)
        return item
