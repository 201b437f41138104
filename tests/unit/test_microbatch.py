from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.domain.microbatch import MicroBatch


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def a_microbatch(clock: FakeClock, *, size: int = 3, age_seconds: float = 0.5) -> MicroBatch[int]:
    return MicroBatch(size=size, age_seconds=age_seconds, clock=clock)


def test_nothing_waiting_is_never_due() -> None:
    batch = a_microbatch(FakeClock())
    assert batch.due_in() is None
    assert batch.take() == []


def test_a_full_batch_is_due_at_once() -> None:
    batch = a_microbatch(FakeClock())
    batch.add([1, 2])
    assert batch.take() == []
    batch.add([3, 4])
    assert batch.due_in() == 0.0
    assert batch.take() == [1, 2, 3]
    assert batch.take() == []


def test_an_old_item_makes_its_batch_due() -> None:
    clock = FakeClock()
    batch = a_microbatch(clock)
    batch.add([1])
    clock.now += 0.3
    batch.add([2])
    assert batch.due_in() == pytest.approx(0.2)
    clock.now += 0.2
    assert batch.take() == [1, 2]


def test_without_an_age_nothing_waits() -> None:
    batch = a_microbatch(FakeClock(), age_seconds=0)
    batch.add([1])
    assert batch.take() == [1]


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 7), st.floats(0, 1)), max_size=30),
)
def test_every_item_leaves_once_in_order_and_none_waits_longer_than_its_age(
    size: int, arrivals: list[tuple[int, float]]
) -> None:
    clock = FakeClock()
    batch = a_microbatch(clock, size=size)
    arrived: dict[int, float] = {}
    taken: list[int] = []

    def take_all() -> None:
        while items := batch.take():
            assert len(items) <= size
            assert all(clock.now - arrived[item] <= 0.5 + 1e-9 for item in items)
            taken.extend(items)

    for count, pause in arrivals:
        items = range(len(arrived), len(arrived) + count)
        arrived.update(dict.fromkeys(items, clock.now))
        batch.add(items)
        take_all()
        end = clock.now + pause
        while (due := batch.due_in()) is not None and clock.now + due <= end:
            clock.now += due + 1e-10
            take_all()
        clock.now = max(clock.now, end)
    clock.now += 10
    while items := batch.take():
        taken.extend(items)
    assert taken == list(arrived)
