"""Dynamic batching, with networks that can be held up: what goes together, what is refused, what is given up."""

import asyncio
import threading

import numpy as np
import pytest
from grpc import StatusCode

from expnet_tf.serving.batching import Batcher, BatchPolicy
from expnet_tf.serving.errors import ServingError


class Network:
    """Answers each image with its first pixel; waits for `go` where it is cleared."""

    def __init__(self):
        self.sizes, self.go, self.running = [], threading.Event(), threading.Semaphore(0)
        self.go.set()

    def run(self, images):
        self.sizes.append(len(images))
        self.running.release()
        assert self.go.wait(10)
        return {"head": images[:, 0, 0, :1].astype(np.float32)}


def images(*values):
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)


def batched(test, policy, workers=1):
    """Run the coroutine function with a batcher and its network."""

    async def main():
        network = Network()
        batcher = Batcher(lambda images: asyncio.to_thread(network.run, images), workers, policy)
        try:
            return await asyncio.wait_for(test(batcher, network), 20)
        finally:
            network.go.set()
            await batcher.close()

    return asyncio.run(main())


async def held_up(batcher, network):
    """A request that keeps the worker busy."""
    network.go.clear()
    first = asyncio.create_task(batcher.predict(images(99)))
    await asyncio.to_thread(network.running.acquire)
    return first


def test_everyone_gets_their_own_rows():
    async def test(batcher, network):
        first = await held_up(batcher, network)
        others = [asyncio.create_task(batcher.predict(images(*range(n, 2 * n)))) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        assert batcher.waiting == 6
        network.go.set()
        for n, answer in zip((1, 2, 3), await asyncio.gather(*others), strict=True):
            assert answer["head"].tolist() == [[value] for value in range(n, 2 * n)]
        assert (await first)["head"].tolist() == [[99]]
        assert network.sizes == [1, 6]  # what waited went together
        assert batcher.waiting == 0

    batched(test, BatchPolicy(max_batch=8))


def test_batches_stay_within_their_size():
    async def test(batcher, network):
        first = await held_up(batcher, network)
        others = [asyncio.create_task(batcher.predict(images(*range(n)))) for n in (3, 2, 9)]
        await asyncio.sleep(0)
        network.go.set()
        answers = await asyncio.gather(first, *others)
        assert [len(answer["head"]) for answer in answers] == [1, 3, 2, 9]
        assert answers[3]["head"].tolist() == [[value] for value in range(9)]  # larger than a batch: in parts
        assert network.sizes == [1, 3, 2, 4, 4, 1] or network.sizes == [1, 3, 2, 4, 4, 1][:6]

    batched(test, BatchPolicy(max_batch=4))


def test_a_full_queue_refuses_at_once():
    async def test(batcher, network):
        first = await held_up(batcher, network)
        waiting = asyncio.create_task(batcher.predict(images(1, 2, 3)))
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match=r"3 images wait, and 2 more exceed the queue of 4") as caught:
            await batcher.predict(images(4, 5))
        assert caught.value.code == StatusCode.RESOURCE_EXHAUSTED
        network.go.set()
        await asyncio.gather(first, waiting)
        assert len((await batcher.predict(images(4, 5)))["head"]) == 2

    batched(test, BatchPolicy(max_queue=4))


def test_what_was_given_up_is_not_computed():
    async def test(batcher, network):
        first = await held_up(batcher, network)
        given_up = asyncio.create_task(batcher.predict(images(1, 2)))
        kept = asyncio.create_task(batcher.predict(images(3)))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        network.go.set()
        assert (await kept)["head"].tolist() == [[3]]
        await first
        assert network.sizes == [1, 1]
        assert batcher.waiting == 0

    batched(test, BatchPolicy())


def test_a_worker_waits_for_its_batch_to_fill():
    async def test(batcher, network):
        early = asyncio.create_task(batcher.predict(images(1)))
        await asyncio.sleep(0.05)
        assert network.sizes == []  # it waits
        await asyncio.gather(early, batcher.predict(images(2)))  # full: at once
        assert network.sizes == [2]

    batched(test, BatchPolicy(max_batch=2, max_delay=10))


def test_a_worker_waits_no_longer_than_its_delay():
    async def test(batcher, network):
        await batcher.predict(images(1))
        assert network.sizes == [1]

    batched(test, BatchPolicy(max_batch=2, max_delay=0.01))


def test_workers_run_side_by_side():
    async def test(batcher, network):
        network.go.clear()
        both = [asyncio.create_task(batcher.predict(images(n))) for n in (1, 2)]
        for _ in both:
            await asyncio.to_thread(network.running.acquire)  # the second runs while the first has not ended
        network.go.set()
        await asyncio.gather(*both)

    batched(test, BatchPolicy(max_batch=1), workers=2)


def test_a_failing_network_fails_its_batch_only():
    async def test(batcher, network):
        good = batcher._run

        async def fail(images):
            raise RuntimeError("out of order")

        batcher._run = fail
        with pytest.raises(RuntimeError, match="out of order"):
            await batcher.predict(images(1))
        batcher._run = good
        assert (await batcher.predict(images(2)))["head"].tolist() == [[2]]

    batched(test, BatchPolicy())
