"""From the form of score_frames, or its interval, to one command for each shard. Pure.

form, data interval ─► asked ─► selection ─(planning: SQL)─► rows of shards ─► commands
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from contracts.errors import Rejected
from contracts.times import instant
from sightline_airflow import commands
from sightline_airflow.planning import SETTLED_AFTER, Selection

# A scheduled run looks so far behind its interval: for frames that came late or were too young the last time.
LOOK_BACK: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one run is to score."""

    since: datetime  # aware
    until: datetime
    cameras: tuple[str, ...]  # none: every one
    model: str  # an alias or a version's number
    only: Literal["missing", "all"]
    is_explicit: bool  # a person named the range

    def selection(
        self, model_name: str, *, run_id: str, version: str, replaced_since: datetime | None = None
    ) -> Selection:
        """As the planner asks for it. Frames that the stream has yet to read are left out by the job, which can ask."""
        return Selection(
            model=model_name,
            since=self.since,
            until=self.until,
            cameras=self.cameras,
            only=self.only,
            run_id=run_id,
            version=version,
            replaced_since=replaced_since,
            captured_before=None if self.is_explicit else self.until - SETTLED_AFTER,
        )


def asked(params: Mapping[str, Any], *, start: datetime, end: datetime) -> Asked:
    """The form's answers; where it names no range, the interval with some time before it.

    Args:
        params: of the run.
        start: of its data interval.
        end: likewise.

    Raises:
        Rejected: half a range, or one that ends before it begins.
    """
    since, until = params["since"], params["until"]
    if (since is None) is not (until is None):
        raise Rejected("the form names half a range: fill in both `since` and `until`, or neither")
    is_explicit = since is not None
    first, last = (_time(since), _time(until)) if is_explicit else (start - LOOK_BACK, end)
    if first >= last:
        raise Rejected(f"the range is empty: {first.isoformat()} is not before {last.isoformat()}")
    return Asked(
        since=first,
        until=last,
        cameras=tuple(params["cameras"] or ()),
        model=params["model"],
        only=params["only"],
        is_explicit=is_explicit,
    )


def commands_of(wanted: Asked, shards: Iterable[Sequence[Any]], *, run_id: str, version: str) -> list[list[str]]:
    """One command for each row (first, last, frames) of the plan, all for the version that it named."""
    return [
        list(
            commands.score(
                since=wanted.since.isoformat(),
                until=wanted.until.isoformat(),
                run_id=run_id,
                cameras=wanted.cameras,
                model=version,
                only=wanted.only,
                shard=(str(first), str(last)),
                is_explicit=wanted.is_explicit,
            )
        )
        for first, last, _ in shards
    ]


def summary(results: Iterable[Any]) -> dict[str, Any]:
    """All shards of a run in one: frames, and frames per second of each and of all, had they run one after the other."""
    done = [one for one in results if isinstance(one, Mapping)]
    frames = sum(int(one.get("scored", 0)) for one in done)
    seconds = sum(float(one.get("seconds", 0)) for one in done)
    return {
        "shards": len(done),
        "scored": frames,
        "undecodable": sum(int(one.get("undecodable", 0)) for one in done),
        "already": sum(int(one.get("already", 0)) for one in done),
        "missing": sum(int(one.get("missing", 0)) for one in done),
        "missing_objects": [frame for one in done for frame in one.get("missing_objects", ())],
        "version": next((one["version"] for one in done if one.get("version")), None),
        "seconds": round(seconds, 3),
        "frames_per_second": round(frames / seconds, 2) if frames and seconds else 0.0,
    }


def is_stored(done: Mapping[str, Any], *, written: int, remaining: int) -> bool:
    """Whether the sink has what the jobs sent. Either is enough, for each has a case in which it never comes true.

    Args:
        done: as summary.
        written: rows that name this run. A frame that the stream or another run scored too meanwhile names it no longer.
        remaining: frames that a job would still find to do: beside the lost ones, those that came during the run.
    """
    return bool(written >= done["already"] + done["scored"] or remaining <= done["missing"])


def _time(text: str) -> datetime:
    try:
        return instant(text)
    except ValueError:
        raise Rejected(f"{text!r} is no time: write it as 2026-11-25T08:00:00+00:00") from None
