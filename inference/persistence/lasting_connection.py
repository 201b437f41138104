"""One connection that is kept between two questions, for a thread that asks every second or two.

asked ──► the same connection ──► answer
  └── it broke, or the server is away ──► Transient; the next question opens another
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from contracts.settings import PostgresSettings
from inference.persistence.database import Connection, open_connection, translated

# A server whose machine is gone would otherwise be waited for by the kernel's patience: a quarter of an hour.
_PATIENCE: Final = {
    "tcp_user_timeout": 5000,  # milliseconds
    "keepalives_idle": 3,  # seconds
    "keepalives_interval": 2,
    "keepalives_count": 2,
}


class LastingConnection:
    """For one thread. Every statement is a transaction of its own."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._connection: Connection | None = None

    @contextlib.contextmanager
    def use(self) -> Iterator[Connection]:
        """The connection, opened where it is not.

        Raises:
            Transient: the server is away or busy.
            Misconfigured: login, database, permissions or schema do not fit.
        """
        try:
            with translated(self._settings):
                if self._connection is None:
                    self._connection = open_connection(self._settings, autocommit=True, **_PATIENCE)
                yield self._connection
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes it; the next use opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
