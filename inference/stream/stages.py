"""The two threads between poll and outbox: intake and inference.

submit ─► queue ─► intake ─► ready ─► score ─► outbox

What goes wrong in a thread is kept and raised in the polling thread: no failure is silent, and none moves an offset.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from typing import Final

from contracts.errors import Transient
from contracts.logs import get_logger
from contracts.records import Record
from inference.domain.decode import Status
from inference.domain.letterbox import Image
from inference.serving.scoring import predictions, score
from inference.serving.served_models import NotLoaded, Role, ServedModels
from inference.serving.threads import have_ended
from inference.stream.in_flight import FrameInFlight
from inference.stream.intake import Intake
from inference.stream.metrics import Metrics
from inference.stream.outbox import Outbox, Stopping
from inference.stream.ready import ReadyFrames
from inference.stream.report import Report

_RETRY_SECONDS: Final = 1.0

_log = get_logger(__name__)


class Stages:
    """Frames go in by `submit` and leave through the outbox."""

    def __init__(
        self,
        intake: Intake,
        ready: ReadyFrames,
        models: ServedModels,
        outbox: Outbox,
        metrics: Metrics,
        *,
        role: Role = "champion",
        abandoned: threading.Event,
    ) -> None:
        self._intake = intake
        self._ready = ready
        self._models = models
        self._role: Role = role
        self._outbox = outbox
        self._metrics = metrics
        self._abandoned = abandoned
        self._submitted: queue.SimpleQueue[Sequence[FrameInFlight] | None] = queue.SimpleQueue()
        self._report = Report()
        self.failure: BaseException | None = None
        self._threads = [
            # In a copy of this thread's context, so that its log fields are on their events too.
            threading.Thread(target=copy_context().run, args=(self._guarded, run), name=name, daemon=True)
            for name, run in (("intake", self._run_intake), ("inference", self._run_inference))
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, frames: Sequence[FrameInFlight]) -> None:
        """Takes frames in the order of their topic. Never blocks: the caller bounds what is in flight."""
        self._submitted.put(frames)

    def stop(self, *, within_seconds: float) -> bool:
        """Ends both threads and drops what they have not begun. False when one is still busy after that time."""
        self._abandoned.set()
        self._submitted.put(None)
        self._ready.close()
        if not have_ended(self._threads, within_seconds=within_seconds):
            return False
        self._intake.close()
        return True

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Stopping:
            pass
        except BaseException as error:  # noqa: BLE001 - kept, and raised in the polling thread
            self.failure = error

    def _run_intake(self) -> None:
        while (frames := self._submitted.get()) is not None and not self._abandoned.is_set():
            self._intake.take(frames)

    def _run_inference(self) -> None:
        while (frames := self._ready.take(within_seconds=self._report.due_in())) is not None:
            try:
                self._score(frames)
            finally:
                self._ready.release(sum(frame.pixel_bytes for frame in frames))
            self._report.write_when_due()
        self._report.write()

    def _score(self, frames: Sequence[FrameInFlight]) -> None:
        """Predicts one batch and sends it. Frames of a partition that was taken away are its new owner's."""
        frames = [frame for frame in frames if not frame.partition.is_revoked]
        if not frames:
            return
        try:
            sent, version = self._predictions(frames)
        except NotLoaded:  # a shadow whose challenger is gone
            self._outbox.skip(frames)
            return
        with self._metrics.stage("produce"):
            self._send(frames, sent)
        self._metrics.batch_frames.observe(len(frames))
        statuses = Counter(prediction["status"] for prediction in sent)
        for status, count in statuses.items():
            self._metrics.frames.labels(status).inc(count)
        for prediction in sent:
            self._metrics.capture_to_prediction_seconds.observe(prediction["latency_ms"] / 1000)
        self._report.add(statuses, version)

    def _predictions(self, frames: Sequence[FrameInFlight]) -> tuple[list[Record], str]:
        """One prediction per frame, and the version that made them all: a swap waits for the end of the batch."""
        with self._models.lease(self._role) as model:
            for frame in frames:
                frame.is_begun = True
            images = [_resolved(frame) for frame in frames]
            with self._metrics.stage("infer"):
                scored = score(images, model.engine)
            records = [frame.record for frame in frames if frame.record is not None]
            return predictions(records, scored, model), model.version.version

    def _send(self, frames: Sequence[FrameInFlight], sent: Sequence[Record]) -> None:
        while True:
            try:
                self._outbox.send_predictions(frames, sent)
            except Transient as error:  # the registry is away and never answered: only before the first prediction
                _log.warning("predictions_wait", reason=str(error))
                if self._abandoned.wait(_RETRY_SECONDS):
                    raise Stopping from error
            else:
                return


def _resolved(frame: FrameInFlight) -> Image | Status:
    """The frame's pixels or status, waiting for its decoder; the frame no longer holds them then."""
    image = frame.image
    frame.image = Status.OK
    return image.result() if isinstance(image, Future) else image
