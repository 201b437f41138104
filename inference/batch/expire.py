"""Job `expire`: what is older than the retention goes; what a person reviewed stays.

    count ──► plan (pure) ──► for each portion, oldest day first:
        1 keep    reviewed frames move to kept_*, with what was predicted of them
        2 intend  the others are written down in expirations          (one transaction with 1)
        3 objects deleted
        4 rows    partitions dropped where the whole day goes, else rows deleted
        5 settle  expirations done
        6 verify  counted again: nothing left

Killed between any two of them, the same command goes on where it was: rows go after objects, and what has no row any more
is done.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from contracts.errors import Misconfigured
from contracts.identifiers import CAMERA_ID
from contracts.logs import get_logger
from contracts.settings import RetentionSettings, Settings
from inference.batch.job import Result, Say
from inference.domain.retention import Found, Plan, Portion, Rule, plan
from inference.persistence import connect, expirations, old_frames, old_objects
from inference.persistence.database import Connection
from inference.persistence.objects import FrameStore
from inference.persistence.old_frames import Reach, of_day

ABOUT: Final = "Deletes what is older than the retention; reviewed frames are kept."

_ROUNDS: Final = 3  # a frame that arrives in the middle of a day's end is written down in the next round
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC).date()
_AGAIN: Final = 75

log = get_logger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "--camera", action="append", default=[], metavar="CAMERA", help="look at this camera alone; may be repeated"
    )
    parser.add_argument(
        "--days",
        action="append",
        default=[],
        type=int,
        help="for each --camera, how many days of it to keep; without: as the settings say",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    parser.add_argument(
        "--verify", action="store_true", help="as --dry-run, but exit code 75 where something is there that has to go"
    )
    parser.add_argument(
        "--limit", type=int, help="stop after the day in which so many frames are gone; the next run goes on from there"
    )


def run(settings: Settings, given: argparse.Namespace, say: Say) -> Result:
    """Expires what is old.

    Raises:
        Transient: a store is away, another run is under way, or the tables are in use.
        Misconfigured: an option does not fit.
    """
    rule = rule_of(settings.retention, given.camera, given.days)
    if given.limit is not None and given.limit < 1:
        raise Misconfigured("--limit is a number of frames: give 1 or more")
    with closing(FrameStore(settings.s3)) as store, connect(settings, autocommit=True) as connection:
        store.check()
        with expirations.only_one(connection):
            job = _Run(connection=connection, store=store, rule=rule, say=say, is_dry=given.dry_run or given.verify)
            result = job.all(given.limit)
    if given.verify and (result.fields["frames"] or result.fields["objects"]):
        result = replace(result, exit_code=_AGAIN)
    log.info("frames_expired", **{name: result.fields[name] for name in ("is_dry_run", "frames", "kept", "left")})
    return result


def rule_of(retention: RetentionSettings, cameras: list[str], days: list[int]) -> Rule:
    """The retention of this run.

    Raises:
        Misconfigured: a camera without its days, or with more than all have.
    """
    if days and len(days) != len(cameras):
        raise Misconfigured("give --days once for each --camera, or not at all")
    strangers = [name for name in cameras if not CAMERA_ID.fullmatch(name)]
    if strangers:
        raise Misconfigured(f"no camera's name: {', '.join(strangers)}")
    wrong = [name for name, of_it in zip(cameras, days, strict=False) if not 1 <= of_it <= retention.days]
    if wrong:
        raise Misconfigured(
            f"{', '.join(wrong)}: --days is from 1 to {retention.days}, what SIGHTLINE_RETENTION__DAYS gives all cameras"
        )
    return Rule(
        days=retention.days,
        cameras={**retention.cameras, **dict(zip(cameras, days, strict=False))},
        only=frozenset(cameras) or None,
    )


@dataclass(kw_only=True)
class _Run:
    """One run: what it works with, and what it has done."""

    connection: Connection
    store: FrameStore
    rule: Rule
    say: Say
    is_dry: bool
    kept: int = 0
    objects: int = 0
    partitions: int = 0
    left: int = 0
    unseen: list[tuple[str, int, int]] = field(default_factory=list)

    def all(self, limit: int | None) -> Result:
        """Everything, in its order."""
        now = old_frames.earliest_clock(self.connection)
        if not self.is_dry:
            self._told(f"{expirations.settle(self.connection)} ranges of an earlier run settled")
        made = self._plan(now, limit)
        for portion in made.portions:
            self._tell(portion)
            if not self.is_dry:
                self._take(portion)
        if self.rule.only is None and not made.later:
            self._sweep_what_no_row_knows(now, made)
        if not self.is_dry and not made.later:
            for camera in self._cameras():
                end = self.rule.first_day_of(camera, now)
                self.unseen += expirations.write_down_unseen(self.connection, camera, end)
        return self._result(made, now)

    def _plan(self, now: datetime, limit: int | None) -> Plan:
        first = self.rule.first_day(now)
        counted = old_frames.found(self.connection, Reach(first=_FIRST, end=first, cameras=self._only()))
        for camera in self._cameras():
            end = self.rule.first_day_of(camera, now)
            if end > first:
                counted += old_frames.found(self.connection, Reach(first=first, end=end, cameras=[camera]))
        bare = old_frames.bare_days(self.connection, first) if self.rule.only is None else set()
        return plan(counted, bare, rule=self.rule, now=now, limit=limit)

    def _cameras(self) -> list[str]:
        known = set(old_frames.cameras(self.connection)) | set(self.rule.cameras)
        return sorted(known if self.rule.only is None else self.rule.only)

    def _only(self) -> list[str] | None:
        return None if self.rule.only is None else sorted(self.rule.only)

    def _take(self, portion: Portion) -> None:
        """One portion. What arrives in the middle of it, though as old, is written down before it goes."""
        reach = of_day(portion.day, portion.cameras)
        for _ in range(_ROUNDS):
            kept, ranges = expirations.keep_and_intend(self.connection, reach)
            self.kept += kept
            self._told(f"{portion.day}: {kept} frames kept, {ranges} ranges written down")
            deleted = old_objects.sweep(self.connection, self.store, reach, is_deleting=True)
            self.objects += deleted
            self._told(f"{portion.day}: {deleted} objects deleted")
            dropped = expirations.drop_day(self.connection, portion.day) if portion.is_whole_day else 0
            if dropped is not None:
                break
        self.partitions += dropped or 0
        self._told(f"{portion.day}: {dropped or 0} partitions dropped")
        rows = expirations.delete_rows(self.connection, reach)
        self._told(f"{portion.day}: {rows} other rows deleted")
        self._told(f"{portion.day}: {expirations.settle(self.connection)} ranges done")
        left = old_frames.count_left(self.connection, reach)
        left += old_objects.sweep(self.connection, self.store, reach, is_deleting=False)
        self.left += left
        self._told(f"{portion.day}: verified, {left} rows and objects left")

    def _sweep_what_no_row_knows(self, now: datetime, made: Plan) -> None:
        """Objects of old days without rows: their row was refused, or came late and is gone."""
        seen = set() if self.is_dry else {portion.day for portion in made.portions}
        for day in old_objects.days(self.store):
            if day < self.rule.first_day(now) and day not in seen:
                reach = of_day(day, None)
                self.objects += old_objects.sweep(self.connection, self.store, reach, is_deleting=not self.is_dry)

    def _tell(self, portion: Portion) -> None:
        for each in portion.found:
            going, size = each.frames - each.reviewed, each.size_bytes - each.reviewed_bytes
            self.say(
                f"{portion.day} {each.camera_id}: {going} frames, {size} bytes {'would go' if self.is_dry else 'go'}, "
                f"{each.reviewed} kept"
            )

    def _told(self, line: str) -> None:
        if not self.is_dry:
            self.say(line)

    def _result(self, made: Plan, now: datetime) -> Result:
        found = [each for portion in made.portions for each in portion.found]
        frames = sum(portion.frames for portion in made.portions)
        planned_kept = sum(each.reviewed for each in found)
        fields: dict[str, Any] = {
            "is_dry_run": self.is_dry,
            "frames": frames,
            "bytes": sum(each.size_bytes - each.reviewed_bytes for each in found),
            "kept": planned_kept if self.is_dry else self.kept,
            "days": [portion.day.isoformat() for portion in made.portions],
            "cameras": _by_camera(found, self.rule, now),
            "objects": self.objects + (frames if self.is_dry else 0),
            "partitions": self.partitions,
            "left": self.left,
            "never_seen": [
                {"session_id": session, "first_sequence": first, "last_sequence": last}
                for session, first, last in self.unseen
            ],
            "later": {"days": len(made.later), "frames": sum(portion.frames for portion in made.later)},
        }
        return Result(fields=fields, exit_code=_AGAIN if self.left else 0)


def _by_camera(found: Iterable[Found], rule: Rule, now: datetime) -> dict[str, Any]:
    counts: defaultdict[str, dict[str, Any]] = defaultdict(lambda: {"frames": 0, "bytes": 0, "kept": 0})
    for each in found:
        counted = counts[each.camera_id]
        counted["frames"] += each.frames - each.reviewed
        counted["bytes"] += each.size_bytes - each.reviewed_bytes
        counted["kept"] += each.reviewed
        counted["before"] = rule.first_day_of(each.camera_id, now).isoformat()
    return dict(sorted(counts.items()))
