"""A few connections to Postgres, shared by the threads of one process.

    database = Database(settings)
    with database.connection() as connection:     committed at the end of the block, rolled back by an exception
        connection.execute("SELECT ...")
    database.close()

no connection to be had in time, the server away    Transient
login, database or schema do not fit                Misconfigured
a statement that runs too long                      Transient
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from psycopg_pool import ConnectionPool

from contracts.settings import Settings
from inference.persistence.database import Connection, prepare, translated

SIZE: Final = 8
_LEAST: Final = 2
_OF_A_SERVICE: Final = 32  # of all its processes together: Postgres usually takes 100 from everybody
WAIT_SECONDS: Final = 3.0  # for a connection; a request that waits longer is better told to come again
STATEMENT_SECONDS: Final = 15

# After an outage the pool tries anew with the next request: it must not sit out a long pause of its own.
_RECONNECT_SECONDS: Final = 2.0


def size_among(processes: int) -> int:
    """The size of each pool of a service with so many processes."""
    return min(SIZE, max(_LEAST, _OF_A_SERVICE // processes))


class Database:
    """The pool. Opening it talks to nobody: a server that is away is no reason not to start."""

    def __init__(self, settings: Settings, *, size: int = SIZE, wait_seconds: float = WAIT_SECONDS) -> None:
        self._settings = settings.postgres
        # A client that goes away in the middle must not hold locks: hence the second limit.
        limits = f"-c statement_timeout={STATEMENT_SECONDS}s -c idle_in_transaction_session_timeout=30s"
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            settings.postgres.conninfo,
            kwargs={"options": f"-c TimeZone=UTC {limits}"},
            min_size=0,
            max_size=size,
            max_idle=60.0,
            timeout=wait_seconds,
            reconnect_timeout=_RECONNECT_SECONDS,
            configure=prepare,
            check=ConnectionPool.check_connection,  # one that died with the server is replaced, not handed out
            name="sightline",
            open=True,
        )

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """One of the connections, for the time of the block.

        Raises:
            Transient: none was to be had in time, or the server is away or busy.
            Misconfigured: login, database, permissions or schema do not fit.
        """
        with translated(self._settings), self._pool.connection() as connection:
            yield connection

    def close(self) -> None:
        """Closes all of them."""
        self._pool.close(timeout=5.0)
