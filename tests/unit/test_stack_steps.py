"""Steps run as early as they may, and a failure ends in order."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from contracts.errors import Misconfigured, Transient
from sightline.stack.steps import Step, patiently, ready, run_steps


def test_a_step_begins_only_after_all_that_it_needs():
    order: list[str] = []
    names = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    run_steps(
        [Step(name=name, run=lambda name=name: order.append(name), after=names[name]) for name in reversed(names)]
    )
    assert (order[0], order[-1], sorted(order)) == ("a", "d", ["a", "b", "c", "d"])


def test_steps_without_needs_run_side_by_side():
    together = threading.Barrier(3, timeout=10)
    run_steps([Step(name=str(n), run=lambda: together.wait() and None) for n in range(3)])
    assert together.n_waiting == 0


def test_after_a_failure_nothing_new_begins_and_what_runs_ends_first():
    order: list[str] = []
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise OSError("no")

    def slow() -> None:
        failed.wait(10)
        order.append("slow")

    steps = [
        Step(name="fail", run=fail),
        Step(name="slow", run=slow),
        Step(name="next", run=lambda: order.append("next"), after=("slow",)),
    ]
    with pytest.raises(OSError, match="no"):
        run_steps(steps)
    assert order == ["slow"]


def test_a_failure_tells_what_waits_to_stop():
    stopping = threading.Event()

    def fail() -> None:
        raise OSError("no")

    seen: list[bool] = []
    steps = [Step(name="fail", run=fail), Step(name="wait", run=lambda: seen.append(stopping.wait(10)))]
    with pytest.raises(OSError, match="no"):
        run_steps(steps, stopping=stopping)
    assert seen == [True]


@pytest.mark.parametrize("after", [("b",), ("nobody",)])
def test_steps_that_can_never_begin_are_refused_before_any_runs(after: tuple[str, ...]):
    ran: list[str] = []
    steps = [
        Step(name="free", run=lambda: ran.append("free")),
        Step(name="a", run=lambda: ran.append("a"), after=after),
        Step(name="b", run=lambda: ran.append("b"), after=("a",)),
    ]
    with pytest.raises(ValueError, match="a, b"):
        run_steps(steps)
    assert ran == []


def test_ready_names_what_may_begin():
    a, b = Step(name="a", run=int), Step(name="b", run=int, after=("a",))  # type: ignore[arg-type]
    assert ready([a, b], set()) == [a]
    assert ready([b], {"a"}) == [b]


def failing(*errors: Exception) -> tuple[list[int], Callable[[], None]]:
    """How often it was run, and what fails so often before it does not."""
    left, runs = list(errors), []

    def run() -> None:
        runs.append(1)
        if left:
            raise left.pop(0)

    return runs, run


def test_what_misses_one_question_is_asked_again():
    runs, run = failing(Transient("timed out"), Transient("timed out"))
    patiently(run, stopping=threading.Event(), pause_seconds=0)
    assert len(runs) == 3


def test_what_stays_away_and_what_is_wrong_are_raised():
    with pytest.raises(Transient, match="away"):
        patiently(failing(*[Transient("away")] * 9)[1], stopping=threading.Event(), seconds=-1, pause_seconds=0)
    runs, run = failing(Misconfigured("no such setting"))
    with pytest.raises(Misconfigured):
        patiently(run, stopping=threading.Event())
    assert len(runs) == 1


def test_a_step_that_is_told_to_stop_is_patient_no_longer():
    stopping = threading.Event()
    stopping.set()
    runs, run = failing(*[Transient("away")] * 9)
    with pytest.raises(Transient):
        patiently(run, stopping=stopping)
    assert len(runs) == 1
