"""What a predict request does, whichever protocol it came by."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import numpy as np
from grpc import StatusCode  # type: ignore[import-untyped]

from expnet_tf.serving.errors import ServingError
from expnet_tf.serving.limits import Door, Limits
from expnet_tf.serving.metrics import Metrics
from expnet_tf.serving.models import Models, Servable
from expnet_tf.serving.photos import Edge, RowError
from expnet_tf.serving.signatures import DEFAULT

log = logging.getLogger("expnet.serve.requests")


@dataclass
class Request:
    """One call, for the log and the counters."""

    protocol: str  # grpc or rest
    id: str
    peer: str
    method: str = "predict"  # or metadata, status; other: what is no call of these
    model: str = ""
    version: int = 0
    signature: str = ""
    rows: int = 0
    failed_rows: int = 0
    bytes: int = 0


class Service:
    """Models behind a door: both protocols call `answering` around a request, and `predict` inside the door."""

    def __init__(self, models: Models, edge: Edge, limits: Limits, metrics: Metrics) -> None:
        self.models, self.edge, self.limits, self.metrics = models, edge, limits, metrics
        self.door = Door(limits.max_concurrent)
        metrics.in_flight.set_function(lambda: self.door.inside)

    def not_ready(self) -> str:
        """Why requests should go elsewhere; empty where every model has a version that is served."""
        if self.door.closed:
            return "shutting down"
        missing = self.models.missing()
        if missing or not self.models.serving:
            return f"no version of {', '.join(missing) or 'any model'} is served"
        return ""

    @contextmanager
    def answering(self, request: Request) -> Iterator[None]:
        """Log and count how a request ends.

        Raises ServingError and nothing else: what was not foreseen is logged and becomes INTERNAL.
        """
        start, code, message = time.perf_counter(), StatusCode.OK, ""
        try:
            yield
        except ServingError as error:
            code, message = error.code, str(error)
            raise
        except asyncio.CancelledError:
            code = StatusCode.CANCELLED
            raise
        except Exception:
            code, message = StatusCode.INTERNAL, f"Internal error; the server's log has it under {request.id}."
            log.exception("internal error", extra={"request_id": request.id})
            raise ServingError(code, message) from None
        finally:
            self._told(request, time.perf_counter() - start, code, message)

    @asynccontextmanager
    async def deadline(self, left: float | None = None) -> AsyncIterator[None]:
        """What takes longer than the server's timeout, or the `left` s that the client waits, ends here.

        Raises ServingError (DEADLINE_EXCEEDED).
        """
        seconds = self.limits.timeout if left is None else min(left, self.limits.timeout)
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise ServingError(StatusCode.DEADLINE_EXCEEDED, f"Not answered within {seconds:g} s.") from None

    def _told(self, request: Request, seconds: float, code: StatusCode, message: str) -> None:
        known = request.version > 0  # a name that a client made up is no label
        model = request.model if known else ""
        self.metrics.requests.labels(request.protocol, request.method, model, code.name).inc()
        facts: dict[str, object] = {
            "request_id": request.id,
            "protocol": request.protocol,
            "peer": request.peer,
            "model": request.model[:128],
            "version": request.version,
        }
        if request.method == "predict":
            self.metrics.seconds.labels(request.protocol, model).observe(seconds)
            if known:
                self.metrics.images.labels(model).inc(request.rows)
                self.metrics.rows_failed.labels(model).inc(request.failed_rows)
            facts |= {"signature": request.signature, "rows": request.rows, "failed_rows": request.failed_rows}
            facts |= {"bytes": request.bytes}
        facts |= {"code": code.name, "ms": round(1000 * seconds, 2)}
        log.info(request.method, extra={**facts, **({"error": message} if message else {})})

    async def predict(
        self, servable: Servable, signature: str, inputs: Mapping[str, np.ndarray], request: Request
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature, from inputs that `signatures` describes and that were checked against it.

        Raises ServingError: RESOURCE_EXHAUSTED where the queue is full; INVALID_ARGUMENT where not one photo of the
        request could be used (RESOURCE_EXHAUSTED if all have too many pixels).
        """
        request.signature, request.rows = signature, len(next(iter(inputs.values())))
        if signature == DEFAULT:
            return await servable.batcher.predict(inputs["image"])
        boxes = inputs.get("box")
        rows = await self.edge.rows(inputs["image_bytes"].tolist(), boxes, servable.contract)
        failures = [row.error for row in rows if row.error]
        request.failed_rows = len(failures)
        if len(failures) == len(rows):
            raise _all_failed(failures)
        good = np.array([row.error is None for row in rows])
        answered = await servable.batcher.predict(np.stack([row.crop for row in rows if row.crop is not None]))
        outputs = {head: _spread(values, good) for head, values in answered.items()}
        outputs["box"] = _spread(np.array([row.box for row in rows if row.box is not None], np.float32), good)
        outputs["error"] = np.array([_line(row.error).encode() for row in rows], object)
        return outputs


def _spread(values: np.ndarray, good: np.ndarray) -> np.ndarray:
    """[good rows, width] -> [all rows, width], NaN between: a number would be taken for an expression."""
    spread = np.full((len(good), values.shape[1]), np.nan, np.float32)
    spread[good] = values
    return spread


def _line(error: RowError | None) -> str:
    return f"{error.code.name}: {error}" if error else ""


def _all_failed(failures: list[RowError]) -> ServingError:
    codes = {failure.code for failure in failures}
    code = codes.pop() if len(codes) == 1 else StatusCode.INVALID_ARGUMENT
    return ServingError(code, " ".join(str(failure) for failure in failures))
