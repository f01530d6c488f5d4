"""What Prometheus reads at /metrics. Names a client makes up never become labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from expnet_tf.serving.models import Servable

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "expnet_requests",
            "Calls, by how they ended",
            ("protocol", "method", "model", "code"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "expnet_request_seconds",
            "From predict request to answer",
            ("protocol", "model"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.images = Counter("expnet_images", "Images asked for", ("model",), registry=self.registry)
        self.rows_failed = Counter(
            "expnet_rows_failed", "Photos that failed their row", ("model",), registry=self.registry
        )
        self.batch_size = Histogram(
            "expnet_batch_size", "Images a run of the network", ("model",), buckets=_IMAGES, registry=self.registry
        )
        self.queue = Gauge("expnet_queue_images", "Images waiting for the network", ("model",), registry=self.registry)
        self.workers = Gauge("expnet_workers", "Processes with the network loaded", ("model",), registry=self.registry)
        self.restarts = Gauge(
            "expnet_worker_restarts",
            "Processes of the version being served that died and were started again",
            ("model",),
            registry=self.registry,
        )
        self.in_flight = Gauge("expnet_requests_in_flight", "Requests being worked on", registry=self.registry)
        self.version = Gauge("expnet_model_version", "The version being served", ("model",), registry=self.registry)
        self.refused = Counter(
            "expnet_versions_refused", "Versions that did not load", ("model",), registry=self.registry
        )

    def serve(self, servable: Servable) -> None:
        """A version is being served now."""
        self.version.labels(servable.name).set(servable.version)
        batcher, workers = servable.batcher, servable.workers
        self.queue.labels(servable.name).set_function(lambda: batcher.waiting)
        self.workers.labels(servable.name).set_function(lambda: workers.ready)
        self.restarts.labels(servable.name).set_function(lambda: workers.restarts)

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
