"""Images in, detections out: a bounded queue in front of the engine, beside the event loop and never on it.

    detect ─► place? ─► decode ─► micro-batch ─► engine ─► (draw) ─► answer
    (loop)      │       (inference.api.stages)                       (loop)
                └── no: 503 queue_full

A place is taken once the whole image is there and given back when it has its answer, so that a slow client holds none.
Who waits longer than the deadline gets 503, and the engine never sees the image if it has not begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from contracts.errors import PipelineError
from contracts.settings import ApiSettings
from inference.api.images import check
from inference.api.metrics import Metrics
from inference.api.problems import Problem
from inference.api.serving import Models, Served
from inference.api.stages import Stages
from inference.api.under_way import Answer, End, Job

_RETRY_AFTER: Final = {"Retry-After": "1"}


class Detector:
    """Made before the event loop, started on it."""

    def __init__(self, settings: ApiSettings, models: Models, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics
        self._queue_seconds = metrics.stage_seconds.labels("queue")  # here, for `labels` costs more than `observe`
        self._places = settings.queued_requests
        self._max_pixels = settings.max_pixels
        self._seconds = settings.request_seconds
        self._pending = 0  # changed on the loop only
        self._stages = Stages(settings, models, metrics, settle=self._tell, late=self._late)

    def start(self) -> None:
        """Begins to load the model and starts the threads. Call it on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._models.start()
        self._stages.start()

    @property
    def is_ready(self) -> bool:
        """Whether a champion is loaded and warmed up, and the threads are well."""
        return self._models.current is not None and self.ended_with() is None

    @property
    def current(self) -> Served | None:
        """The champion that answers; None before it is loaded."""
        return self._models.current

    def ended_with(self) -> PipelineError | None:
        """Why this process should end, when it should."""
        return self._stages.ended_with() or self._models.failure

    def tick(self) -> None:
        """Ten times a second: shows how many wait, which each request would be too busy to."""
        self._metrics.queued.set(self._pending)

    def refuse_when_full(self) -> None:
        """Says so before a body is read, too: what would be refused costs nothing more.

        Raises:
            Problem: 503 queue_full.
        """
        if self._pending >= self._places:
            self._metrics.refused.labels("queue_full").inc()
            raise Problem(
                503, "queue_full", f"{self._places} images wait already: try again", headers=dict(_RETRY_AFTER)
            )

    async def detect(
        self,
        image: bytes,
        *,
        version: str | None = None,
        confidence: float | None = None,
        is_annotated: bool = False,
    ) -> Answer:
        """The detections in an image's bytes.

        Args:
            image: JPEG or PNG.
            version: champion, challenger, or a version that is loaded; None: the champion.
            confidence: leaves out detections below it; the model's own least confidence holds as well.
            is_annotated: the image with its boxes is wanted back.

        Raises:
            Problem: 404 version_not_loaded, 413, 415, 422, 503 queue_full or deadline.
            Transient: no champion yet, or the engine broke.
        """
        header = check(image, max_pixels=self._max_pixels)
        engine = self._models.find(version).engine
        self.refuse_when_full()
        job = Job(
            data=image,
            header=header,
            version=version,
            confidence=confidence,
            is_annotated=is_annotated,
            future=self._loop.create_future(),
        )
        self._pending += 1
        timer = self._loop.call_later(self._seconds, self._expire, job)
        self._stages.put(job, needs_pixels=engine.needs_pixels or is_annotated)
        try:
            return await job.future
        finally:
            timer.cancel()

    def close(self, *, within_seconds: float) -> bool:
        """Ends the threads, then the engine. False when one is still busy after that time: the engine stays open."""
        if not self._stages.close(within_seconds=within_seconds):
            return False
        self._models.close()
        return True

    def _expire(self, job: Job) -> None:
        if not job.future.done():
            job.future.set_exception(self._late())

    def _late(self) -> Problem:
        self._metrics.refused.labels("deadline").inc()
        reason = f"no answer within {self._seconds:g} s: the service is overloaded, try again"
        return Problem(503, "deadline", reason, headers=dict(_RETRY_AFTER))

    def _settle(self, ends: Sequence[End]) -> None:
        """The end of jobs, on the loop: their places are free again."""
        self._pending -= len(ends)
        for job, end in ends:
            if job.future.done():
                continue
            if isinstance(end, Exception):
                job.future.set_exception(end)
            elif end is not None:
                self._queue_seconds.observe(end.queue_seconds)
                job.future.set_result(end)

    def _tell(self, ends: Sequence[End]) -> None:
        """Called by the threads, with all of a batch at a time: waking the loop costs more than what it does for one."""
        try:
            self._loop.call_soon_threadsafe(self._settle, ends)
        except RuntimeError:  # the loop is closed: nobody waits
            return
