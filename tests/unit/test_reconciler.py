from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from contracts.errors import Misconfigured, Transient
from contracts.settings import Settings
from inference.api.parts import Parts
from inference.api.reconciler import Reconciler

PUT_BACK = ["alias champion put back to version 1"]


def rounds(*answers: list[str] | Exception) -> tuple[Callable[[Settings], list[str]], threading.Event]:
    """A reconcile that answers in turn, and what is set after its last answer was taken."""
    left = list(answers)
    over = threading.Event()

    def reconcile(_settings: Settings) -> list[str]:
        if not left:
            over.set()
            return []
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return reconcile, over


def logged(*answers: list[str] | Exception) -> list[tuple[str, str]]:
    reconcile, over = rounds(*answers)
    reconciler = Reconciler(Settings(), seconds=0.01, reconcile=reconcile)
    with structlog.testing.capture_logs() as events:
        reconciler.start()
        assert over.wait(10)
        reconciler.close()
    return [(event["event"], event["log_level"]) for event in events]


def test_nothing_to_do_is_not_worth_a_word() -> None:
    assert logged([], [], []) == []


def test_a_change_is_told_and_the_same_words_again_are_not() -> None:
    assert logged(PUT_BACK, PUT_BACK, PUT_BACK) == [("champion_reconciled", "warning")]
    assert logged(PUT_BACK, [], PUT_BACK) == [("champion_reconciled", "warning")] * 2


def test_an_outage_is_told_once_and_its_end_once() -> None:
    away = Transient("MLflow is away")
    assert logged(away, away, away, [], PUT_BACK) == [
        ("reconciler_waits", "warning"),
        ("reconciler_recovered", "info"),
        ("champion_reconciled", "warning"),
    ]


@pytest.mark.parametrize("error", [Misconfigured("a table is missing"), RuntimeError("a defect")])
def test_no_error_ends_the_thread(error: Exception) -> None:
    assert logged(error, error, PUT_BACK) == [
        ("reconciler_waits", "error"),
        ("reconciler_recovered", "info"),
        ("champion_reconciled", "warning"),
    ]


def test_it_looks_at_once_and_again_and_again_until_it_is_closed() -> None:
    looks = threading.Semaphore(0)

    def reconcile(_settings: Settings) -> list[str]:
        looks.release()
        return []

    reconciler = Reconciler(Settings(), seconds=0.01, reconcile=reconcile)
    reconciler.start()
    for _ in range(3):
        assert looks.acquire(timeout=10)
    reconciler.close()
    while looks.acquire(blocking=False):
        pass
    assert not looks.acquire(timeout=0.1)
    waiting = Reconciler(Settings(), seconds=60, reconcile=reconcile)
    waiting.start()
    assert looks.acquire(timeout=10)
    waiting.close()  # does not sit out its pause


def test_a_service_that_ends_ends_its_reconciler() -> None:
    class Quiet:
        def start(self) -> None: ...

        def close(self, **_: float) -> None: ...

    class QuietIngest(Quiet):
        async def close(self, **_: float) -> None: ...

    looks = threading.Semaphore(0)

    def reconcile(_settings: Settings) -> list[str]:
        looks.release()
        return []

    nothing: Any = None
    given: dict[str, Any] = dict.fromkeys(Parts.__dataclass_fields__, nothing)
    given |= {"detector": Quiet(), "ingest": QuietIngest(), "database": Quiet()}
    parts = Parts(**given | {"reconciler": Reconciler(Settings(), seconds=60, reconcile=reconcile)})

    async def live_and_end() -> None:
        await parts.start()
        assert await asyncio.to_thread(looks.acquire, timeout=10)
        await parts.close()

    asyncio.run(live_and_end())
    assert not any(thread.name == "reconciler" for thread in threading.enumerate())
