"""What the API shows Prometheus: base units, one prefix, no ids in labels. One page for all processes.

    process 0 ─► files in a folder ─┐
    process 1 ─► files in a folder ─┴─► whichever answers GET /metrics adds them up

prometheus_client decides by its environment, when it is imported, whether values lie in files: `share` goes first.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
# Set before the library is imported here: in the parent by `share`, in its children by inheritance.
_IS_SHARED: Final = _FOLDER in os.environ

from prometheus_client import (  # noqa: E402 - see above
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead  # noqa: E402

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PREFIX: Final = "sightline_api"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One process's collectors."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            f"{_PREFIX}_requests_total", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            f"{_PREFIX}_request_seconds",
            "From the request's head to the end of its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.refused = Counter(
            f"{_PREFIX}_refused_total",
            "Images refused a place, or that waited too long.",
            ["reason"],
            registry=registry,
        )
        self.queued = Gauge(
            f"{_PREFIX}_queued_requests", "Images waiting for a detection or in it.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.stage_seconds = Histogram(
            f"{_PREFIX}_stage_seconds", "Time of an image in a stage.", ["stage"], buckets=_SECONDS, registry=registry
        )
        self.batch_images = Histogram(
            f"{_PREFIX}_batch_images", "Images in a batch.", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        self.frames = Counter(
            f"{_PREFIX}_frames_total", "Frames taken by HTTP, by what became of them.", ["outcome"], registry=registry
        )
        self.sessions = Gauge(
            f"{_PREFIX}_camera_sessions", "Open sessions of cameras that send by HTTP.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self._add_agreement()

    def _add_agreement(self) -> None:
        """What inference.api.agreement shows: the first process measures, for all."""

        def gauge(name: str, what: str, labels: tuple[str, ...] = ()) -> Gauge:
            full = f"{_PREFIX}_challenger_agreement_{name}"
            return Gauge(full, what, labels, registry=self.registry, multiprocess_mode="livemostrecent")

        self.agreement_ratio = gauge(
            "ratio", "Boxes on which challenger and champion agree, of all that either saw; NaN without a frame."
        )
        self.agreement_frames = gauge("frames", "The newest frames that both looked at, on which it was measured.")
        self.agreement_boxes = gauge(
            "boxes", "Boxes in these frames: agreed, label_flip, missing and extra in the challenger's.", ("kind",)
        )
        self.agreement_measured = gauge("timestamp_seconds", "When it was measured, in seconds since 1970.")

    def page(self) -> bytes:
        """The text that Prometheus reads: of all processes where they share, else of this one."""
        if not _IS_SHARED:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone, path=os.environ[_FOLDER])  # type: ignore[no-untyped-call]
        return generate_latest(everyone)


def share() -> tempfile.TemporaryDirectory[str]:
    """Has the processes that are started from now on share their values. Keep what is returned until they ended."""
    folder = tempfile.TemporaryDirectory(prefix="sightline-api-metrics-")
    os.environ[_FOLDER] = folder.name
    return folder


def forget_process(folder: Path, pid: int) -> None:
    """Takes a dead process's gauges off the page. Its counters stay: they never fall."""
    mark_process_dead(pid, path=str(folder))  # type: ignore[no-untyped-call]
