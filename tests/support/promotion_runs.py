"""Runs of promote_model in a real Airflow: found, waited for, answered.

request = asked(operator, run)                   what an approver reads: subject, body; once it waits
answered(approver, run, "Approve")
started_by_itself(operator, known)               the run that a delivery started
ledger(settings)                                 newest first
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from contracts.settings import Settings
from inference.registry import mlflow_client
from sightline.stack.bootstrap import as_bootstrap
from sightline.stack.home import Home
from sightline.stack.logins import read as read_logins
from tests.support.airflow import Run, Visitor, wait_for
from tests.support.command_line import Outcome, run_as
from tests.support.waiting import eventually

DAG: Final = "promote_model"
AFTER_GATE: Final = ("approve", "promote", "wait_until_served", "watch")
READING: Final = timedelta(seconds=20)  # what a person takes for a request
SECONDS: Final = 900.0  # a machine that does much beside


def runs(someone: Visitor) -> dict[str, str]:
    """By id, what started each: manual or asset_triggered."""
    found = someone.said(f"/dags/{DAG}/dagRuns?limit=100")["dag_runs"]
    return {one["dag_run_id"]: one["run_type"] for one in found}


def started_by_itself(someone: Visitor, known: Collection[str]) -> Run:
    """The one run that is not known."""
    [(run_id, run_type)] = eventually(
        lambda: [(one, kind) for one, kind in runs(someone).items() if one not in known], seconds=SECONDS, every=2
    )
    assert run_type == "asset_triggered"
    return Run(dag=DAG, run_id=run_id)


def asked(someone: Visitor, run: Run) -> dict[str, Any]:
    """The request, once it waits for an answer."""

    wait_for(
        lambda: someone.tasks(run)["approve"], [["awaiting_input"], ["skipped"], ["upstream_failed"]], seconds=SECONDS
    )
    assert someone.tasks(run)["approve"] == ["awaiting_input"], someone.tasks(run)
    found: dict[str, Any] = someone.said(f"{run.path}/taskInstances/approve/-1/hitlDetails")
    return found


def answered(someone: Visitor, run: Run, option: str) -> None:
    """The request is answered, and its task has taken the answer.

    Not at once, as no person does either: answered before the scheduler has heard that the task waits, the task is tried
    again (Airflow 3.3), and asks anew.
    """

    def given() -> bool:
        if states(someone, run)["approve"] == "awaiting_input" and _is_read(asked(someone, run)):
            answer = someone.answer(run, "approve", option)
            assert answer.status_code == 200, answer.text
        return states(someone, run)["approve"] == "success"

    asked(someone, run)
    eventually(given, seconds=SECONDS, every=2)


def _is_read(request: dict[str, Any]) -> bool:
    return (
        datetime.now(UTC) - datetime.fromisoformat(request["created_at"]) > READING and not request["response_received"]
    )


def states(someone: Visitor, run: Run) -> dict[str, str | None]:
    """Of the tasks, none of which is mapped."""
    return {task: state for task, [state] in someone.tasks(run).items()}


def model(settings: Settings, person: str, *arguments: str | Path, code: int = 0) -> Outcome:
    """`sightline model …` as one of the demo people."""
    outcome = run_as(settings, person, "model", *arguments)
    assert outcome.code == code, f"{arguments}: {outcome.code}\n{outcome.out}\n{outcome.err}"
    return outcome


def delivered(settings: Settings, folder: Path) -> str:
    """The version that it is now, the challenger."""
    answer = json.loads(model(settings, "scientist", "deliver", folder, "--json").out)
    assert answer["role"] == "challenger"
    return str(answer["version"])


def ledger(settings: Settings) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(model(settings, "viewer", "history", "--json").out)["items"]
    return found


def champion(settings: Settings) -> str:
    return str(ledger(settings)[0]["version"])


def store_evidence(settings: Settings, run: str, file: Path) -> None:
    """Somebody with the bootstrap's account writes over a file of an evaluation."""
    client = mlflow_client.connect(as_bootstrap(settings, read_logins(Home(settings.stack.home))))
    client.log_artifact(run, str(file), "gate")


def fetch_evidence(settings: Settings, run: str, folder: Path) -> Path:
    """The folder with the files of an evaluation."""
    client = mlflow_client.connect(as_bootstrap(settings, read_logins(Home(settings.stack.home))))
    return Path(client.download_artifacts(run, "gate", str(folder)))
