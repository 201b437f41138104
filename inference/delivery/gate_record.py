"""How a verdict is written down: a run in MLflow for people, a row in Postgres for the promotion."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from contracts.errors import Rejected
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.delivery.gate_evidence import Evaluated
from inference.delivery.tables import metrics_of, rows_of
from inference.domain import gate as decision
from inference.domain.gate import Outcome
from inference.persistence import connect as connect_to_postgres
from inference.persistence import gate_verdicts
from inference.persistence.gate_verdicts import Verdict
from inference.registry.gate_files import GateFile
from inference.registry.mlflow_client import NotFound, connect, translated
from inference.registry.registration import experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient

EVIDENCE: Final = "gate"  # the folder of the run's files
_LONGEST_TAG: Final = 4000

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Which version is judged against which, on what: what evidence must be about."""

    version: str
    model_digest: str
    champion_version: str | None
    dataset_digest: str


def verdict_row(
    settings: Settings,
    subject: Subject,
    thresholds: GateFile,
    outcome: Outcome,
    reasons: tuple[str, ...],
    *,
    run_id: str | None,
    figures: Mapping[str, Any],
) -> Verdict:
    """The verdict as Postgres holds it."""
    return Verdict(
        model=settings.mlflow.model_name,
        version=subject.version,
        model_digest=subject.model_digest,
        champion_version=subject.champion_version,
        verdict=outcome.value,
        reasons=reasons,
        figures=figures,
        dataset_digest=subject.dataset_digest,
        gate_digest=thresholds.digest,
        run_id=run_id,
    )


def figures_of(evaluated: Evaluated, answer: decision.Verdict) -> dict[str, Any]:
    """All that a verdict rests on, as JSON has it: no NaN."""
    return {
        "dataset": evaluated.dataset,
        gate_verdicts.GATE_SET: evaluated.gate_set,
        "latency": asdict(evaluated.latency),
        "int8_map50_95": evaluated.int8_map50_95,
        "candidate": _plain(evaluated.candidate),
        "champion": None if evaluated.champion is None else _plain(evaluated.champion),
        "findings": [asdict(finding) for finding in answer.findings],
    }


def log_evaluation(client: MlflowClient, subject: Subject, folder: Path) -> str:
    """Logs the evidence into a run that stays open until the verdict. Returns its id."""
    with translated("logging the evaluation"):
        tags = {
            "gate.status": "evaluated",
            "gate.version": subject.version,
            "gate.model_digest": subject.model_digest,
            "gate.champion_version": subject.champion_version or "",
            "gate.dataset_digest": subject.dataset_digest,
        }
        run = client.create_run(experiment(client), run_name=f"gate version {subject.version}", tags=tags)
        client.log_artifacts(run.info.run_id, str(folder), EVIDENCE)
    return str(run.info.run_id)


def read_run(settings: Settings, run_id: str, folder: Path) -> Subject:
    """Fetches the evidence of a run into a folder. Returns what it is about.

    Raises:
        Rejected: there is no such run, or it is no evaluation of the gate (unknown_run).
        Transient: MLflow is away.
    """
    client = connect(settings)
    try:
        with translated(f"asking for run {run_id}"):
            tags = client.get_run(run_id).data.tags
        subject = Subject(
            version=tags["gate.version"],
            model_digest=tags["gate.model_digest"],
            champion_version=tags["gate.champion_version"] or None,
            dataset_digest=tags["gate.dataset_digest"],
        )
        with translated(f"fetching the evidence of run {run_id}"):
            client.download_artifacts(run_id, EVIDENCE, str(folder))
    except (NotFound, KeyError) as error:
        raise Rejected(f"run {run_id} is no evaluation of the gate: evaluate again", code="unknown_run") from error
    return subject


def log_verdict(settings: Settings, row: Verdict) -> None:
    """Writes the verdict into its run and ends it."""
    if row.run_id is None:
        return
    client = connect(settings)
    with translated("logging the verdict"):
        tags = {
            "gate.status": row.verdict,
            "gate.gate_digest": row.gate_digest,
            "gate.reasons": "; ".join(row.reasons)[:_LONGEST_TAG],
        }
        for key, value in tags.items():
            client.set_tag(row.run_id, key, value)
        for side in ("candidate", "champion"):
            for metric, figure in metrics_of(row.figures.get(side) or ()).items():
                client.log_metric(row.run_id, f"{side}/{metric}", figure)
        client.log_text(row.run_id, json.dumps(_document(row), indent=1) + "\n", f"{EVIDENCE}/verdict.json")
        client.set_terminated(row.run_id)


def save(settings: Settings, row: Verdict) -> None:
    """Writes the row that a promotion asks for."""
    with connect_to_postgres(settings) as connection:
        number = gate_verdicts.save(connection, row)
    _log.info(
        "gate_judged", verdict=row.verdict, model_name=row.model, model_version=row.version,
        champion_version=row.champion_version, reasons=list(row.reasons), gate_verdict=number, run_id=row.run_id,
    )  # fmt: skip


@contextmanager
def refusals_written_down(
    settings: Settings, subject: Subject, thresholds: GateFile, *, run_id: str | None = None
) -> Iterator[None]:
    """Has a Rejected inside become a row `refused`, and passes it on."""
    try:
        yield
    except Rejected as error:
        figures = {"code": error.code}
        row = verdict_row(settings, subject, thresholds, Outcome.REFUSED, (str(error),), run_id=run_id, figures=figures)
        log_verdict(settings, row)
        save(settings, row)
        raise


def _document(row: Verdict) -> dict[str, Any]:
    document = asdict(row)
    del document["decided_at"]  # the row has it, by the database's clock
    return document


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in asdict(row).items()}
        for row in rows_of(table)
    ]
