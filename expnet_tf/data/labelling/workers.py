"""Who makes the shards of a run: processes of this machine (joblib) or the workers of a Dask cluster.

Labelling and `expnet predict --shards` share them. Both call a function that makes a shard and may be called again
(shard.make_shard): a worker that dies takes nothing with it but the time of its shard.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from expnet_tf.data.labelling.shard import make_shard

RETRIES = 3  # of a shard whose worker failed
ANSWER_S = 20  # seconds that a scheduler may take to answer


class Share(Protocol):
    """A shard to be made: what tells it from others. It is pickled, and so is the function that makes it."""

    @property
    def index(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def out(self) -> str: ...  # absolute path of the run's folder


class WorkerError(RuntimeError):
    """The workers cannot be had, or died: one sentence."""


class Processes:
    """Processes of this machine."""

    def __init__(self, workers: int, make: Callable[[Any], Any] = make_shard) -> None:
        """make: a function of a module that makes a shard and returns its record."""
        self._workers, self._make = workers, make

    def __call__(self, shares: Sequence[Share]) -> Iterator[Any]:
        """The records as they are done.

        Raises WorkerError when a process is killed from outside; shards that are done stay.
        """
        try:
            from joblib import Parallel, delayed, parallel_config
            from joblib.externals.loky.process_executor import TerminatedWorkerError
        except ImportError as error:
            raise WorkerError(
                "several processes need joblib (pip install 'expnet_tf[train]'); --workers 1 needs nothing"
            ) from error

        expect_replaced_workers()
        with parallel_config("loky", n_jobs=min(self._workers, max(len(shares), 1)), inner_max_num_threads=1):
            try:
                yield from Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")(
                    delayed(in_worker)(self._make, share) for share in shares
                )
            except TerminatedWorkerError as error:
                raise WorkerError(
                    "a worker process was killed, perhaps for want of memory; the finished shards are kept: run the "
                    "same command again, with fewer --workers"
                ) from error


def expect_replaced_workers() -> None:
    """Silences, in this process from now on, what joblib says when it replaces a worker that has grown by 300 MB.

    It warns in the thread that is about to replace the worker: where warnings are errors that thread would end there,
    and the run wait for ever.
    """
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)


class Cluster:
    """The workers of a Dask scheduler. They need this package, and the same folders under the same paths."""

    def __init__(self, address: str, make: Callable[[Any], Any] = make_shard) -> None:
        """make: see Processes."""
        self._address, self._make = address, make

    def __call__(self, shares: Sequence[Share]) -> Iterator[Any]:
        """The records as they are done.

        Raises WorkerError when the scheduler does not answer or a shard's workers died again and again.
        """
        try:
            from distributed import Client, KilledWorker, as_completed
        except ImportError as error:
            raise WorkerError("--scheduler needs Dask (pip install 'expnet_tf[cluster]')") from error
        try:
            client = Client(self._address, timeout=ANSWER_S)
        except (OSError, ValueError) as error:
            raise WorkerError(f"no Dask scheduler answers at {self._address} ({error})") from error
        with client:
            # Named by folder and shard: a second run that starts meanwhile waits for the same work.
            futures = [
                client.submit(
                    in_worker, self._make, share, key=f"expnet-shard-{_name(share)}", retries=RETRIES, pure=False
                )
                for share in shares
            ]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except KilledWorker as error:
                raise WorkerError(f"the workers of a shard died again and again ({error})") from error
            finally:
                client.cancel(futures)


def _name(share: Share) -> str:
    return f"{hashlib.sha256(share.out.encode()).hexdigest()[:12]}-{share.index}-of-{share.count}"


def in_worker(make: Callable[[Any], Any], share: Share) -> Any:
    """make(share) in a process of which there is one a core."""
    import cv2

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    cv2.setNumThreads(1)
    return make(share)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
