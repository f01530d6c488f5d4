"""The models that are served, by name: versions are taken up, switched to and given up while requests go on."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from grpc import StatusCode  # type: ignore[import-untyped]

from expnet_tf.serving import versions
from expnet_tf.serving.artifacts import models_folder
from expnet_tf.serving.batching import Batcher, BatchPolicy
from expnet_tf.serving.errors import ServingError, invalid
from expnet_tf.serving.metrics import Metrics
from expnet_tf.serving.signatures import signatures
from expnet_tf.serving.versions import Fingerprint
from expnet_tf.serving.worker import program
from expnet_tf.serving.workers import WorkerError, WorkerLost, Workers

log = logging.getLogger("expnet.serve.models")

_ATTEMPTS = 3  # to load a version whose worker ends without a word: it may be the version, or the machine's memory


class Servable:
    """One version at work: its workers, its queue, and how many requests are on it."""

    def __init__(self, name: str, version: int, workers: Workers, batcher: Batcher) -> None:
        self.name, self.version, self.workers, self.batcher = name, version, workers, batcher
        self.contract = workers.contract
        self.runtime = workers.runtime
        self.signatures = signatures(workers.contract)
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While a request is on it, a version that was switched away from stays."""
        self._users += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def retire(self) -> None:
        """Wait for the last request, then let go of the network."""
        await self._unused.wait()
        await self.close()

    async def close(self) -> None:
        """Let go of the network; no request must be on it."""
        await self.batcher.close()
        await self.workers.close()


@dataclass(frozen=True)
class VersionStatus:
    version: int
    state: str  # START, LOADING, AVAILABLE, UNLOADING, END: ModelVersionStatus.State
    code: StatusCode = StatusCode.OK
    message: str = ""


@dataclass
class _Model:
    """What is known of one name."""

    serving: Servable | None = None
    seen: dict[int, Fingerprint] = field(default_factory=dict)  # at the last look
    refused: dict[int, Fingerprint] = field(default_factory=dict)  # versions that failed, as they were then
    lost: Counter[tuple[int, Fingerprint]] = field(default_factory=Counter)  # workers, at a version's attempts
    states: dict[int, VersionStatus] = field(default_factory=dict)


