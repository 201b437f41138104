"""Which batch size is worth its wait, and how it is measured within a bounded time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.domain.batching import AGE_SHARE, LONGEST_AGE_SECONDS, NEAR_THE_BEST, choose
from inference.domain.detections import NOTHING, Detections
from inference.domain.letterbox import Image
from inference.domain.microbatch import MicroBatch
from inference.engines.fake_engine import FakeEngine
from inference.serving.sweep import ROUNDS, SIZES, measure
from tests.support.served import Clock

IMAGE = np.zeros((1, 1, 3), np.uint8)


class Slow(FakeEngine):
    """Takes its time on the test's clock: a start and a time per image, in seconds."""

    def __init__(self, clock: Clock, *, start: float, each: float, first: float = 0.0) -> None:
        super().__init__(needs_pixels=True)
        self._clock, self._start, self._each, self._first = clock, start, each, first
        self.calls: list[int] = []

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        extra = self._first if len(images) not in self.calls else 0.0
        self.calls.append(len(images))
        self._clock.now += self._start + extra + self._each * len(images)
        return [NOTHING] * len(images)


@pytest.mark.parametrize(
    ("seconds", "size"),
    [
        ({1: 0.020, 2: 0.040, 4: 0.080, 8: 0.160}, 1),  # nothing gained
        ({1: 0.020, 2: 0.0392, 4: 0.078, 8: 0.158}, 1),  # a gain below 3 %
        ({1: 0.020, 2: 0.030, 4: 0.050, 8: 0.099}, 4),
        ({1: 0.020, 2: 0.022, 4: 0.030, 8: 0.040}, 8),
        ({1: 0.5}, 1),
        ({1: 0.0, 2: 0.0}, 2),
    ],
)
def test_the_smallest_size_near_the_best_throughput_is_chosen(seconds: dict[int, float], size: int) -> None:
    assert choose(seconds).size == size


def test_a_frame_waits_for_a_share_of_what_its_batch_takes_and_never_long() -> None:
    assert choose({1: 0.020, 2: 0.022}).age_seconds == pytest.approx(AGE_SHARE * 0.022)
    assert choose({1: 1.0, 8: 2.0}).age_seconds == LONGEST_AGE_SECONDS
    assert choose({1: 0.02, 2: 0.04}).age_seconds == 0.0


def test_without_a_measurement_there_is_no_choice() -> None:
    with pytest.raises(ValueError, match="measured"):
        choose({})


@given(st.dictionaries(st.sampled_from(SIZES), st.floats(1e-4, 10), min_size=1))
def test_no_smaller_size_is_near_the_best(seconds: dict[int, float]) -> None:
    plan = choose(seconds)
    rates = {size: size / taken for size, taken in seconds.items()}
    best = max(rates.values())
    assert rates[plan.size] >= NEAR_THE_BEST * best
    assert all(rate < NEAR_THE_BEST * best for size, rate in rates.items() if size < plan.size)


def test_every_size_is_measured_several_times_and_the_quickest_call_counts() -> None:
    clock = Clock()
    engine = Slow(clock, start=0.001, each=0.002, first=0.02)
    found = measure(engine, [IMAGE], clock=clock)
    assert found == pytest.approx({size: 0.001 + 0.002 * size for size in SIZES})
    assert engine.calls == [*SIZES] * ROUNDS


@pytest.mark.parametrize("each", [0.01, 0.03, 0.1, 0.4, 3.0])
def test_the_measurement_takes_no_longer_than_it_may_but_for_its_first_call(each: float) -> None:
    clock = Clock()
    engine = Slow(clock, start=0.0, each=each)
    found = measure(engine, [IMAGE, IMAGE], seconds=0.7, clock=clock)
    assert 1 in found
    assert clock.now <= max(0.7, each)
    assert choose(found).size == 1


def test_a_batch_in_waiting_follows_a_new_plan_in_order() -> None:
    clock = Clock()
    batch: MicroBatch[int] = MicroBatch(size=8, age_seconds=10, clock=clock)
    batch.add(range(5))
    assert batch.take() == []
    batch.plan(size=2, age_seconds=0.5)
    assert (batch.take(), batch.take(), batch.take()) == ([0, 1], [2, 3], [])
    clock.now += 0.5
    assert batch.take() == [4]
