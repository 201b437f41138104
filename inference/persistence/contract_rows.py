"""Rows as their contract names them, in pieces: what a check of the whole table reads without holding it.

of_range(connection, "frames", since, until)       frames or predictions of frames captured in [since, until)
of_run(connection, run_id, span)                   predictions that one batch job wrote
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from psycopg.rows import dict_row

from contracts import schemas
from contracts.times import as_stored
from inference.persistence.database import Connection

PIECE: Final = 5000

Rows = list[Mapping[str, Any]]

_SPAN: Final = "frame_id >= uuid7_floor(%(since)s) AND frame_id < uuid7_floor(%(until)s)"


def of_range(
    connection: Connection, topic: str, *, since: datetime, until: datetime, piece: int = PIECE
) -> Iterator[Rows]:
    """Rows of `frames` or `predictions` of frames captured in [since, until), in pieces. Both times are aware."""
    yield from _read(connection, topic, _SPAN, {"since": as_stored(since), "until": as_stored(until)}, piece)


def of_run(
    connection: Connection, run_id: str, span: tuple[datetime, datetime] | None = None, *, piece: int = PIECE
) -> Iterator[Rows]:
    """Predictions with this run_id, in pieces: of frames captured in `span`, as of_range; of all days without.

    No index holds run_id: without the span every partition is read.
    """
    of_it = "run_id = %(run_id)s"
    if span is None:
        yield from _read(connection, "predictions", of_it, {"run_id": run_id}, piece)
        return
    values = {"run_id": run_id, "since": as_stored(span[0]), "until": as_stored(span[1])}
    yield from _read(connection, "predictions", f"{_SPAN} AND {of_it}", values, piece)


def _read(connection: Connection, topic: str, condition: str, values: Mapping[str, Any], piece: int) -> Iterator[Rows]:
    columns = ", ".join(field["name"] for field in schemas.latest(topic)["fields"] if field["name"] != "image")
    # A cursor of the server's: the rows come as they are asked for, and all of one moment.
    with connection.cursor(name=f"contract_{topic}", row_factory=dict_row) as cursor:
        cursor.execute(f"SELECT {columns} FROM {topic} WHERE {condition}", values)  # noqa: S608 - names of the contract
        while rows := cursor.fetchmany(piece):
            yield list(rows)
