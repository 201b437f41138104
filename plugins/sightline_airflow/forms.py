"""What a run was given against what its DAG's form has. Airflow checks the values it knows and lets every other key pass.

conf {"onyl": "all"} ─► refused at the run's first task, and at no later try accepted: with defaults it would do something else
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.sdk.exceptions import AirflowFailException


def refuse_unknown_keys(context: Any) -> None:
    """pre_execute of every task of ours.

    Raises:
        AirflowFailException: the run was given what no field of the form takes.
    """
    if unknown := sorted(set(context["dag_run"].conf or {}) - set(context["dag"].params)):
        raise AirflowFailException(refusal(context["dag"].dag_id, unknown, context["dag"].params))


def refusal(dag_id: str, unknown: Iterable[str], known: Iterable[str]) -> str:
    """What is wrong, and what to do."""
    takes = f"it takes {', '.join(sorted(known))}" if list(known) else "it takes none"
    return f"{dag_id} has no parameter {', '.join(map(repr, unknown))}: {takes}. Nothing was done; start another run"
