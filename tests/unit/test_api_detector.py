"""The detector: what is accepted gets an answer, and what cannot be is refused at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg

from contracts.errors import PipelineError, Transient
from contracts.settings import ApiSettings
from inference.api.detector import Detector
from inference.api.metrics import Metrics
from inference.api.problems import Problem
from inference.api.serving import FollowedModels, OneByOne
from inference.domain.batching import BatchPlan
from inference.domain.detections import Detections
from inference.engines.fake_engine import FakeEngine
from inference.registry.model_version import ModelVersion
from inference.serving.served_models import ServedModel
from tests.support.images import jpeg, png

FOUND = Detections(
    labels=("short", "open"),
    confidences=np.array([0.9, 0.4], np.float32),
    boxes=np.array([[1, 2, 30, 40], [5, 6, 7, 8]], np.float32),
)


def a_version(number: str = "7") -> ModelVersion:
    return ModelVersion(name="pcb-defects", version=number, digest="d" * 64, folder=None, licence="none")


class Held(FakeEngine):
    """Waits at the gate, and keeps what it saw."""

    def __init__(self, *, needs_pixels: bool = False) -> None:
        super().__init__(detections=FOUND, needs_pixels=needs_pixels)
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[list[tuple[int, ...]]] = []

    def infer(self, images: Sequence[np.ndarray]) -> list[Detections]:
        self.gate.wait(10)
        self.batches.append([image.shape for image in images])
        return super().infer(images)


class Fussy(Held):
    """Fails for images that are 13 pixels wide; when broken, for all."""

    is_broken = False

    def infer(self, images: Sequence[np.ndarray]) -> list[Detections]:
        if self.is_broken or any(image.shape[1] == 13 for image in images):
            raise RuntimeError("the engine's own words")
        return super().infer(images)

    def warm_up(self) -> None:
        if self.is_broken:
            raise RuntimeError("broken")


@dataclass
class Loaded:
    """Models that are there at once."""

    engine: FakeEngine
    plan: object = OneByOne()
    failure: PipelineError | None = None
    number: str = "7"

    @property
    def current(self) -> ServedModel | None:
        return ServedModel(version=a_version(self.number), engine=self.engine)

    def start(self) -> None: ...
    def close(self) -> None: ...

    def find(self, version: str | None) -> ServedModel:
        assert self.current is not None
        if version not in {None, "champion", self.number}:
            raise Problem(404, "version_not_loaded", "no")
        return self.current

    @contextmanager
    def lease(self, version: str | None) -> Iterator[ServedModel]:
        yield self.find(version)


@asynccontextmanager
async def running(models: Loaded, **settings):
    detector = Detector(ApiSettings(**settings), models, Metrics())
    detector.start()
    try:
        yield detector
    finally:
        if isinstance(models.engine, Held):
            models.engine.gate.set()
        assert await asyncio.to_thread(detector.close, within_seconds=5)


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - another thread brings it about
            await asyncio.sleep(0.005)


def test_an_image_gets_its_detections_and_the_model_that_found_them():
    async def story():
        async with running(Loaded(Held(needs_pixels=True))) as detector:
            return await detector.detect(jpeg(64, 48))

    answer = asyncio.run(story())
    assert (answer.width, answer.height, answer.version.version, answer.role) == (64, 48, "7", "champion")
    assert answer.detections.labels == ("short", "open")
    assert answer.decode_seconds > 0
    assert answer.annotated is None


def test_detections_below_the_asked_confidence_are_left_out():
    async def story():
        async with running(Loaded(Held())) as detector:
            return await detector.detect(jpeg(), confidence=0.5)

    found = asyncio.run(story()).detections
    assert (found.labels, found.boxes.tolist()) == (("short",), [[1, 2, 30, 40]])


def test_an_annotated_image_comes_back_with_boxes_in_its_own_size():
    async def story():
        async with running(Loaded(Held())) as detector:
            return await detector.detect(jpeg(64, 48, shade=90), is_annotated=True)

    answer = asyncio.run(story())
    pixels = simplejpeg.decode_jpeg(answer.annotated)
    assert pixels.shape == (48, 64, 3)
    assert np.abs(pixels.astype(int) - 90).max() > 50, "nothing was drawn"


def test_who_finds_no_place_is_refused_at_once_and_gets_one_when_another_is_done():
    engine = Held()

    async def story():
        async with running(Loaded(engine), queued_requests=2) as detector:
            engine.gate.clear()
            waiting = [asyncio.create_task(detector.detect(jpeg())) for _ in range(2)]
            await asyncio.sleep(0.02)
            with pytest.raises(Problem) as refused:
                await detector.detect(jpeg())
            engine.gate.set()
            answers = await asyncio.gather(*waiting)
            again = await detector.detect(jpeg())
            return refused.value, [*answers, again]

    refused, answers = asyncio.run(story())
    assert (refused.status, refused.code, refused.headers) == (503, "queue_full", {"Retry-After": "1"})
    assert len(answers) == 3


def test_who_waits_too_long_gets_503_and_the_engine_never_sees_the_image():
    engine = Held(needs_pixels=True)

    async def story():
        async with running(Loaded(engine), request_seconds=0.2) as detector:
            engine.gate.clear()
            first = asyncio.create_task(detector.detect(jpeg(20, 20)))
            await asyncio.sleep(0.05)
            second = asyncio.create_task(detector.detect(jpeg(30, 30)))
            results = await asyncio.gather(first, second, return_exceptions=True)
            engine.gate.set()
            await until(lambda: detector._pending == 0)
            return results

    results = asyncio.run(story())
    assert [result.code for result in results] == ["deadline", "deadline"]
    assert engine.batches == [[(20, 20, 3)]], "the second was not begun when its time was over"


def test_the_event_loop_is_never_kept_waiting_by_the_engine():
    engine = Held(needs_pixels=True)

    async def story():
        async with running(Loaded(engine)) as detector:
            engine.gate.clear()
            task = asyncio.create_task(detector.detect(jpeg()))
            longest, last = 0.0, time.perf_counter()
            for _ in range(20):
                await asyncio.sleep(0.01)
                now = time.perf_counter()
                longest, last = max(longest, now - last), now
            engine.gate.set()
            await task
            return longest

    assert asyncio.run(story()) < 0.15


def test_images_that_wait_together_go_to_the_engine_together():
    engine = Held()

    class Four:
        size, age_seconds = 4, 0.2

    async def story():
        async with running(Loaded(engine, plan=Four())) as detector:
            return await asyncio.gather(*(detector.detect(jpeg()) for _ in range(4)))

    assert len(asyncio.run(story())) == 4
    assert [len(batch) for batch in engine.batches] == [4]


def test_what_waits_for_the_engine_goes_together_without_waiting_for_more_and_the_loop_is_woken_once():
    engine, woken = Held(), []

    class Four:
        size, age_seconds = 4, 0.0

    async def story():
        async with running(Loaded(engine, plan=Four())) as detector:
            settle = detector._settle
            detector._settle = lambda ends: (woken.append(len(ends)), settle(ends))
            engine.gate.clear()
            first = asyncio.create_task(detector.detect(jpeg()))
            await asyncio.sleep(0.05)
            others = [asyncio.create_task(detector.detect(jpeg())) for _ in range(5)]
            await asyncio.sleep(0.05)
            engine.gate.set()
            return await asyncio.gather(first, *others)

    assert len(asyncio.run(story())) == 6
    assert [len(batch) for batch in engine.batches] == [1, 4, 1]
    assert woken == [1, 4, 1]


def test_a_jpeg_with_more_scans_than_are_decoded_is_refused_by_the_decoder():
    engine = Held(needs_pixels=True)
    plain = jpeg()
    scan = plain[plain.index(b"\xff\xda") : -2]

    async def story():
        async with running(Loaded(engine)) as detector:
            with pytest.raises(Problem) as refused:
                await detector.detect(plain[:-2] + scan * 3 + plain[-2:])
            return refused.value

    refused = asyncio.run(story())
    assert (refused.status, refused.code, engine.batches) == (415, "unsupported_image", [])


def test_one_image_that_the_engine_cannot_run_spoils_no_other_of_its_batch():
    engine = Fussy(needs_pixels=True)

    class Three:
        size, age_seconds = 3, 0.5

    async def story():
        async with running(Loaded(engine, plan=Three())) as detector:
            images = (jpeg(20, 20), jpeg(13, 20), jpeg(30, 20))
            return await asyncio.gather(*map(detector.detect, images), return_exceptions=True), detector.ended_with()

    (good, bad, other), failure = asyncio.run(story())
    assert (good.width, other.width) == (20, 30)
    assert (bad.status, bad.code) == (415, "unsupported_image")
    assert failure is None


def test_an_engine_that_fails_on_a_plain_image_too_ends_the_process():
    engine = Fussy(needs_pixels=True)

    async def story():
        async with running(Loaded(engine)) as detector:
            engine.is_broken = True
            with pytest.raises(Transient):
                await detector.detect(jpeg())
            return detector.ended_with(), detector.is_ready

    failure, is_ready = asyncio.run(story())
    assert isinstance(failure, Transient)
    assert not is_ready


def test_a_thread_that_dies_ends_the_process_rather_than_looking_well():
    class Lost(Loaded):
        @contextmanager
        def lease(self, version):
            raise SystemExit
            yield

    async def story():
        async with running(Lost(Held()), request_seconds=0.2) as detector:
            with pytest.raises(Problem) as problem:
                await detector.detect(jpeg())
            return problem.value.code, detector.ended_with()

    code, failure = asyncio.run(story())
    assert code == "deadline"
    assert isinstance(failure, Transient)


def test_a_model_swapped_in_that_needs_pixels_gets_them():
    blind, seeing = Held(), Held(needs_pixels=True)
    models = Loaded(blind)

    async def story():
        async with running(models) as detector:
            blind.gate.clear()
            tasks = [asyncio.create_task(detector.detect(jpeg(50, 40))) for _ in range(2)]
            await asyncio.sleep(0.05)
            models.engine, models.number = seeing, "8"
            blind.gate.set()
            return await asyncio.gather(*tasks)

    first, second = asyncio.run(story())
    assert (first.version.version, second.version.version) == ("7", "8")
    assert seeing.batches == [[(40, 50, 3)]]


def test_a_png_and_a_version_that_is_not_loaded():
    async def story():
        async with running(Loaded(Held(needs_pixels=True))) as detector:
            answer = await detector.detect(png(64, 48), version="7")
            with pytest.raises(Problem) as refused:
                await detector.detect(png(), version="9")
            return answer, refused.value, detector._pending

    answer, refused, pending = asyncio.run(story())
    assert (answer.width, answer.height) == (64, 48)
    assert (refused.status, refused.code, pending) == (404, "version_not_loaded", 0)


class Follower:
    """As inference.serving's, in memory."""

    def __init__(self) -> None:
        self.current = ServedModel(version=a_version("7"), engine=FakeEngine())
        self.warmed = ServedModel(version=a_version("8"), engine=FakeEngine(), role="challenger")

    def start(self) -> None: ...
    def wait(self, stopping):
        return self.current

    def close(self) -> None: ...

    @contextmanager
    def lease(self, which=None):
        for model in (self.current, self.warmed):
            if model is not None and which in {None, model.role, model.version.version}:
                yield model
                return
        raise LookupError(which)


