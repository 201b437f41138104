"""Images in, detections out: a bounded queue in front of the engine, beside the event loop and never on it.

    detect ─► place? ─► decode ─► micro-batch ─► engine ─► (draw) ─► answer
    (loop)      │       (thread)  (thread)       (thread)  (thread)  (loop)
                └── no: 503 queue_full

A place is taken once the whole image is there and given back when it has its answer, so that a slow client holds none.
Who waits longer than the deadline gets 503, and the engine never sees the image if it has not begun. One thread calls
the engine, as its contract asks; an engine that needs no pixels spares the way through the decoder.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from contracts.errors import PipelineError, Transient
from contracts.logs import get_logger
from contracts.settings import ApiSettings
from inference.api.annotate import annotate
from inference.api.images import check, refused
from inference.api.metrics import Metrics
from inference.api.problems import Problem
from inference.api.serving import Models, Plan, Served
from inference.domain.decode import Header, Status, decode
from inference.domain.detections import Detections
from inference.domain.letterbox import Image
from inference.domain.microbatch import MicroBatch
from inference.registry.model_version import ModelVersion
from inference.serving.threads import have_ended

_PIXEL_BYTES: Final = 256 * 1024 * 1024  # of decoded images at a time; one always may, however large
_HUNG_SECONDS: Final = 60.0  # an engine that takes longer over one batch will not come back
_NEWS: Final = 0.2  # what the last batch weighs in the usual time of one
_RETRY_AFTER: Final = {"Retry-After": "1"}
_NO_PIXELS: Final[Image] = np.zeros((1, 1, 3), np.uint8)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one image got."""

    version: ModelVersion
    engine: str
    role: str  # of the model that answered: champion | challenger
    width: int  # pixels, as stored
    height: int
    detections: Detections
    annotated: bytes | None  # JPEG, where it was asked for
    queue_seconds: float
    decode_seconds: float
    infer_seconds: float


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """One image on its way. The loop owns the future; the threads only look whether it still waits."""

    data: bytes
    header: Header
    version: str | None
    confidence: float | None
    is_annotated: bool
    future: asyncio.Future[Answer]
    began: float = field(default_factory=time.perf_counter)
    image: Image | None = None
    pixel_bytes: int = 0  # reserved for the decoded image
    decode_seconds: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nobody waits any more."""
        return self.future.done()


_End = tuple[_Job, Answer | Exception | None]  # None: nobody waits any more


class Detector:
    """Made before the event loop, started on it."""

    def __init__(self, settings: ApiSettings, models: Models, metrics: Metrics) -> None:
        self.failure: PipelineError | None = None  # the process must end with it
        self._models = models
        self._metrics = metrics
        # Looked up once: `labels` costs more than `observe`.
        self._queue_seconds, self._decode_seconds, self._infer_seconds = (
            metrics.stage_seconds.labels(stage) for stage in ("queue", "decode", "infer")
        )
        self._places = settings.queued_requests
        self._max_pixels = settings.max_pixels
        self._seconds = settings.request_seconds
        self._pending = 0  # changed on the loop only
        self._busy_since: float | None = None
        self._usual_seconds = 0.0  # of a batch in the engine; the engine's thread alone changes it
        self._to_decode: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._to_infer: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._to_draw: queue.SimpleQueue[tuple[_Job, Answer] | None] = queue.SimpleQueue()
        self._pixels = _Pixels()
        self._threads = [
            threading.Thread(target=copy_context().run, args=(self._guarded, run), name=name, daemon=True)
            for name, run in (("decode", self._run_decode), ("infer", self._run_infer), ("draw", self._run_draw))
        ]

    # -- on the loop -------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Begins to load the model and starts the threads. Call it on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._models.start()
        for thread in self._threads:
            thread.start()

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
        if self._busy_since is not None and time.monotonic() - self._busy_since > _HUNG_SECONDS:
            return Transient(f"the engine has not answered for {_HUNG_SECONDS:g} s; starting again", is_public=True)
        return self.failure or self._models.failure

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
        job = _Job(
            data=image,
            header=header,
            version=version,
            confidence=confidence,
            is_annotated=is_annotated,
            future=self._loop.create_future(),
        )
        self._pending += 1
        timer = self._loop.call_later(self._seconds, self._expire, job)
        (self._to_decode if engine.needs_pixels or is_annotated else self._to_infer).put(job)
        try:
            return await job.future
        finally:
            timer.cancel()

    def close(self, *, within_seconds: float) -> bool:
        """Ends the threads, then the engine. False when one is still busy after that time: the engine stays open."""
        self._to_decode.put(None)
        self._to_infer.put(None)
        self._to_draw.put(None)
        self._pixels.close()
        if not have_ended(self._threads, within_seconds=within_seconds):
            return False
        self._models.close()
        return True

    def _expire(self, job: _Job) -> None:
        if not job.future.done():
            job.future.set_exception(self._late())

    def _late(self) -> Problem:
        self._metrics.refused.labels("deadline").inc()
        reason = f"no answer within {self._seconds:g} s: the service is overloaded, try again"
        return Problem(503, "deadline", reason, headers=dict(_RETRY_AFTER))

    def _settle(self, ends: Sequence[_End]) -> None:
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

    # -- beside it ---------------------------------------------------------------------------------------------------
    def _finish(self, *ends: _End) -> None:
        """Hands ends to the loop, all of a batch at a time: waking it costs more than what it does for one of them."""
        for job, _ in ends:
            job.data, job.image = b"", None
            self._pixels.release(job.pixel_bytes)
        try:
            self._loop.call_soon_threadsafe(self._settle, ends)
        except RuntimeError:  # the loop is closed: nobody waits
            return

    def _guarded(self, run: Callable[[], None]) -> None:
        """A thread that ends otherwise than told takes the process with it: a service that looks well must be well."""
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - kept; the process ends with it
            self.failure = Transient(f"a thread of the detector ended ({error}); starting again")
            _log.exception("detector_failed")

    def _run_decode(self) -> None:
        while (job := self._to_decode.get()) is not None:
            if job.is_over:
                self._finish((job, None))
                continue
            job.pixel_bytes = self._pixels.reserve(3 * job.header.width * job.header.height)
            begin = time.perf_counter()
            image = decode(job.data, max_pixels=self._max_pixels)
            job.decode_seconds = time.perf_counter() - begin
            self._decode_seconds.observe(job.decode_seconds)
            if isinstance(image, Status):
                self._finish((job, refused(image, job.data, max_pixels=self._max_pixels)))
                continue
            job.image = image
            self._to_infer.put(job)

    def _run_infer(self) -> None:
        plan = self._models.plan
        batch = _batch_of(plan)
        while (jobs := self._take(batch, plan.size)) is not None:
            waiting = []
            for job in jobs:
                if job.is_over:
                    self._finish((job, None))
                elif self._comes_too_late(job):
                    self._finish((job, self._late()))
                else:
                    waiting.append(job)
            self._busy_since = time.monotonic()
            for version in dict.fromkeys(job.version for job in waiting):
                self._score([job for job in waiting if job.version == version], version)
            self._busy_since = None
            if self._models.plan != plan and not len(batch):
                plan = self._models.plan
                batch = _batch_of(plan)

    def _comes_too_late(self, job: _Job) -> bool:
        """Whether its answer would miss the deadline. Begun all the same, it would make the next one miss its own, and
        an overloaded service would work for nobody. An engine that is as slow as the deadline has to try.
        """
        left = job.began + self._seconds - time.perf_counter()
        return left < self._usual_seconds < self._seconds / 2

    def _take(self, batch: MicroBatch[_Job], size: int) -> list[_Job] | None:
        """Waits for a batch that is due; what waits already goes with it. None when the detector closes."""
        while not (jobs := batch.take()):
            try:
                job = self._to_infer.get(timeout=batch.due_in())
                while job is not None:
                    batch.add([job])
                    if len(batch) >= size:
                        break
                    job = self._to_infer.get_nowait()
            except queue.Empty:
                continue
            if job is None:
                return None
        return jobs

    def _score(self, jobs: Sequence[_Job], version: str | None) -> None:
        """Runs one model over images that were meant for it. Each gets an answer or an error, whatever happens."""
        begin = time.perf_counter()
        try:
            with self._models.lease(version) as model:
                images = [self._image(job, model) for job in jobs]
                found = self._infer(images, model)
        except Exception as error:  # noqa: BLE001 - goes to who waits
            if len(jobs) > 1:  # one of them may be the reason: each for itself
                for job in jobs:
                    self._score([job], version)
            else:
                self._finish((jobs[0], error))
            return
        seconds = time.perf_counter() - begin
        self._usual_seconds += (seconds - self._usual_seconds) * (_NEWS if self._usual_seconds else 1.0)
        self._infer_seconds.observe(seconds)
        self._metrics.batch_images.observe(len(jobs))
        ends: list[_End] = []
        for job, detections in zip(jobs, found, strict=True):
            queued = begin - job.began - job.decode_seconds
            answer = self._answer(job, detections, model, queued=queued, seconds=seconds)
            if job.is_annotated:
                self._to_draw.put((job, answer))
            else:
                ends.append((job, answer))
        if ends:
            self._finish(*ends)

    def _answer(self, job: _Job, detections: Detections, model: Served, *, queued: float, seconds: float) -> Answer:
        if job.confidence is not None:
            detections = _above(detections, job.confidence)
        return Answer(
            version=model.version,
            engine=model.engine.name,
            role=model.role,
            width=job.header.width,
            height=job.header.height,
            detections=detections,
            annotated=None,
            queue_seconds=max(0.0, queued),
            decode_seconds=job.decode_seconds,
            infer_seconds=seconds,
        )

    def _run_draw(self) -> None:
        while (drawing := self._to_draw.get()) is not None:
            job, answer = drawing
            if job.is_over or job.image is None:
                self._finish((job, None))
                continue
            try:
                answer = replace(answer, annotated=annotate(job.image, answer.detections))
            except (ValueError, RuntimeError) as error:  # a side that JPEG cannot hold
                reason = f"the image with its boxes cannot be written as JPEG ({error}): ask without annotated"
                self._finish((job, Problem(422, "not_annotated", reason)))
            else:
                self._finish((job, answer))

    def _image(self, job: _Job, model: Served) -> Image:
        if job.image is None and model.engine.needs_pixels:  # the model was swapped for one that looks
            image = decode(job.data, max_pixels=self._max_pixels)
            if isinstance(image, Status):
                raise refused(image, job.data, max_pixels=self._max_pixels)
            job.image = image
        return _NO_PIXELS if job.image is None else job.image

    def _infer(self, images: list[Image], model: Served) -> list[Detections]:
        try:
            return model.engine.infer(images)
        except Exception as error:
            if len(images) > 1:
                raise
            raise self._judged(error, model) from error

    def _judged(self, error: Exception, model: Served) -> Exception:
        """One image made the engine fail: was it the image?"""
        try:
            model.engine.warm_up()
        except Exception as worse:  # noqa: BLE001 - what a model's runtime raises has no common root
            self.failure = Transient(f"the engine {model.engine.name} fails on a plain image too ({worse})")
            _log.error("engine_failed", engine=model.engine.name, error=str(worse))
            return Transient("the engine broke and starts again: try again", is_public=True)
        _log.warning("image_unsupported", error=str(error))
        return Problem(415, "unsupported_image", "the model cannot run this image")


class _Pixels:
    """Bounds the memory of decoded images: the decoder waits while others are in the engine or drawn into."""

    def __init__(self) -> None:
        self._reserved = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def reserve(self, size: int) -> int:
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or not self._reserved or self._reserved + size <= _PIXEL_BYTES
            )
            self._reserved += size
        return size

    def release(self, size: int) -> None:
        if size:
            with self._changed:
                self._reserved -= size
                self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify()


def _batch_of(plan: Plan) -> MicroBatch[_Job]:
    return MicroBatch(size=plan.size, age_seconds=plan.age_seconds, clock=time.monotonic)


def _above(detections: Detections, confidence: float) -> Detections:
    kept = detections.confidences >= confidence
    return Detections(
        labels=tuple(label for label, is_kept in zip(detections.labels, kept, strict=True) if is_kept),
        confidences=detections.confidences[kept],
        boxes=detections.boxes[kept],
    )
