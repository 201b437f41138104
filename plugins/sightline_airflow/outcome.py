"""What a job's exit code means to Airflow, and what a person should do next. Pure.

0           done
65, 78      failed, and not tried again: the same command would say the same
99          skipped, and what comes after with it
75, others  failed, and tried again (75: a neighbour is away; 137: killed; 1: a fault of ours)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

BAD_DATA: Final = 65
TRY_AGAIN: Final = 75
MISCONFIGURED: Final = 78
HOLD: Final = 99

FINAL: Final = frozenset({BAD_DATA, MISCONFIGURED})
MOST_FRAMES: Final = 20  # named in a message; the result holds all of them

_NEXT: Final[Mapping[int, str]] = {
    BAD_DATA: "Its data is bad, and another try would end the same: look at what is named above, mend it, clear the task.",
    TRY_AGAIN: "Something it needs is away: Airflow tries again. If it stays so, `sightline status` says who is missing.",
    MISCONFIGURED: "A setting, a right or a version is wrong: mend what the last lines name, then clear the task.",
    HOLD: "The answer is hold: nothing is changed, and what comes after is skipped.",
    137: "It was killed (memory, or a node that went): Airflow tries again, and what is done stays done.",
    143: "It was told to stop. Clear the task to run it again: what is done stays done.",
}
_OF_JOB: Final[Mapping[tuple[str, int], str]] = {
    (
        "connectors",
        1,
    ): "A sink does not run, and this is asked again a little later, for the watchdog restarts what fails. "
    "If it stays so: mend the cause, then `sightline connectors restart NAME`; `sightline connectors apply` makes what is "
    "missing and lets go on what was paused.",
    (
        "watch",
        HOLD,
    ): "The version is champion no more: it was rolled back, or somebody made another one champion. The result says which "
    "(`outcome`) and why (`causes`); `sightline model history` has it too.",
}
_OTHERWISE: Final = "That is a fault of the job itself: its last lines say where. Airflow tries again."


class Outcome(StrEnum):
    """What becomes of the task."""

    DONE = "done"
    FAILED = "failed"  # for good
    RETRIED = "retried"
    SKIPPED = "skipped"


def outcome(exit_code: int | None) -> Outcome:
    """What becomes of a task whose job ended so. None: nobody knows how it ended."""
    if exit_code == 0:
        return Outcome.DONE
    if exit_code == HOLD:
        return Outcome.SKIPPED
    return Outcome.FAILED if exit_code in FINAL else Outcome.RETRIED


def frames_named(result: Any) -> list[str]:
    """The frames that a result complains of: lost images (score), rows that break their contract (check)."""
    if not isinstance(result, Mapping):
        return []
    lost, rows = result.get("missing_objects"), result.get("rows")
    found = [str(frame) for frame in lost] if isinstance(lost, list) else []
    if isinstance(rows, list):
        found += [str(row["key"][0]) for row in rows if isinstance(row, Mapping) and row.get("key")]  # (frame_id, …)
    return list(dict.fromkeys(found))


def words(job: str, exit_code: int | None, *, result: Any = None, tail: Iterable[str] = ()) -> str:
    """What happened and what to do, for the log, the failure message and whoever reads them at night."""
    ended = "ended nobody knows how" if exit_code is None else f"ended with exit code {exit_code}"
    lines = [f"{job} {ended}.", *(f"  {line}" for line in tail if line.strip())]
    frames = frames_named(result)
    if frames:
        more = f" … and {len(frames) - MOST_FRAMES} more, in the task's XCom" if len(frames) > MOST_FRAMES else ""
        lines.append(
            f"Frames: {', '.join(frames[:MOST_FRAMES])}{more}. `sightline trace FRAME_ID` tells each one's life."
        )
    lines.append(next_step(job, exit_code))
    return "\n".join(lines)


def next_step(job: str, exit_code: int | None) -> str:
    """What it means and what to do now."""
    if exit_code is None:
        return _OTHERWISE
    return _OF_JOB.get((job, exit_code)) or _NEXT.get(exit_code, _OTHERWISE)
