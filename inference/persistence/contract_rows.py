"""Rows as their contract names them, in pieces: what a check of the whole table reads without holding it.

of_range(connection, "frames", since, until)       frames or predictions of frames captured in [since, until)
of_run(connection, run_id)                         predictions that one batch job wrote
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from psycopg.rows import dict_row

from contracts import schemas
from inference.persistence.database import Connection

PIECE: Final = 5000

Rows = list[Mapping[str, Any]]


def of_range(
    connection: Connection, topic: str, *, since: datetime, until: datetime, piece: int = PIECE
) -> Iterator[Rows]:
    """Rows of `frames` or `predictions` of frames captured in [since, until), in pieces. Both times are aware."""
    bounds = "frame_id >= uuid7_floor(%(since)s) AND frame_id < uuid7_floor(%(until)s)"
    yield from _read(connection, topic, bounds, {"since": _plain(since), "until": _plain(until)}, piece)


def of_run(connection: Connection, run_id: str, *, piece: int = PIECE) -> Iterator[Rows]:
    """Predictions with this run_id, in pieces. Reads the whole table: no index holds run_id."""
    yield from _read(connection, "predictions", "run_id = %(run_id)s", {"run_id": run_id}, piece)


def _read(connection: Connection, topic: str, condition: str, values: Mapping[str, Any], piece: int) -> Iterator[Rows]:
    columns = ", ".join(field["name"] for field in schemas.latest(topic)["fields"] if field["name"] != "image")
    # A cursor of the server's: the rows come as they are asked for, and all of one moment.
    with connection.cursor(name=f"contract_{topic}", row_factory=dict_row) as cursor:
        cursor.execute(f"SELECT {columns} FROM {topic} WHERE {condition}", values)  # noqa: S608 - names of the contract
        while rows := cursor.fetchmany(piece):
            yield list(rows)


def _plain(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)
