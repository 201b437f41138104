"""Steps that need one another, run as early as they may, side by side.

postgres ──► databases ──► registry, mlflow
kafka ──► topics                              a failure: nothing new begins, what runs ends, then it is raised
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One piece of work and the names of those that must be done before."""

    name: str
    run: Callable[[], None]
    after: tuple[str, ...] = ()


def run_steps(steps: Sequence[Step], *, done: Callable[[str], None] = lambda _name: None) -> None:
    """Runs every step once, after all that it needs. `done` is told each name, from this thread.

    Raises:
        ValueError: a need does not exist, or steps wait for each other in a ring.
        Exception: of the first step that failed, when all begun ones have ended.
    """
    _refuse_impossible(steps)
    waiting = {step.name: step for step in steps}
    finished: set[str] = set()
    running: dict[Future[None], str] = {}
    failure: BaseException | None = None
    with ThreadPoolExecutor(max_workers=max(1, len(steps))) as pool:
        while running or (waiting and failure is None):
            if failure is None:
                for step in ready(waiting.values(), finished):
                    running[pool.submit(step.run)] = step.name
                    del waiting[step.name]
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                name = running.pop(future)
                error = future.exception()
                if error is None:
                    finished.add(name)
                    done(name)
                failure = failure or error
    if failure is not None:
        raise failure


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
