"""The stream worker's process: `python -m inference.stream`.

settings ─► model, schemas (waited for) ─► consumer, producer ─► Worker.run ─► drained ─► exit

With SIGHTLINE_STREAM__ROLE=challenger it is the shadow: a consumer group of its own, no model to wait for, no dead
letters; it rests while there is no challenger and never scores with the champion's version.

Exit codes: 0 told to stop · 75 start again · 78 a person must change a setting.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from connectors.kafka import make_consumer, make_producer
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from connectors.signals import on_signals
from contracts import logs
from contracts.errors import PipelineError, Transient
from contracts.settings import Settings
from contracts.topics import FRAMES, MAX_DEAD_LETTER_BYTES, PREDICTIONS
from inference.domain.batching import UNMEASURED, BatchPlan
from inference.serving.follow import Follower
from inference.serving.served_models import ServedModel
from inference.stream.intake import Intake
from inference.stream.library_log import LIBRARY, Sparingly
from inference.stream.metrics import Metrics
from inference.stream.outbox import Outbox
from inference.stream.ready import ReadyFrames
from inference.stream.stages import Stages
from inference.stream.worker import Worker

LEAVE_SECONDS: Final = 9.5  # after the signal: whoever stops us kills after ten
_STAGES_SECONDS: Final = 2.0
_MEBIBYTE: Final = 1024 * 1024
_LONGEST_WAIT_SECONDS: Final = 10.0

_log = logs.get_logger(__name__)

T = TypeVar("T")


def main() -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code."""
    try:
        settings = Settings.load()
    except PipelineError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there are no log settings yet
        return error.exit_code
    logs.configure(level=settings.log.level, as_json=settings.log.format == "json", service="stream")
    logging.getLogger(LIBRARY).addFilter(Sparingly())
    stopping = threading.Event()
    on_signals(lambda: _stop(stopping))
    try:
        run(settings, stopping)
    except PipelineError as error:
        _log.error("worker_failed", reason=str(error), exit_code=error.exit_code)
        return error.exit_code
    _log.info("worker_stopped")
    return 0


def run(settings: Settings, stopping: threading.Event) -> None:
    """One worker's life.

    Raises:
        PipelineError: see the exit codes.
    """
    metrics = Metrics()
    server = metrics.serve(settings.stream.metrics_port) if settings.stream.metrics_port else None
    try:
        follower = _follower(settings, metrics, stopping)
        try:
            follower.start()
            # A shadow has nothing to wait for: it may be long until there is a challenger.
            if follower.lead == "challenger" or follower.wait(stopping) is not None:
                with SchemaRegistry(settings.registry) as registry:
                    # Before the first frame: with a registry that is none, every frame would look like a bad record.
                    codec = _wait_for("schemas_awaited", lambda: _prepared(Codec(registry)), stopping)
                    if codec is not None:
                        _serve(settings, follower, codec, metrics, stopping)
        finally:
            follower.close()
    finally:
        if server is not None:
            server.shutdown()
            server.server_close()


def _prepared(codec: Codec) -> Codec:
    codec.prepare(FRAMES.name, PREDICTIONS.name)
    return codec


def _follower(settings: Settings, metrics: Metrics, stopping: threading.Event) -> Follower:
    stream = settings.stream
    chosen = BatchPlan(size=stream.batch_size, age_seconds=stream.batch_age_ms / 1000) if stream.batch_size else None
    return Follower(
        settings,
        kind="stream" if stream.role == "champion" else "shadow",
        engine_kind=stream.engine,
        threads=stream.engine_threads,
        lead=stream.role,
        model_folder=stream.model_folder,
        plan=chosen,
        registry=metrics.registry,
        stopping=stopping,
    )


def _serve(settings: Settings, follower: Follower, codec: Codec, metrics: Metrics, stopping: threading.Event) -> None:
    """Wires the parts and runs them."""
    stream = settings.stream
    is_shadow = follower.lead == "challenger"
    # Half of what may be queued lies with the client, fetched ahead; the other half is in our hands.
    half = stream.queued_megabytes * _MEBIBYTE // 2
    abandoned = threading.Event()
    # A dead letter is the refused record and the reason: room for the largest.
    producer = make_producer(settings, **{"message.max.bytes": MAX_DEAD_LETTER_BYTES})
    worker = Worker(producer, in_flight_limit=half, metrics=metrics, has_model=lambda: follower.current is not None)
    consumer = _consumer(settings, worker, is_shadow=is_shadow, queued_kilobytes=half // 1024)
    outbox = Outbox(producer, codec, finished=worker.finished, abandoned=abandoned, is_shadow=is_shadow)
    model = follower.current
    ready = ReadyFrames(size=UNMEASURED.size, age_seconds=UNMEASURED.age_seconds)
    intake = Intake(
        codec,
        ready,
        outbox,
        metrics,
        retention=settings.retention.period,
        max_pixels=stream.max_pixels,
        decode_threads=stream.decode_threads,
        # Every version runs on the same kind of engine, so what holds for one holds for the next.
        needs_pixels=model.engine.needs_pixels if model else True,
        abandoned=abandoned,
    )
    stages = Stages(intake, ready, follower.models, outbox, metrics, role=follower.lead, abandoned=abandoned)
    follower.on_swap(lambda served: _swapped(served, ready, metrics))
    try:
        worker.run(consumer, stages, outbox, stopping=stopping)
    finally:
        is_idle = stages.stop(within_seconds=_STAGES_SECONDS)
        consumer.close()
    if not is_idle:
        # An engine in the middle of a long inference cannot be interrupted; Python would wait for it at exit.
        follower.close()
        _leave("the engine is still busy")


def _consumer(settings: Settings, worker: Worker, *, is_shadow: bool, queued_kilobytes: int) -> Any:
    stream = settings.stream
    return make_consumer(
        settings,
        stream.challenger_group if is_shadow else stream.group,
        **{
            "auto.offset.reset": "latest" if is_shadow else "earliest",
            "partition.assignment.strategy": "cooperative-sticky",
            "queued.max.messages.kbytes": max(1, queued_kilobytes),
            "on_commit": worker.on_commit,
        },
    )


def _swapped(model: ServedModel | None, ready: ReadyFrames, metrics: Metrics) -> None:
    metrics.model_info.clear()
    if model is not None:
        version = model.version
        metrics.model_info.labels(version.name, version.version, version.digest, model.engine.name).set(1)
        ready.plan(size=model.plan.size, age_seconds=model.plan.age_seconds)


def _wait_for(event: str, load: Callable[[], T], stopping: threading.Event) -> T | None:
    """What `load` gives, however long what it asks is away; None when told to stop meanwhile."""
    wait = 1.0
    while not stopping.is_set():
        try:
            return load()
        except Transient as error:
            _log.warning(event, reason=str(error), seconds=wait)
            stopping.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
    return None


def _stop(stopping: threading.Event) -> None:
    """Asks for the end, and sees to it that it comes: a broker that is away must not keep us."""
    if not stopping.is_set():
        stopping.set()
        last_resort = threading.Timer(LEAVE_SECONDS, _leave, args=("something we wait for does not answer",))
        last_resort.daemon = True
        last_resort.start()


def _leave(reason: str) -> None:
    """Ends the process at once. Safe at any moment, since offsets move last."""
    _log.warning("worker_left", reason=reason)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
