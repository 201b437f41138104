"""The stream worker's process: `python -m inference.stream`.

settings ─► champion, schemas (waited for) ─► consumer, producer ─► Worker.run ─► drained ─► exit

Exit codes: 0 told to stop · 75 start again · 78 a person must change a setting.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from connectors.kafka import make_consumer, make_producer
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts import logs
from contracts.errors import PipelineError, Transient
from contracts.settings import Settings
from contracts.topics import FRAMES, MAX_DEAD_LETTER_BYTES, PREDICTIONS
from inference.stream.champion import Champion, load_champion
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
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _stop(stopping))
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
        champion = _wait_for("champion_awaited", lambda: load_champion(settings), stopping)
        if champion is not None:
            try:
                with SchemaRegistry(settings.registry) as registry:
                    # Before the first frame: with a registry that is none, every frame would look like a bad record.
                    codec = _wait_for("schemas_awaited", lambda: _prepared(Codec(registry)), stopping)
                    if codec is not None:
                        _serve(settings, champion, codec, metrics, stopping)
            finally:
                champion.close()
    finally:
        if server is not None:
            server.shutdown()
            server.server_close()


def _prepared(codec: Codec) -> Codec:
    codec.prepare(FRAMES.name, PREDICTIONS.name)
    return codec


def _serve(settings: Settings, champion: Champion, codec: Codec, metrics: Metrics, stopping: threading.Event) -> None:
    """Wires the parts and runs them."""
    stream = settings.stream
    model = champion.current
    metrics.model_info.labels(model.version.name, model.version.version, model.version.digest, model.engine.name).set(1)
    # Half of what may be queued lies with the client, fetched ahead; the other half is in our hands.
    half = stream.queued_megabytes * _MEBIBYTE // 2
    abandoned = threading.Event()
    # A dead letter is the refused record and the reason: room for the largest.
    producer = make_producer(settings, **{"message.max.bytes": MAX_DEAD_LETTER_BYTES})
    worker = Worker(producer, in_flight_limit=half, metrics=metrics)
    consumer = make_consumer(
        settings,
        stream.group,
        **{
            "partition.assignment.strategy": "cooperative-sticky",
            "queued.max.messages.kbytes": max(1, half // 1024),
            "on_commit": worker.on_commit,
        },
    )
    outbox = Outbox(producer, codec, finished=worker.finished, abandoned=abandoned)
    ready = ReadyFrames(size=stream.batch_size, age_seconds=stream.batch_age_ms / 1000)
    intake = Intake(
        codec,
        ready,
        outbox,
        metrics,
        retention=settings.retention.period,
        max_pixels=stream.max_pixels,
        decode_threads=stream.decode_threads,
        needs_pixels=model.engine.needs_pixels,
        abandoned=abandoned,
    )
    stages = Stages(intake, ready, champion, outbox, metrics, abandoned=abandoned)
    try:
        worker.run(consumer, stages, outbox, stopping=stopping)
    finally:
        is_idle = stages.stop(within_seconds=_STAGES_SECONDS)
        consumer.close()
    if not is_idle:
        # An engine in the middle of a long inference cannot be interrupted; Python would wait for it at exit.
        _leave("the engine is still busy")


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
