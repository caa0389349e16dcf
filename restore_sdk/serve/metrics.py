"""What ``/metrics`` tells Prometheus. A registry of its own, so that several apps in one process do not collide."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "restore_requests", "Requests by route and status.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "restore_request_seconds",
            "From the request's header to the last byte of the answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._parts = Histogram(
            "restore_part_seconds", "Parts of a restoration.", ("part",), buckets=_SECONDS, registry=self.registry
        )
        self._batch = Histogram(
            "restore_batch_photos",
            "Photographs a run of the model.",
            buckets=(1, 2, 3, 4, 8, 16),
            registry=self.registry,
        )
        self._uploaded = Counter("restore_uploaded_bytes", "Bytes of request bodies.", registry=self.registry)
        self.inside = Gauge("restore_requests_inside", "Requests in the house.", registry=self.registry)
        self._line = Gauge("restore_requests_waiting", "Requests waiting for a worker.", registry=self.registry)

    def watch_line(self, waiting: Callable[[], int]) -> None:
        """Read the line's length from ``waiting`` whenever it is asked for."""
        self._line.set_function(waiting)

    def request(self, route: str, status: int, seconds: float, uploaded: int) -> None:
        """A request has ended."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._uploaded.inc(uploaded)

    def part(self, name: str, seconds: float) -> None:
        """A part of a restoration has ended."""
        self._parts.labels(name).observe(seconds)

    def ran(self, photos: int) -> None:
        """The model ran once with this many photographs."""
        self._batch.observe(photos)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
