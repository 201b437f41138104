"""The threads behind the API's queue: decode, the engine, and drawing, each handing on to the next.

    put ─► decode ─► micro-batch ─► engine ─► (draw) ─► settle

One thread calls the engine, as its contract asks; an engine that needs no pixels spares the way through the decoder. Each
image gets an answer or an error, whatever happens.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import replace
from typing import Final

import numpy as np

from contracts.errors import PipelineError, Transient
from contracts.logs import get_logger
from contracts.settings import ApiSettings
from inference.api.annotate import annotate
from inference.api.images import refused
from inference.api.metrics import Metrics
from inference.api.problems import Problem
from inference.api.serving import Models, Plan, Served
from inference.api.under_way import Answer, End, Job, Pixels
from inference.domain.decode import Status, decode
from inference.domain.detections import Detections
from inference.domain.letterbox import Image
from inference.domain.microbatch import MicroBatch
from inference.serving.threads import have_ended

_HUNG_SECONDS: Final = 60.0  # an engine that takes longer over one batch will not come back
_NEWS: Final = 0.2  # what the last batch weighs in the usual time of one
_NO_PIXELS: Final[Image] = np.zeros((1, 1, 3), np.uint8)

_log = get_logger(__name__)


class Stages:
    """start() and close(); in between put() what came in, and be told by `settle` how it ended."""

    def __init__(
        self,
        settings: ApiSettings,
        models: Models,
        metrics: Metrics,
        *,
        settle: Callable[[Sequence[End]], None],
        late: Callable[[], Problem],
    ) -> None:
        """`settle` is called by the threads, with all ends of a batch at a time; `late()` is the answer to who waits in vain."""
        self.failure: PipelineError | None = None  # the process must end with it
        self._models = models
        self._settle = settle
        self._late = late
        self._batch_images = metrics.batch_images
        # Looked up once: `labels` costs more than `observe`.
        self._decode_seconds, self._infer_seconds = (
            metrics.stage_seconds.labels(stage) for stage in ("decode", "infer")
        )
        self._max_pixels = settings.max_pixels
        self._seconds = settings.request_seconds
        self._busy_since: float | None = None
        self._usual_seconds = 0.0  # of a batch in the engine; the engine's thread alone changes it
        self._to_decode: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._to_infer: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._to_draw: queue.SimpleQueue[tuple[Job, Answer] | None] = queue.SimpleQueue()
        self._pixels = Pixels()
        self._threads = [
            threading.Thread(target=copy_context().run, args=(self._guarded, run), name=name, daemon=True)
            for name, run in (("decode", self._run_decode), ("infer", self._run_infer), ("draw", self._run_draw))
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def put(self, job: Job, *, needs_pixels: bool) -> None:
        """Begins with an image."""
        (self._to_decode if needs_pixels else self._to_infer).put(job)

    def ended_with(self) -> PipelineError | None:
        """Why this process should end, when it should."""
        if self._busy_since is not None and time.monotonic() - self._busy_since > _HUNG_SECONDS:
            return Transient(f"the engine has not answered for {_HUNG_SECONDS:g} s; starting again", is_public=True)
        return self.failure

    def close(self, *, within_seconds: float) -> bool:
        """Ends the threads. False when one is still busy after that time."""
        self._to_decode.put(None)
        self._to_infer.put(None)
        self._to_draw.put(None)
        self._pixels.close()
        return have_ended(self._threads, within_seconds=within_seconds)

    def _finish(self, *ends: End) -> None:
        for job, _ in ends:
            job.data, job.image = b"", None
            self._pixels.release(job.pixel_bytes)
        self._settle(ends)

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

    def _comes_too_late(self, job: Job) -> bool:
        """Whether its answer would miss the deadline. Begun all the same, it would make the next one miss its own, and
        an overloaded service would work for nobody. An engine that is as slow as the deadline has to try.
        """
        left = job.began + self._seconds - time.perf_counter()
        return left < self._usual_seconds < self._seconds / 2

    def _take(self, batch: MicroBatch[Job], size: int) -> list[Job] | None:
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

    def _score(self, jobs: Sequence[Job], version: str | None) -> None:
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
        self._batch_images.observe(len(jobs))
        ends: list[End] = []
        for job, detections in zip(jobs, found, strict=True):
            queued = begin - job.began - job.decode_seconds
            answer = self._answer(job, detections, model, queued=queued, seconds=seconds)
            if job.is_annotated:
                self._to_draw.put((job, answer))
            else:
                ends.append((job, answer))
        if ends:
            self._finish(*ends)

    def _answer(self, job: Job, detections: Detections, model: Served, *, queued: float, seconds: float) -> Answer:
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

    def _image(self, job: Job, model: Served) -> Image:
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


def _batch_of(plan: Plan) -> MicroBatch[Job]:
    return MicroBatch(size=plan.size, age_seconds=plan.age_seconds, clock=time.monotonic)


def _above(detections: Detections, confidence: float) -> Detections:
    kept = detections.confidences >= confidence
    return Detections(
        labels=tuple(label for label, is_kept in zip(detections.labels, kept, strict=True) if is_kept),
        confidences=detections.confidences[kept],
        boxes=detections.boxes[kept],
    )
