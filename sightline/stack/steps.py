"""Steps that need one another, run as early as they may, side by side.

    postgres ──► databases ──► registry, mlflow
    kafka ──► topics

After a failure nothing new begins, what waits is told to stop, and then it is raised.

patiently(configure, stopping=stopping)     again while it says Transient, for two minutes
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.errors import Transient

PATIENCE_SECONDS: Final = 120.0
_PAUSE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One piece of work and the names of those that must be done before."""

    name: str
    run: Callable[[], None]
    after: tuple[str, ...] = ()


def run_steps(steps: Sequence[Step], *, stopping: threading.Event | None = None) -> None:
    """Runs every step once, after all that it needs.

    Args:
        steps: in any order.
        stopping: set when one has failed or Ctrl-C was pressed; a step that waits for something looks at it.

    Raises:
        ValueError: a need does not exist, or steps wait for each other in a ring.
        Exception: of the first step that failed, when all begun ones have ended.
    """
    _refuse_impossible(steps)
    stopping = stopping or threading.Event()
    waiting = {step.name: step for step in steps}
    finished: set[str] = set()
    running = 0
    failure: BaseException | None = None
    ended: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()
    try:
        while running or (waiting and failure is None):
            if failure is None:
                for step in ready(waiting.values(), finished):
                    threading.Thread(target=_run, args=(step, ended), daemon=True, name=step.name).start()
                    del waiting[step.name]
                    running += 1
            name, error = ended.get()
            running -= 1
            finished.add(name)
            if error is not None:
                stopping.set()
                failure = failure or error
    finally:
        stopping.set()
    if failure is not None:
        raise failure


def _run(step: Step, ended: queue.SimpleQueue[tuple[str, BaseException | None]]) -> None:
    try:
        step.run()
    except BaseException as error:  # noqa: BLE001 - raised where the steps are waited for
        ended.put((step.name, error))
    else:
        ended.put((step.name, None))


def ready(waiting: Collection[Step], finished: Collection[str]) -> list[Step]:
    """Those of the waiting steps that may begin."""
    return [step for step in waiting if all(need in finished for need in step.after)]


def _refuse_impossible(steps: Sequence[Step]) -> None:
    reachable: set[str] = set()
    rest = list(steps)
    while ahead := ready(rest, reachable):
        reachable |= {step.name for step in ahead}
        rest = [step for step in rest if step.name not in reachable]
    if rest:
        raise ValueError(f"steps that can never begin: {', '.join(step.name for step in rest)}")


def patiently(
    run: Callable[[], None],
    *,
    stopping: threading.Event,
    seconds: float = PATIENCE_SECONDS,
    pause_seconds: float = _PAUSE_SECONDS,
) -> None:
    """Runs what may be run again until it is no longer Transient: a service that starts may miss one question.

    Raises:
        Transient: it still was when the time was up, or when `stopping` was set.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return run()
        except Transient:
            if time.monotonic() > deadline or stopping.wait(pause_seconds):
                raise
