"""What the retention does in the tables, statement by statement; the job puts them in order.

    only_one(connection)          one run at a time, an erasure included
    keep_and_intend               reviewed frames moved to kept_*, the others written down in expirations
    standing(ids)                 which objects may go
    drop_day, delete_rows         partitions, or rows
    settle                        what is gone is done
    write_down_unseen             numbers that never had a row, of sessions that are all gone

A row goes only where a row of expirations names it, in whatever order things happen: what arrives in the middle is left
for the next run. Every statement may be run again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Final

import psycopg

from contracts.errors import Transient
from inference.persistence.database import Connection
from inference.persistence.old_frames import COVERED, PARTITIONS, STAYS, TABLES, Reach, midnight, of_day, within

REASON: Final = "retention"
UNSEEN: Final = "retention, and no row was ever seen"

# A review is saved under the shared lock, so that it is there before a frame is written down, or refused after it.
SAVING_LOCK: Final = "hashtext('sightline.reviews_and_retention')"

_ONE_RUN: Final = "hashtext('sightline.expire')"
_ATTEMPTS: Final = 20
# What is written down already stays so, whoever claims it now: its object may be gone.
_KEEP_FRAMES: Final = f"""
    WITH moved AS (DELETE FROM frames WHERE {within("frames")} AND {STAYS} AND NOT {COVERED} RETURNING *)
    INSERT INTO kept_frames SELECT * FROM moved ON CONFLICT DO NOTHING
"""  # noqa: S608
_KEEP_PREDICTIONS: Final = f"""
    WITH moved AS (
        DELETE FROM predictions
        WHERE {within("predictions")}
            AND EXISTS (SELECT FROM kept_frames WHERE kept_frames.frame_id = predictions.frame_id)
        RETURNING *
    )
    INSERT INTO kept_predictions SELECT * FROM moved ON CONFLICT DO NOTHING
"""  # noqa: S608
# The loser of a conflict has no row of its own: it goes with the frame that was stored in its place.
_INTEND: Final = f"""
    WITH doomed AS (
        SELECT camera_id, session_id, sequence FROM frames WHERE {within("frames")} AND NOT {COVERED}
        UNION
        SELECT lost.camera_id, lost.session_id, lost.sequence
        FROM frame_conflicts AS lost JOIN frames ON frames.frame_id = lost.frame_id
        WHERE {within("frames")} AND NOT {COVERED.replace("frames.", "lost.")}
    ), numbered AS (
        SELECT *, sequence - row_number() OVER (PARTITION BY camera_id, session_id ORDER BY sequence) AS island
        FROM doomed
    )
    INSERT INTO expirations (camera_id, session_id, first_sequence, last_sequence, reason, state)
    SELECT camera_id, session_id, min(sequence), max(sequence), '{REASON}', 'intended'
    FROM numbered GROUP BY camera_id, session_id, island
"""  # noqa: S608
_STANDING: Final = f"""
    SELECT frame_id::text, {COVERED} FROM frames WHERE frame_id = ANY(%(ids)s::uuid[]) AND {within("frames")}
    UNION ALL
    SELECT frame_id::text, FALSE FROM kept_frames WHERE frame_id = ANY(%(ids)s::uuid[])
"""  # noqa: S608
_IS_NEWS: Final = f"SELECT EXISTS (SELECT FROM frames WHERE {within('frames')} AND NOT {COVERED})"  # noqa: S608
_DELETE: Final = f"""
    WITH gone AS (DELETE FROM frames WHERE {within("frames")} AND {COVERED} RETURNING frame_id),
    unpredicted AS (
        DELETE FROM predictions USING gone
        WHERE predictions.frame_id = gone.frame_id AND {within("predictions")}
    )
    DELETE FROM frame_conflicts USING gone WHERE frame_conflicts.frame_id = gone.frame_id
"""  # noqa: S608
_ROWLESS: Final = "NOT EXISTS (SELECT FROM frames WHERE frames.frame_id = {0}.frame_id)"
_DELETE_ROWLESS: Final = (
    f"DELETE FROM predictions WHERE {within('predictions')} AND {_ROWLESS.format('predictions')}",  # noqa: S608
    f"DELETE FROM detections WHERE {within('detections')} AND {_ROWLESS.format('detections')}",  # noqa: S608
    """
    DELETE FROM frame_conflicts WHERE frame_id >= uuid7_floor(%(first)s) AND frame_id < uuid7_floor(%(end)s)
        AND NOT EXISTS (SELECT FROM all_frames WHERE all_frames.frame_id = frame_conflicts.frame_id)
    """,
)
_SETTLE: Final = f"""
    UPDATE expirations SET state = 'done', done_at = now() AT TIME ZONE 'UTC'
    WHERE state = 'intended' AND reason = '{REASON}' AND NOT EXISTS (
        SELECT FROM frames WHERE frames.session_id = expirations.session_id
            AND frames.sequence BETWEEN expirations.first_sequence AND expirations.last_sequence
    )
