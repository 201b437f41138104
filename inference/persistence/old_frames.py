"""What is old in the tables: reached, counted, nothing changed.

    Reach(first, end, cameras) ──► found: frames and bytes by camera and day · count_left · bare_days

STAYS is why a frame is kept: a review that nobody took back, or a claim. COVERED: expirations names it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from inference.domain.retention import Found
from inference.persistence.database import Connection

TABLES: Final = ("frames", "predictions", "detections")
COVERED: Final = (
    "EXISTS (SELECT FROM expirations AS taken WHERE taken.session_id = frames.session_id "
    "AND frames.sequence BETWEEN taken.first_sequence AND taken.last_sequence)"
)
STAYS: Final = """(
    EXISTS (SELECT FROM standing_reviews AS said WHERE said.frame_id = frames.frame_id)
    OR EXISTS (
        SELECT FROM review_claims AS held
        WHERE held.frame_id = frames.frame_id AND held.expires_at > (now() AT TIME ZONE 'UTC')
    )
)"""
_DAY_OF: Final = re.compile(r"[a-z]+_(\d{4})(\d\d)(\d\d)")


def within(table: str) -> str:
    """The condition that a row of the table is in a Reach; takes its `values`."""
    return (
        f"{table}.frame_id >= uuid7_floor(%(first)s) AND {table}.frame_id < uuid7_floor(%(end)s) "
        f"AND (%(cameras)s::text[] IS NULL OR {table}.camera_id = ANY(%(cameras)s))"
    )


_FOUND: Final = f"""
    SELECT day, camera_id, count(*), sum(size_bytes), count(*) FILTER (WHERE stays),
        coalesce(sum(size_bytes) FILTER (WHERE stays), 0)
    FROM (
        SELECT captured_at::date AS day, camera_id, size_bytes::bigint, ({STAYS} AND NOT {COVERED}) AS stays
        FROM frames WHERE {within("frames")}
    ) AS old
    GROUP BY day, camera_id
"""  # noqa: S608 - texts of our own, here and below
_PREDICTED_DAYS: Final = "SELECT DISTINCT captured_at::date FROM predictions WHERE frame_id < uuid7_floor(%s)"
PARTITIONS: Final = (
    "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = %s::regclass"
)
_LEFT: Final = f"""
    SELECT (SELECT count(*) FROM frames WHERE {within("frames")})
        + (SELECT count(*) FROM predictions WHERE {within("predictions")} AND %(cameras)s::text[] IS NULL)
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Which rows a statement is about: captured from `first` to before `end`, by these cameras; None: by all."""

    first: date
    end: date
    cameras: Sequence[str] | None

    @property
    def values(self) -> dict[str, Any]:
        """As the statements want them."""
        cameras = None if self.cameras is None else list(self.cameras)
        return {"first": midnight(self.first), "end": midnight(self.end), "cameras": cameras}


def of_day(day: date, cameras: Sequence[str] | None) -> Reach:
    """One day."""
    return Reach(first=day, end=day + timedelta(days=1), cameras=cameras)


def earliest_clock(connection: Connection) -> datetime:
    """The time, by the clock that is behind: ours or the database's. One that is ahead must not delete what is young."""
    [(theirs,)] = connection.execute("SELECT now() AT TIME ZONE 'UTC'").fetchall()
    now: datetime = min(theirs, datetime.now(UTC))
    return now


def found(connection: Connection, reach: Reach) -> list[Found]:
    """What live frames there are, by camera and day."""
    return [
        Found(
            day=day,
            camera_id=camera_id,
            frames=frames,
            size_bytes=int(size),
            reviewed=stay,
            reviewed_bytes=int(stay_size),
        )
        for day, camera_id, frames, size, stay, stay_size in connection.execute(_FOUND, reach.values)
    ]


def bare_days(connection: Connection, end: date) -> set[date]:
    """Days before `end` that have a partition, or predictions."""
    names = [name for table in TABLES for (name,) in connection.execute(PARTITIONS, (table,))]
    days = {date(int(day[1]), int(day[2]), int(day[3])) for name in names if (day := _DAY_OF.fullmatch(name))}
    days |= {day for (day,) in connection.execute(_PREDICTED_DAYS, (midnight(end),))}
    return {day for day in days if day < end}


def cameras(connection: Connection) -> list[str]:
    """All that have a session."""
    return [name for (name,) in connection.execute("SELECT DISTINCT camera_id FROM sessions ORDER BY 1")]


def count_left(connection: Connection, reach: Reach) -> int:
    """Rows that are still there."""
    [(left,)] = connection.execute(_LEFT, reach.values).fetchall()
    return int(left)


def midnight(day: date) -> datetime:
    """The beginning of a day, as in the tables: UTC without a zone."""
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - the columns are UTC
