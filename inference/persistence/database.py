"""The way to Postgres: one connection, times as aware UTC, failures as ours.

with connect(settings) as connection:
    connection.execute("SELECT ...")

the server is away, a lock is not to be had   Transient
the login or the database does not fit        Misconfigured
a table or a column is not there              Misconfigured
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg.types.datetime import TimestampLoader

from contracts.errors import Misconfigured, PipelineError, Transient
from contracts.settings import PostgresSettings, Settings

Connection = psycopg.Connection[tuple[Any, ...]]

_STORE: Final = "Postgres"  # for clients, who learn no address

# SQLSTATE of what a person must fix, with what to do.
_MISCONFIGURED: Final = {
    "28000": "the login is refused: set SIGHTLINE_POSTGRES__USER and __PASSWORD",
    "28P01": "the login is refused: set SIGHTLINE_POSTGRES__USER and __PASSWORD",
    "3D000": "the database does not exist: create it, or set SIGHTLINE_POSTGRES__DATABASE",
    "42501": "a permission is missing: grant it to the user of SIGHTLINE_POSTGRES__USER",
    "42P01": "a table is missing: run the migrations (`sightline up` does)",
    "42703": "a column is missing: run the migrations (`sightline up` does)",
    "42883": "a function is missing: run the migrations (`sightline up` does)",
}


class _UtcTimestampLoader(TimestampLoader):
    """Reads `timestamp without time zone`, which holds UTC in every table of ours, as an aware time."""

    def load(self, data: Any) -> datetime:
        return super().load(data).replace(tzinfo=UTC)


@contextmanager
def connect(settings: Settings, *, autocommit: bool = False) -> Iterator[Connection]:
    """One connection, committed at the end of the block, rolled back by an exception.

    Raises:
        Transient: the server is away or busy, or a lock was not to be had in time.
        Misconfigured: login, database, permissions or schema do not fit.
    """
    with translated(settings.postgres), open_connection(settings.postgres, autocommit=autocommit) as connection:
        yield connection


def open_connection(settings: PostgresSettings, *, autocommit: bool = False, **parameters: Any) -> Connection:
    """A connection that the caller closes; psycopg's own errors are not translated. `parameters` are libpq's."""
    connection = psycopg.connect(settings.conninfo, autocommit=autocommit, options="-c TimeZone=UTC", **parameters)
    prepare(connection)
    return connection


def prepare(connection: Connection) -> None:
    """Has a new connection read times as ours: aware, in UTC."""
    connection.adapters.register_loader("timestamp", _UtcTimestampLoader)


@contextmanager
def translated(settings: PostgresSettings) -> Iterator[None]:
    """Turns psycopg's errors into ours; others pass."""
    try:
        yield
    except psycopg.Error as error:
        raise _translate(error, settings) from error


def _translate(error: psycopg.Error, settings: PostgresSettings) -> PipelineError:
    where = f"Postgres at {settings.host}:{settings.port}"
    advice = _MISCONFIGURED.get(error.sqlstate or _sqlstate_in(str(error)))
    if advice is not None:
        return Misconfigured(f"{where}: {advice}", store=_STORE)
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Transient(f"{where} is away or busy ({_first_line(error)}): wait until it answers", store=_STORE)
    return Misconfigured(f"{where} refused a statement of ours, which is a defect: {_first_line(error)}", store=_STORE)


def _sqlstate_in(message: str) -> str:
    """The state of a failed start of a connection, which libpq gives as text only."""
    if "authentication failed" in message or "no password supplied" in message:
        return "28P01"
    if "does not exist" in message and "database" in message:
        return "3D000"
    return ""


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