"""  # noqa: S608
_UNSEEN: Final = f"""
    INSERT INTO expirations (camera_id, session_id, first_sequence, last_sequence, reason, state, done_at)
    SELECT sessions.camera_id, sessions.session_id, lower(gap), upper(gap) - 1, '{UNSEEN}', 'done',
        now() AT TIME ZONE 'UTC'
    FROM sessions CROSS JOIN LATERAL unnest(
        int8multirange(int8range(0, last_acknowledged + 1)) - coalesce((
            SELECT range_agg(int8range(first_sequence, last_sequence + 1)) FROM expirations AS taken
            WHERE taken.session_id = sessions.session_id
        ), '{{}}'::int8multirange) - coalesce((
            SELECT range_agg(int8range(sequence, sequence + 1)) FROM all_frames
            WHERE all_frames.session_id = sessions.session_id
        ), '{{}}'::int8multirange)
    ) AS gap
    WHERE camera_id = %(camera)s AND last_acknowledged >= 0
        AND started_at < %(end)s AND updated_at < %(end)s AND coalesce(closed_at < %(end)s, TRUE)
    RETURNING session_id::text, first_sequence, last_sequence
"""  # noqa: S608


@contextmanager
def only_one(connection: Connection) -> Iterator[None]:
    """Keeps a second run out for as long as this connection lives; a killed one's lock goes with its connection.

    Raises:
        Transient: another one is under way.
    """
    [(is_ours,)] = connection.execute(f"SELECT pg_try_advisory_lock({_ONE_RUN})").fetchall()
    if not is_ours:
        raise Transient("another expiration or erasure is under way: wait until it has ended")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(f"SELECT pg_advisory_unlock({_ONE_RUN})")


def keep_and_intend(connection: Connection, reach: Reach) -> tuple[int, int]:
    """Moves what stays to kept_*, and writes down what goes. In one transaction, and no review is saved meanwhile.

    Returns:
        How many frames were moved, how many ranges written.
    """
    with connection.transaction():
        connection.execute(f"SELECT pg_advisory_xact_lock({SAVING_LOCK})")
        kept = connection.execute(_KEEP_FRAMES, reach.values).rowcount
        connection.execute(_KEEP_PREDICTIONS, reach.values)
        return kept, connection.execute(_INTEND, reach.values).rowcount


def standing(connection: Connection, ids: Sequence[str], reach: Reach) -> dict[str, bool]:
    """Of each of these frames that has a row: whether it may go."""
    answer: dict[str, bool] = {}
    for frame_id, may_go in connection.execute(_STANDING, reach.values | {"ids": list(ids)}):
        answer[frame_id] = may_go and answer.get(frame_id, True)
    return answer


def delete_rows(connection: Connection, reach: Reach) -> int:
    """Deletes the frames that are written down, with what was predicted of them; from everybody's days also
    predictions without a frame.

    Returns:
        How many frames.
    """
    with connection.transaction():
        before = connection.execute(f"SELECT count(*) FROM frames WHERE {within('frames')}", reach.values).fetchone()  # noqa: S608
        connection.execute(_DELETE, reach.values)
        if reach.cameras is None:
            for statement in _DELETE_ROWLESS:
                connection.execute(statement, reach.values)
        after = connection.execute(f"SELECT count(*) FROM frames WHERE {within('frames')}", reach.values).fetchone()  # noqa: S608
    return int((before or (0,))[0]) - int((after or (0,))[0])


def drop_day(connection: Connection, day: date) -> int | None:
    """Drops a day's partitions, if all that they hold is written down.

    The timeout is below deadlock_timeout, as in ensure_partitions: in a knot with a reader this side gives up, and tries
    again.

    Returns:
        How many partitions; None where a frame has come that is not written down yet.

    Raises:
        Transient: others held the tables for too long.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _drop_day(connection, of_day(day, None))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            time.sleep(0.5)
    raise Transient(f"the partitions of {day} are in use: run the same command again")


def _drop_day(connection: Connection, reach: Reach) -> int | None:
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '900ms'")
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('sightline.ensure_partitions'))")
        connection.execute("LOCK TABLE frames, predictions, detections IN SHARE ROW EXCLUSIVE MODE")
        [(is_news,)] = connection.execute(_IS_NEWS, reach.values).fetchall()
        if is_news:
            return None
        dropped = 0
        for table in TABLES:
            name = f"{table}_{reach.first:%Y%m%d}"
            if (name,) in connection.execute(PARTITIONS, (table,)).fetchall():
                connection.execute(f"DROP TABLE {name}")
                dropped += 1
    return dropped


def settle(connection: Connection) -> int:
    """Marks as done what has no row any more. Objects go before rows, so it has no object either.

    Returns:
        How many ranges.
    """
    return connection.execute(_SETTLE).rowcount


def write_down_unseen(connection: Connection, camera_id: str, end: date) -> list[tuple[str, int, int]]:
    """Of the camera's sessions that ended before `end`: the numbers that have no row. They were refused, or lost.

    Their dead letters are forgotten in time, too; then nothing else could say what became of them.

    Returns:
        (session, first, last) of each range that was not written down before.
    """
    rows = connection.execute(_UNSEEN, {"camera": camera_id, "end": midnight(end)})
    return [(session_id, first, last) for session_id, first, last in rows]
