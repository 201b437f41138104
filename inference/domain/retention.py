"""What the retention takes today: decided out of what was counted, before anything is touched.

    Rule  days of all, fewer for some cameras ─┐
    Found per camera and day: frames, bytes    ├─► plan ──► Portions, oldest day first, up to the limit of a run
    days without a frame                      ─┘

Whole days go, in UTC: a camera with 7 days loses on the 9th what it captured on the 1st, and nothing younger than 7 days
is ever in a portion. Days before the retention of all cameras go as one, with their partitions; a camera with fewer days
loses its rows of a day that stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How many days are kept."""

    days: int
    cameras: Mapping[str, int] = field(default_factory=dict)  # those with days of their own, never more than `days`
    only: frozenset[str] | None = None  # look at these cameras alone

    def first_day(self, now: datetime) -> date:
        """The first day that stays for all."""
        return (now - timedelta(days=self.days)).date()

    def first_day_of(self, camera_id: str, now: datetime) -> date:
        """The first day of this camera that stays."""
        return (now - timedelta(days=min(self.cameras.get(camera_id, self.days), self.days))).date()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the tables hold of one camera and day."""

    day: date
    camera_id: str
    frames: int
    size_bytes: int
    reviewed: int  # of the frames: they stay
    reviewed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """What goes together: a whole day, or some cameras' frames of a day."""

    day: date
    is_whole_day: bool
    found: tuple[Found, ...]

    @property
    def cameras(self) -> list[str] | None:
        """Whose frames; None: everybody's."""
        return None if self.is_whole_day else sorted(each.camera_id for each in self.found)

    @property
    def frames(self) -> int:
        """How many go."""
        return sum(each.frames - each.reviewed for each in self.found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run takes, and what it leaves for the next one."""

    portions: tuple[Portion, ...]
    later: tuple[Portion, ...]


def plan(found: Iterable[Found], bare_days: Iterable[date], *, rule: Rule, now: datetime, limit: int | None) -> Plan:
    """What goes now, oldest day first.

    Args:
        found: what is there; what is not old enough is left out here.
        bare_days: days that have a partition or predictions, though perhaps no frame.
        rule: how long frames are kept.
        now: counted from.
        limit: so many frames at most; but one portion always goes, or nothing ever would.
    """
    by_day: defaultdict[date, list[Found]] = defaultdict(list)
    for each in found:
        if (rule.only is None or each.camera_id in rule.only) and each.day < rule.first_day_of(each.camera_id, now):
            by_day[each.day].append(each)
    if rule.only is None:
        for day in bare_days:
            if day < rule.first_day(now):
                by_day.setdefault(day, [])
    portions = [
        Portion(
            day=day,
            is_whole_day=rule.only is None and day < rule.first_day(now),
            found=tuple(sorted(by_day[day], key=lambda each: each.camera_id)),
        )
        for day in sorted(by_day)
    ]
    taken, frames = 0, 0
    for portion in portions:
        frames += portion.frames
        if limit is not None and taken and frames > limit:
            break
        taken += 1
    return Plan(portions=tuple(portions[:taken]), later=tuple(portions[taken:]))
