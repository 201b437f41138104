"""What the benchmark makes of what it measured: rates, percentiles, goodput, turns."""

from __future__ import annotations

import pytest

from tests.bench.harness import in_turns, paired
from tests.bench.load import Load, Reply


def replies(count: int, *, seconds: float, status: int = 200, each: float = 0.1) -> tuple[Reply, ...]:
    return tuple(Reply(began=number * each, seconds=seconds, status=status) for number in range(count))


def test_refused_requests_count_neither_as_answers_nor_in_their_latency() -> None:
    load = Load(seconds=10, replies=replies(100, seconds=0.2) + replies(200, seconds=0.001, status=503))
    assert load.rate == pytest.approx(100 / 10.1, rel=0.01)
    assert load.percentile(0.5) == 0.2
    assert load.statuses == {200: 100, 503: 200}


def test_an_answer_that_comes_late_is_no_goodput() -> None:
    load = Load(seconds=10, replies=replies(50, seconds=0.5) + replies(50, seconds=5.0))
    assert load.goodput == pytest.approx(5.0)
    assert load.rate > load.goodput


def test_the_percentile_is_of_the_slowest() -> None:
    slow = tuple(Reply(began=0.0, seconds=number / 1000, status=200) for number in range(1000))
    assert Load(seconds=1, replies=slow).percentile(0.99) == 0.99


def test_sides_take_turns_forwards_and_backwards() -> None:
    order: list[str] = []
    sides = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}
    found = in_turns(sides, rounds=3, tell=lambda number, figures: None)
    assert "".join(order) == "abccbaabc"
    assert found == {name: [1.0] * 3 for name in "abc"}


def test_ratios_pair_what_was_measured_in_the_same_round() -> None:
    ours, reference = iter([2.0, 3.0, 8.0]), iter([1.0, 2.0, 4.0])
    found = paired(lambda: next(ours), lambda: next(reference), rounds=3, announce=lambda line: None)
    assert found.ratios == (2.0, 1.5, 2.0)
    assert found.median == 2.0
