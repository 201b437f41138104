"""What a DAG's own small tasks share: the database connection, and our errors as Airflow's.

PostgresHook(sightline_postgres) ─► rows        Rejected, Misconfigured ─► not tried again · Transient ─► tried again
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from contracts.errors import Misconfigured, PipelineError, Rejected

POSTGRES: Final = "sightline_postgres"


def rows(sql: str, parameters: Mapping[str, Any]) -> list[Sequence[Any]]:
    """Runs one statement that reads. A database that is away raises its driver's error, and the task is tried again."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    return list(PostgresHook(postgres_conn_id=POSTGRES).get_records(sql, parameters=dict(parameters)))


@contextmanager
def as_airflow() -> Iterator[None]:
    """Our errors in Airflow's words."""
    try:
        yield
    except (Rejected, Misconfigured) as error:
        raise AirflowFailException(str(error)) from error
    except PipelineError as error:
        raise AirflowException(str(error)) from error
