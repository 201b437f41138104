"""Who reads the pipeline's database for Airflow's own tasks: a role that may SELECT, and nothing else.

sightline_reader ── login, no more ──► every table there is, and those that the owner makes later

A default of the session that forbids writing would not do: whoever has the session may set it back.
"""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import sql

from contracts.settings import PostgresSettings

ROLE: Final = "sightline_reader"

_GRANTS: Final = (
    "GRANT USAGE ON SCHEMA public TO {role}",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {role}",
    # Postgres lets everybody make temporary tables; who only reads needs none, and the owner keeps the right.
    "REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC",
)


def ensure_reader(postgres: PostgresSettings, password: str) -> None:
    """Makes the role, or sets its password, and grants what it may. Harmless when repeated.

    Args:
        postgres: the owner's login to the database.
        password: of the role.
    """
    with psycopg.connect(postgres.conninfo) as connection:
        there = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone()
        verb = sql.SQL("CREATE" if there is None else "ALTER")
        named = {"role": sql.Identifier(ROLE), "database": sql.Identifier(postgres.database)}
        attributes = "ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS PASSWORD {password}"
        connection.execute(sql.SQL("{verb} " + attributes).format(verb=verb, password=sql.Literal(password), **named))
        for grant in _GRANTS:
            connection.execute(sql.SQL(grant).format(**named))
