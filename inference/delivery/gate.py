"""The gate: is this challenger good enough to be put before a person?

    version ─► files, training manifest ─► shares an image with the gate set? refused, frames named
            ─► measured beside the champion by the platform's engine ─► evidence in a run of MLflow
            ─► tables keep their contract? else refused ─► verdict ─► run: gate.* ─► row in gate_verdicts

The row comes last and is what a promotion asks for. Interrupted before it, nothing was said: run the gate again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contracts.errors import Rejected
from contracts.settings import Settings
from inference.delivery.gate_evidence import Evaluated, evidence_digest, read_evidence, write_evidence
from inference.delivery.gate_record import (
    EVIDENCE,
    Subject,
    figures_of,
    log_evaluation,
    log_verdict,
    read_run,
    refusals_written_down,
    save,
    verdict_row,
)
from inference.delivery.gate_set import GateSet, refuse_mixture
from inference.delivery.manifest import read_manifest
from inference.delivery.tables import rows_of
from inference.domain.gate import Outcome, verdict
from inference.persistence import connect as connect_to_postgres
from inference.persistence import ledger
from inference.persistence.gate_verdicts import Verdict
from inference.registry.gate_files import GateFile
from inference.registry.mlflow_client import NotFound, connect, translated
from inference.registry.model_version import ModelVersion
from inference.registry.record import aliases_of
from inference.registry.resolve import resolve_version
from inference.registry.tags import TRAINING_DIGEST

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHALLENGER: Final = "challenger"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An evaluation that waits for its verdict."""

    run_id: str
    subject: Subject
    evidence_digest: str


def judge(settings: Settings, gate_set: GateSet, thresholds: GateFile, *, version: str | None, say: Say) -> Verdict:
    """Evaluates and decides.

    Args:
        settings: where MLflow and Postgres are.
        gate_set: what to judge on.
        thresholds: the gate file.
        version: to judge; None: the challenger.
        say: told of every step.

    Returns:
        The verdict as written down: pass or hold.

    Raises:
        Rejected: no verdict on the model is possible (trained_on_gate, manifest_broken, evaluation_broken,
            unknown_version, gate_set_broken); written down as refused where the version is known.
        Misconfigured: the model does not run, a setting or the gate file is wrong.
        Transient: MLflow or Postgres is away.
    """
    with tempfile.TemporaryDirectory(prefix="sightline-gate-") as scratch:
        folder = Path(scratch)
        run = evaluate(settings, gate_set, thresholds, version=version, folder=folder, say=say)
        return decide(settings, run, folder, thresholds)


def evaluate(
    settings: Settings, gate_set: GateSet, thresholds: GateFile, *, version: str | None, folder: Path, say: Say
) -> Run:
    """Measures the version and the champion, and logs what was found into a run.

    Args, Raises: as `judge`; `folder` is empty and holds the evidence afterwards.
    """
    client = connect(settings)
    name = settings.mlflow.model_name
    number = version or aliases_of(client, name).get(CHALLENGER)
    if number is None:
        raise Rejected(f"{name} has no challenger: deliver a model, or name a version", code="unknown_version")
    champion_number = _champion(settings, client)
    tags = _tags(client, name, number)
    candidate = resolve_version(settings, number)
    subject = Subject(
        version=number,
        model_digest=candidate.digest,
        champion_version=champion_number,
        dataset_digest=gate_set.digest,
    )
    say(f"version {number} against {f'version {champion_number}' if champion_number else 'no champion'}")
    say(f"gate set: {gate_set.source}, {sum(gate_set.labels().values())} labels")
    with refusals_written_down(settings, subject, thresholds):
        _check_training(candidate, tags, gate_set)
    champion = resolve_version(settings, champion_number) if champion_number else None
    write_evidence(folder, candidate, champion, gate_set, budget=thresholds.gate.latency)
    return Run(run_id=log_evaluation(client, subject, folder), subject=subject, evidence_digest=evidence_digest(folder))


def decide(settings: Settings, run: Run, folder: Path, thresholds: GateFile) -> Verdict:
    """Holds the evidence against its contract and the thresholds, and writes the verdict down.

    Args:
        settings: where MLflow and Postgres are.
        run: what the evidence must be about.
        folder: the evidence, as `evaluate` left it or as fetched again.
        thresholds: the gate file.

    Raises:
        Rejected: the evidence is not what was measured or breaks its contract; written down as refused.
        Transient: MLflow or Postgres is away.
    """
    with refusals_written_down(settings, run.subject, thresholds, run_id=run.run_id):
        if evidence_digest(folder) != run.evidence_digest:
            raise Rejected("the evidence changed since it was measured: evaluate again", code="evaluation_broken")
        evaluated = read_evidence(folder)
        if _subject(evaluated) != run.subject:
            raise Rejected("the evidence is about another evaluation: evaluate again", code="evaluation_broken")
    answer = verdict(
        rows_of(evaluated.candidate),
        None if evaluated.champion is None else rows_of(evaluated.champion),
        latency=evaluated.latency,
        gate=thresholds.gate,
        int8_map50_95=evaluated.int8_map50_95,
    )
    outcome, reasons = answer.outcome, answer.reasons
    if run.subject.version == run.subject.champion_version:
        outcome, reasons = Outcome.HOLD, (f"version {run.subject.version} is the champion already",)
    row = verdict_row(
        settings, run.subject, thresholds, outcome, reasons, run_id=run.run_id, figures=figures_of(evaluated, answer)
    )
    log_verdict(settings, row)
    save(settings, row)
    return row


def decide_on_run(settings: Settings, run_id: str, digest: str, thresholds: GateFile) -> Verdict:
    """Decides on an evaluation that another task made.

    Args:
        settings: where MLflow and Postgres are.
        run_id: as `evaluate` returned it.
        digest: likewise, of the evidence: files in MLflow may have been changed since.
        thresholds: the gate file.

    Raises: as `decide`.
    """
    with tempfile.TemporaryDirectory(prefix="sightline-gate-") as scratch:
        subject = read_run(settings, run_id, Path(scratch))
        run = Run(run_id=run_id, subject=subject, evidence_digest=digest)
        return decide(settings, run, Path(scratch) / EVIDENCE, thresholds)


def _champion(settings: Settings, client: MlflowClient) -> str | None:
    """The ledger's word; the alias where it has none yet."""
    with connect_to_postgres(settings) as connection:
        row = ledger.champion_of(connection, settings.mlflow.model_name)
    if row is not None:
        return row.version
    return aliases_of(client, settings.mlflow.model_name).get(settings.mlflow.alias)


def _tags(client: MlflowClient, name: str, number: str) -> Mapping[str, str]:
    try:
        with translated(f"asking for version {number} of {name}"):
            found: Mapping[str, str] = client.get_model_version(name, number).tags
    except NotFound as error:
        raise Rejected(
            f"{name} has no version {number}: `sightline model list` shows them", code="unknown_version"
        ) from error
    return found


def _check_training(candidate: ModelVersion, tags: Mapping[str, str], gate_set: GateSet) -> None:
    manifest = read_manifest(candidate.folder or Path())
    if tags.get(TRAINING_DIGEST, manifest.digest) != manifest.digest:
        raise Rejected(
            f"the training manifest of version {candidate.version} is not the delivered one: deliver the model again",
            code="manifest_broken",
        )
    refuse_mixture(gate_set, manifest)


def _subject(evaluated: Evaluated) -> Subject:
    return Subject(
        version=evaluated.version,
        model_digest=evaluated.model_digest,
        champion_version=evaluated.champion_version,
        dataset_digest=evaluated.dataset_digest,
    )
