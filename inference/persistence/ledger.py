"""The ledger: who is champion, since when, approved by whom. The aliases in MLflow are its projection.

    intend ──► intended ─┬─ finish ──► done       the newest one of an alias is who has it
                         └─ revert ──► reverted   as if nobody had asked
    write_done ────────────────────► done

Rows are never changed again (a trigger sees to it). Every function runs in the caller's transaction; whoever writes
aliases as well wants each row committed by itself: a connection in autocommit, under `lock`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import psycopg

from contracts.errors import Transient
from inference.domain.promotion import CHAMPION
from inference.domain.scored import NEWEST_REIGN
from inference.persistence.database import Connection

State = Literal["intended", "done", "reverted"]

# approved_by of rows that no person asked for.
BOOTSTRAP: Final = "bootstrap"
WATCH_WINDOW: Final = "watch_window"
NO_PERSONS: Final = frozenset({BOOTSTRAP, WATCH_WINDOW})

_KEY: Final = "hashtext('sightline.promotion')"
_COLUMNS: Final = (
    "id, model, alias, version, previous_version, state, requested_at, done_at, approved_by, approved_by_name, reason"
)
_CHAMPION: Final = f"SELECT {_COLUMNS} {NEWEST_REIGN}"
_CHAMPION_AT: Final = f"""
    SELECT {_COLUMNS} FROM promotions
    WHERE model = %s AND alias = '{CHAMPION}' AND state = 'done' AND done_at < %s AT TIME ZONE 'UTC'
    ORDER BY id DESC LIMIT 1
"""  # noqa: S608
_FIRST: Final = f"""
    SELECT {_COLUMNS} FROM promotions WHERE model = %s AND alias = '{CHAMPION}' AND state = 'done' AND version = %s
    ORDER BY id LIMIT 1
"""  # noqa: S608
_BY_ID: Final = f"SELECT {_COLUMNS} FROM promotions WHERE model = %s AND id = %s"  # noqa: S608 - as above
_UNDER_WAY: Final = f"""
    SELECT {_COLUMNS} FROM promotions WHERE model = %s AND alias = '{CHAMPION}' AND state = 'intended'
"""  # noqa: S608
_HISTORY: Final = f"""
    SELECT {_COLUMNS} FROM promotions WHERE model = %s AND (%s::bigint IS NULL OR id < %s) ORDER BY id DESC LIMIT %s
"""  # noqa: S608
_INSERT: Final = f"""
    INSERT INTO promotions (model, alias, version, previous_version, state, done_at, approved_by, approved_by_name, reason)
    VALUES (
        %(model)s, '{CHAMPION}', %(version)s, %(previous_version)s, %(state)s,
        CASE %(state)s WHEN 'done' THEN now() AT TIME ZONE 'UTC' END, %(approved_by)s, %(approved_by_name)s, %(reason)s
    )
    RETURNING {_COLUMNS}
"""  # noqa: S608
_END: Final = f"""
    UPDATE promotions SET state = %s, done_at = now() AT TIME ZONE 'UTC' WHERE id = %s AND state = 'intended'
    RETURNING {_COLUMNS}
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A row: this version became champion, or was to."""

    id: int
    model: str  # registered model
    alias: str
    version: str
    previous_version: str | None  # champion until then; None: there was none
    state: State
    requested_at: datetime
    done_at: datetime | None  # when it was done or reverted
    approved_by: str  # subject of a person's token, or `bootstrap`
    approved_by_name: str | None  # for people to read; None: approved_by is readable
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Who wants it, and why."""

    by: str  # subject of a person's token, or a word such as `bootstrap` or `watch_window`
    name: str | None = None
    reason: str


def lock(connection: Connection, *, patience: timedelta) -> bool:
    """Takes the lock of everybody who writes rows and aliases, for as long as the connection lives.

    It belongs to the connection that also writes the rows: who lost the one can no longer write the other, and a
    process that is killed lets go of both.

    Args:
        connection: in autocommit; each row is committed by itself.
        patience: how long to wait for whoever has the lock.

    Returns:
        False: another still had it.
    """
    # A machine that loses its power says no goodbye: without these its lock would stay for hours.
    connection.execute("SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3")
    connection.execute(f"SET lock_timeout = {max(1, round(patience.total_seconds() * 1000))}")
    try:
        connection.execute(f"SELECT pg_advisory_lock({_KEY})")
    except psycopg.errors.LockNotAvailable:
        return False
    finally:
        if not connection.broken:
            connection.execute("RESET lock_timeout")
    return True


