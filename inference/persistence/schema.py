"""The database's schema: migrations by Alembic, day partitions by a function that a migration created.

migrate(settings)            → the newest revision, whoever else starts at the same time
ensure_partitions(settings)  → partitions of every day from the retention's start to some days ahead
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config

from contracts.errors import Transient
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.persistence.database import connect, open_connection, translated

MIGRATIONS: Final = Path(__file__).parent / "migrations"

_LOCK: Final = 7_310_579_621_408  # any number of our own; advisory locks share one space per database
_ATTEMPTS: Final = 10

log = get_logger(__name__)


def migrate(settings: Settings) -> None:
    """Brings the database to the newest revision. A second starter waits and then finds nothing to do.

    Raises:
        Transient: the server is away.
        Misconfigured: login, database or permissions do not fit.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: open_connection(settings.postgres), poolclass=sqlalchemy.NullPool
    )
    started = time.monotonic()
    with translated(settings.postgres):
        try:
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except sqlalchemy.exc.DBAPIError as error:
            if isinstance(error.orig, psycopg.Error):
                raise error.orig from error
            raise
    log.info("database_migrated", seconds=round(time.monotonic() - started, 3))


def ensure_partitions(settings: Settings) -> list[tuple[str, str]]:
    """Creates the missing day partitions and moves rows out of the default partitions into them.

    Returns:
        (partition, "created" | "moved N rows") of each new partition; empty when there was nothing to do.

    Raises:
        Transient: the server is away, or others held the tables for too long.
    """
    attempt = 1
    while True:
        try:
            return _ensure_partitions(settings)
        except Transient:
            if attempt == _ATTEMPTS:
                raise
            attempt += 1
            time.sleep(0.5)


def _ensure_partitions(settings: Settings) -> list[tuple[str, str]]:
    started = time.monotonic()
    with connect(settings) as connection:
        rows = connection.execute(
            "SELECT partition, action FROM ensure_partitions(make_interval(days => %s), make_interval(days => %s))",
            (settings.retention.days, settings.retention.partitions_ahead_days),
        ).fetchall()
    if rows:
        log.info(
            "partitions_ensured",
            created=len(rows),
            rescued=sum(action != "created" for _, action in rows),
            seconds=round(time.monotonic() - started, 3),
        )
    return [(str(partition), str(action)) for partition, action in rows]