@pytest.mark.parametrize(
    ("asked", "got"), [(None, "7"), ("champion", "7"), ("7", "7"), ("challenger", "8"), ("8", "8")]
)
def test_a_follower_gives_the_version_that_is_asked_for(asked, got):
    models = FollowedModels(Follower())
    assert models.find(asked).version.version == got
    with models.lease(asked) as model:
        assert model.version.version == got


def test_a_follower_says_which_versions_are_loaded_and_when_none_is():
    follower = Follower()
    models = FollowedModels(follower)
    with pytest.raises(Problem, match="champion 7, challenger 8"), models.lease("12"):
        pass
    follower.current = follower.warmed = None
    with pytest.raises(Transient, match="not loaded yet"):
        models.find(None)
    with pytest.raises(Transient, match="not loaded yet"), models.lease(None):
        pass


def test_what_a_follower_cannot_wait_for_ends_the_process():
    class Hopeless(Follower):
        def wait(self, stopping):
            raise Transient("gone")

    models = FollowedModels(Hopeless())
    models.start()
    models._thread.join(5)
    assert str(models.failure) == "gone"


def test_only_what_was_measured_is_batched() -> None:
    """The plan of a model that nobody timed would have each request wait for seven others."""
    unmeasured = ServedModel(version=a_version("7"), engine=FakeEngine())
    measured = replace(unmeasured, plan=BatchPlan(size=4, age_seconds=0.01), sweep={1: 0.1, 4: 0.2})
    assert unmeasured.plan.size > 1
    for model, size in ((unmeasured, 1), (measured, 4)):
        follower = SimpleNamespace(current=model, warmed=None)
        assert FollowedModels(follower).plan.size == size  # type: ignore[arg-type]
