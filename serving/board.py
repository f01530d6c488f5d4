"""Memory that the server and one worker share: images on their way in, coefficients on their way out."""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np

from expnet_tf.serving.signatures import Contract, Outputs


def open_board() -> int:
    """A file descriptor of memory without a name: it is gone with its last user, however that one ends.

    Not multiprocessing.shared_memory: that lives in /dev/shm, of which a container has 64 MB, and a write beyond
    them kills the process.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create("expnet-board")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Board:
    """The arrays in it. Both sides make one from the same descriptor, contract and largest batch."""

    def __init__(self, descriptor: int, contract: Contract, max_batch: int) -> None:
        side, self._outputs = contract.size, contract.outputs
        answers = 4 * max_batch * sum(contract.outputs.values())
        size = answers + max_batch * side * side * 3
        os.ftruncate(descriptor, size)
        memory = mmap.mmap(descriptor, size)
        self.images = np.frombuffer(memory, np.uint8, offset=answers).reshape(max_batch, side, side, 3)
        self._values = np.frombuffer(memory, np.float32, answers // 4).reshape(max_batch, -1)

    def write(self, outputs: Outputs) -> None:
        """{head: float32 [B, width]}, for the other side to read."""
        start = 0
        for head, width in self._outputs.items():
            self._values[: len(outputs[head]), start : start + width] = outputs[head]
            start += width

    def read(self, count: int) -> Outputs:
        """What was written of the first `count` rows: a copy."""
        values, ends = self._values[:count].copy(), np.cumsum(list(self._outputs.values()))
        return dict(zip(self._outputs, np.split(values, ends[:-1], axis=1), strict=True))
