"""Which frames are scored, and which a batch run has to do, as SQL that the planner and the job share. Pure.

    frame captured at T ── a prediction of a version that was champion at T or later ──► scored, whatever wrote it

    reign of a version    its `done` row in the ledger ──until──► the next one
    missing               not scored, old enough, and the stream has passed it; or in a range that a person named
    outstanding           what a run was asked for, less what it wrote already

A statement is (sql, parameters) with %(name)s in it: psycopg reads it, and so does Airflow's hook.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from contracts.times import as_stored

Statement = tuple[str, dict[str, Any]]
Only = Literal["missing", "all"]

# So long after its capture a frame may still be on its way through the stream, whatever the offsets say.
SETTLED_AFTER: Final = timedelta(minutes=15)

# Who is champion: behind the columns that whoever asks wants of the row.
_REIGNS: Final = "model = %(model)s AND alias = 'champion' AND state = 'done'"
NEWEST_REIGN: Final = f"FROM promotions WHERE {_REIGNS} ORDER BY id DESC LIMIT 1"

_RANGE: Final = "{table}.frame_id >= uuid7_floor(%(since)s) AND {table}.frame_id < uuid7_floor(%(until)s)"

# The range once more for predictions: Postgres cannot tell by itself that the other days' partitions hold none of them.
_NOT_SCORED: Final = f"""NOT EXISTS (
        SELECT FROM predictions AS seen
        JOIN (
            SELECT version, lead(done_at) OVER (ORDER BY id) AS ended FROM promotions
            WHERE {_REIGNS}
            UNION ALL SELECT %(champion)s::text, NULL WHERE %(champion)s::text IS NOT NULL
        ) AS reign ON reign.version = seen.model_version
        WHERE seen.frame_id = frames.frame_id AND seen.model_name = %(model)s
            AND (reign.ended IS NULL OR reign.ended > frames.captured_at)
            AND {_RANGE.format(table="seen")}
    )"""  # noqa: S608 - constants of this module

_NOT_OF_THIS_RUN: Final = f"""NOT EXISTS (
        SELECT FROM predictions AS written
        WHERE written.frame_id = frames.frame_id AND written.model_name = %(model)s
            AND (written.run_id = %(run_id)s OR written.inferred_at >= %(replaced_since)s::timestamp)
            AND (%(version)s::text IS NULL OR written.model_version = %(version)s)
            AND {_RANGE.format(table="written")}
    )"""

# A committed offset is the next one to be read: everything before it is finished.
_PASSED_BY_THE_STREAM: Final = """EXISTS (
        SELECT FROM unnest(%(partitions)s::integer[], %(offsets)s::bigint[]) AS committed (number, next_offset)
        WHERE committed.number = frames.kafka_partition AND frames.kafka_offset < committed.next_offset
    )"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The frames that a run is asked for.

    Attributes:
        model: the registered model.
        since: captured then or later; aware.
        until: captured before; aware.
        cameras: only theirs; empty: every camera's.
        only: missing: those that are not scored; all: scored ones again.
        run_id: what this run wrote already is left out; None: nothing is.
        version: that the run writes; None: not known yet.
        replaced_since: a row of the version inferred then or later counts as this run's, whoever wrote it: another run
            over the same frames replaces its rows. None: only what names this run counts.
        first: of the shard, inclusive.
        last: of the shard, inclusive.
        captured_before: younger frames are left to the stream; None: a person named the range.
        committed: next offset by partition; None: a person named the range, or nobody asked the broker.
        champion: in profile core, the version that the alias names: the ledger need not know it.
    """

    model: str
    since: datetime
    until: datetime
    cameras: tuple[str, ...] = ()
    only: Only = "missing"
    run_id: str | None = None
    version: str | None = None
    replaced_since: datetime | None = None
    first: str | None = None
    last: str | None = None
    captured_before: datetime | None = None
    committed: Mapping[int, int] | None = None
    champion: str | None = None


def champion(model: str) -> Statement:
    """The champion's version, by the ledger: one row, or none."""
    return f"SELECT version {NEWEST_REIGN}", {"model": model}


def outstanding(selection: Selection) -> Statement:
    """The condition on `frames` that is true of what is still to be done. Put it behind WHERE."""
    clauses = [_RANGE.format(table="frames")]
    if selection.cameras:
        clauses.append("frames.camera_id = ANY(%(cameras)s::text[])")
    if selection.first is not None:
        clauses.append("frames.frame_id >= %(first)s::uuid")
    if selection.last is not None:
        clauses.append("frames.frame_id <= %(last)s::uuid")
    if selection.captured_before is not None:
        clauses.append("frames.frame_id < uuid7_floor(%(captured_before)s)")
    if selection.committed is not None:
        clauses.append(_PASSED_BY_THE_STREAM)
    if selection.only == "missing":
        clauses.append(_NOT_SCORED)
    if selection.run_id is not None:
        clauses.append(_NOT_OF_THIS_RUN)
    return "\n    AND ".join(clauses), _parameters(selection)


def count(selection: Selection) -> Statement:
    """How many frames are still to be done: one row, one number."""
    condition, parameters = outstanding(selection)
    return f"SELECT count(*) FROM frames WHERE {condition}", parameters  # noqa: S608


def written(selection: Selection) -> Statement:
    """How many of the range's frames the run has written: one row, one number."""
    sql = f"""
SELECT count(DISTINCT written.frame_id) FROM predictions AS written
WHERE {_RANGE.format(table="written")} AND written.model_name = %(model)s AND written.run_id = %(run_id)s
    AND (%(version)s::text IS NULL OR written.model_version = %(version)s)
    AND (%(first)s::uuid IS NULL OR written.frame_id BETWEEN %(first)s::uuid AND %(last)s::uuid)
"""  # noqa: S608
    return sql, _parameters(selection)


def _parameters(selection: Selection) -> dict[str, Any]:
    committed = dict(selection.committed or {})
    return {
        "model": selection.model,
        "since": as_stored(selection.since),
        "until": as_stored(selection.until),
        "cameras": list(selection.cameras),
        "run_id": selection.run_id,
        "version": selection.version,
        "replaced_since": None if selection.replaced_since is None else as_stored(selection.replaced_since),
        "first": selection.first,
        "last": selection.last,
        "captured_before": None if selection.captured_before is None else as_stored(selection.captured_before),
        "partitions": list(committed),
        "offsets": list(committed.values()),
        "champion": selection.champion,
    }
