"""What the worker shows Prometheus: base units, one prefix, no ids in labels."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_PREFIX = "sightline_stream"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The worker's own collectors; a registry of its own keeps tests apart."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.frames = Counter(f"{_PREFIX}_frames_total", "Frames predicted.", ["status"], registry=self.registry)
        self.dead_letters = Counter(
            f"{_PREFIX}_dead_letters_total", "Records refused.", ["reason"], registry=self.registry
        )
        self.batch_frames = Histogram(
            f"{_PREFIX}_batch_frames", "Frames in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            f"{_PREFIX}_stage_seconds",
            "Time of one batch in a stage.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.capture_to_prediction_seconds = Histogram(
            f"{_PREFIX}_capture_to_prediction_seconds",
            "From capture to prediction.",
            buckets=(*_SECONDS, 30.0, 60.0, 300.0),
            registry=self.registry,
        )
        self.lag_frames = Gauge(
            f"{_PREFIX}_lag_frames", "Frames in this worker's partitions not yet read.", registry=self.registry
        )
        self.in_flight_bytes = Gauge(
            f"{_PREFIX}_in_flight_bytes", "Records read and not yet finished.", registry=self.registry
        )
        self.partitions = Gauge(f"{_PREFIX}_partitions", "Partitions assigned.", registry=self.registry)
        self.model_info = Gauge(
            f"{_PREFIX}_model_info",
            "The model that serves.",
            ["name", "version", "digest", "engine"],
            registry=self.registry,
        )

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times one batch in a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.stage_seconds.labels(name).observe(time.perf_counter() - begin)

    def serve(self, port: int) -> WSGIServer:
        """Answers /metrics on loopback until the server is shut down."""
        server, _thread = start_http_server(port, addr="127.0.0.1", registry=self.registry)
        return server