def try_lock(connection: Connection) -> bool:
    """As `lock`, without waiting."""
    [(is_ours,)] = connection.execute(f"SELECT pg_try_advisory_lock({_KEY})").fetchall()
    return bool(is_ours)


def champion_of(connection: Connection, model: str) -> Promotion | None:
    """Who is champion: the newest row that is done."""
    return _one(connection, _CHAMPION, {"model": model})


def champion_at(connection: Connection, model: str, at: datetime) -> Promotion | None:
    """Who was champion just before that time, which is aware."""
    return _one(connection, _CHAMPION_AT, (model, at))


def first_of(connection: Connection, model: str, version: str) -> Promotion | None:
    """The row with which a version became champion for the first time."""
    return _one(connection, _FIRST, (model, version))


def find(connection: Connection, model: str, promotion_id: int) -> Promotion | None:
    """One row, whatever its state; None when there is no such row."""
    return _one(connection, _BY_ID, (model, promotion_id))


def under_way(connection: Connection, model: str) -> Promotion | None:
    """The row that is neither done nor reverted. There is at most one."""
    return _one(connection, _UNDER_WAY, (model,))


def history(connection: Connection, model: str, *, limit: int, before_id: int | None = None) -> list[Promotion]:
    """Rows of every state, the newest first."""
    rows = connection.execute(_HISTORY, (model, before_id, before_id, limit)).fetchall()
    return [_promotion(row) for row in rows]


def intend(
    connection: Connection, model: str, version: str, *, previous_version: str | None, approval: Approval
) -> Promotion:
    """Writes down what is about to happen.

    Raises:
        Transient: another promotion is under way, which the lock should have kept out.
    """
    try:
        return _insert(connection, model, version, previous_version, "intended", approval)
    except psycopg.errors.UniqueViolation as error:
        raise Transient(
            f"another promotion of {model} is under way: try again when it has ended", is_public=True
        ) from error


def write_done(
    connection: Connection, model: str, version: str, *, previous_version: str | None, approval: Approval
) -> Promotion:
    """A row that is done from the start, for a champion whose aliases only have to follow."""
    return _insert(connection, model, version, previous_version, "done", approval)


def finish(connection: Connection, promotion: Promotion) -> Promotion:
    """Makes the intended row count.

    Raises:
        Transient: it is no longer intended: the lock was lost, and another settled it.
    """
    return _end(connection, promotion, "done")


def revert(connection: Connection, promotion: Promotion) -> Promotion:
    """Takes the intended row back.

    Raises:
        Transient: it is no longer intended: the lock was lost, and another settled it.
    """
    return _end(connection, promotion, "reverted")


def _insert(
    connection: Connection, model: str, version: str, previous_version: str | None, state: State, approval: Approval
) -> Promotion:
    values = {
        "model": model,
        "version": version,
        "previous_version": previous_version,
        "state": state,
        "approved_by": approval.by,
        "approved_by_name": approval.name,
        "reason": approval.reason,
    }
    [row] = connection.execute(_INSERT, values).fetchall()
    return _promotion(row)


def _end(connection: Connection, promotion: Promotion, state: State) -> Promotion:
    row = connection.execute(_END, (state, promotion.id)).fetchone()
    if row is None:
        raise Transient(
            f"promotion {promotion.id} of version {promotion.version} was settled by another process: "
            "GET /v1/promotions says how",
            is_public=True,
        )
    return _promotion(row)


def _one(connection: Connection, query: str, values: tuple[object, ...] | dict[str, object]) -> Promotion | None:
    row = connection.execute(query, values).fetchone()
    return None if row is None else _promotion(row)


def _promotion(row: tuple[object, ...]) -> Promotion:
    return Promotion(**dict(zip(_COLUMNS.split(", "), row, strict=True)))  # type: ignore[arg-type]