class Models:
    """Names to servables. `poll` looks at the repository; without one, `add` says what is served."""

    def __init__(
        self,
        workers: int,
        policy: BatchPolicy,
        metrics: Metrics,
        base: Path | None = None,
    ) -> None:
        """
        Args:
            workers: processes for each model.
            base: the repository, or None.
        """
        self._workers, self._policy, self._metrics = workers, policy, metrics
        self._base = base and models_folder(base)
        self._models: dict[str, _Model] = {}
        self._retiring: dict[asyncio.Task[None], Servable] = {}

    def find(self, name: str, version: int | None = None, label: str = "") -> Servable:
        """The version that is served under `name`. Raises ServingError: NOT_FOUND, or INVALID_ARGUMENT for a label."""
        if label:
            raise invalid(f"Unrecognized servable version label: {label}")
        known = self._models.get(name)
        servable = known.serving if known else None
        if servable is None or version not in (None, servable.version):
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
        return servable

    def status(self, name: str, version: int | None = None, label: str = "") -> list[VersionStatus]:
        """What became of each version, the newest first. Raises ServingError like `find`."""
        if label:
            raise invalid(f"Unrecognized servable version label: {label}")
        states = self._models[name].states if name in self._models else {}
        asked = [states[v] for v in sorted(states, reverse=True) if version in (None, v)]
        if not asked:
            wanted = f"Could not find any versions of model {name}"
            if version is not None:
                wanted = f"Could not find version {version} of model {name}"
            raise ServingError(StatusCode.NOT_FOUND, wanted)
        return asked

    @property
    def serving(self) -> list[Servable]:
        return [model.serving for model in self._models.values() if model.serving]

    def missing(self) -> list[str]:
        """Names in the repository of which no version is served, or no worker lives; readiness waits for them."""
        return [name for name, model in self._models.items() if not (model.serving and model.serving.workers.ready)]

    async def start(self, words: Sequence[str]) -> Workers:
        """Workers for a model, one of them ready; `words` start one. Raises WorkerError."""
        return await Workers.start(words, self._workers, self._policy.max_batch)

    def add(self, name: str, version: int, workers: Workers) -> None:
        """Serve a model from now on; the version served before, if any, is given up when its requests are answered."""
        known = self._models.setdefault(name, _Model())
        batcher = Batcher(workers.run, workers.count, self._policy, self._metrics.batch_size.labels(name).observe)
        servable = Servable(name, version, workers, batcher)
        before, known.serving = known.serving, servable
        known.states[version] = VersionStatus(version, "AVAILABLE")
        self._metrics.serve(servable)
        facts = {"model": name, "version": version, "runtime": workers.runtime, "of": workers.contract.model}
        log.info("serving", extra=facts)
        if before is not None:
            known.states[before.version] = VersionStatus(before.version, "UNLOADING")
            self._start_retiring(known, before)

    async def poll(self, stable: bool = True) -> None:
        """Look once, and take up what is new; `stable`: only versions that are as they were at the last look."""
        assert self._base is not None
        found = await asyncio.to_thread(versions.scan, self._base)
        for name in found:
            self._models.setdefault(name, _Model())
        for name, model in list(self._models.items()):
            there = found.get(name, {})
            await self._choose(name, model, there, stable)
            model.seen = there
            model.refused = {v: mark for v, mark in model.refused.items() if v in there}
            model.lost = Counter({key: count for key, count in model.lost.items() if there.get(key[0]) == key[1]})
            model.states = {v: s for v, s in model.states.items() if v in there or s.state != "END"}
            if name not in found and not model.serving:
                del self._models[name]

    async def close(self) -> None:
        """Give up all models; every request must be answered by now."""
        retiring = dict(self._retiring)
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        await asyncio.gather(*(servable.close() for servable in (*retiring.values(), *self.serving)))

    async def _choose(self, name: str, model: _Model, there: dict[int, Fingerprint], stable: bool) -> None:
        """The highest version that loads. The one being served stays where nothing else can be served."""
        current = model.serving.version if model.serving else None
        for version in sorted(there, reverse=True):
            if version == current:
                return
            if current is not None and current in there and version < current:
                return
            if model.refused.get(version) == there[version] or (stable and model.seen.get(version) != there[version]):
                continue
            if await self._take_up(name, model, version, there[version]):
                return

    async def _take_up(self, name: str, model: _Model, version: int, mark: Fingerprint) -> bool:
        assert self._base is not None
        model.states[version] = VersionStatus(version, "LOADING")
        try:
            workers = await self.start(program("version", versions.folder(self._base, name, version)))
        except WorkerError as error:
            message = str(error)[:500]
            # Clients see what lies in the repository, and not where that is.
            shown = _below(self._base, str(error))[:300]
            model.states[version] = VersionStatus(version, "END", StatusCode.INVALID_ARGUMENT, shown)
            facts = {"model": name, "version": version, "error": message}
            if isinstance(error, WorkerLost):
                model.lost[version, mark] += 1
                if model.lost[version, mark] < _ATTEMPTS:
                    log.warning("version not loaded, to be tried again", extra=facts)
                    return False
            model.refused[version] = mark
            self._metrics.refused.labels(name).inc()
            log.error("version refused", extra=facts)
            return False
        try:
            if model.serving:  # all of them, before they take over from as many
                await workers.complete()
        except asyncio.CancelledError:
            await workers.close()
            raise
        self.add(name, version, workers)
        return True

    async def _retire(self, model: _Model, servable: Servable) -> None:
        await servable.retire()
        if model.states[servable.version].state == "UNLOADING":
            model.states[servable.version] = VersionStatus(servable.version, "END")
        log.info("given up", extra={"model": servable.name, "version": servable.version})

    def _start_retiring(self, model: _Model, servable: Servable) -> None:
        task = asyncio.create_task(self._retire(model, servable))
        self._retiring[task] = servable

        def done(finished: asyncio.Task[None]) -> None:
            self._retiring.pop(finished, None)
            with suppress(asyncio.CancelledError):
                finished.result()

        task.add_done_callback(done)


def _below(base: Path, text: str) -> str:
    """The text without the paths that lead to `base`."""
    for path in (base.resolve(), base.absolute(), base):
        text = text.replace(f"{path}/", "")
    return text
