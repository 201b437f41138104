"""What a DAG's own small tasks share: whom they ask, and our errors as Airflow's.

PostgresHook(sightline_postgres) ─► rows        GET /v1/models ─► models
Rejected, Misconfigured ─► not tried again · Transient ─► tried again
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from contracts.errors import Misconfigured, PipelineError, Rejected

POSTGRES: Final = "sightline_postgres"

_AWAY: Final = frozenset({"OperationalError", "InterfaceError"})  # PEP 249's names: the hook has one driver or another


def rows(sql: str, parameters: Mapping[str, Any]) -> list[Sequence[Any]]:
    """Runs one statement that reads. A database that is away fails the task, which is tried again."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    try:
        return list(PostgresHook(postgres_conn_id=POSTGRES).get_records(sql, parameters=dict(parameters)))
    except Exception as error:
        if _AWAY.isdisjoint(kind.__name__ for kind in type(error).__mro__):
            raise
        said = str(error).strip().partition("\n")[0]
        raise AirflowException(
            f"Postgres is away or busy ({said}). Airflow tries again; if it stays so, `sightline status` says who is missing"
        ) from error


def models() -> Mapping[str, Any]:
    """What GET /v1/models says, asked in the name of the job account. Blocks.

    Raises:
        PipelineError: as connectors.api_client.
    """
    from connectors.api_client import Api
    from sightline_airflow.jobs import settings

    with Api(settings()) as api:
        answer: Mapping[str, Any] = api.get("/v1/models")
    return answer


def waited(context: Any) -> timedelta:
    """How long a sensor waits already; nothing at its first look."""
    since = context["ti"].get_first_reschedule_date(context)
    return datetime.now(UTC) - since if since else timedelta()


@contextmanager
def as_airflow() -> Iterator[None]:
    """Our errors in Airflow's words."""
    try:
        yield
    except (Rejected, Misconfigured) as error:
        raise AirflowFailException(str(error)) from error
    except PipelineError as error:
        raise AirflowException(str(error)) from error
