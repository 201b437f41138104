"""Which version a job runs, and that version ready to run.

--version N                ──► N, where MLflow has it
--alias champion           ──► the newest `done` row of the ledger; in profile core, the alias in MLflow
--alias previous_champion  ──► the alias in MLflow
"""

from __future__ import annotations

from pathlib import Path

from contracts.errors import Rejected, Transient
from contracts.settings import Settings
from inference.domain.batching import BatchPlan
from inference.domain.promotion import CHAMPION
from inference.registry.mlflow_client import connect
from inference.registry.model_version import FOLDER_VERSION, of_folder
from inference.registry.record import aliases_of, candidate
from inference.registry.resolve import resolve_version
from inference.serving.loading import make_ready
from inference.serving.served_models import ServedModel
from inference.serving.words import words_of


def number_of(settings: Settings, *, version: str | None, alias: str) -> str:
    """The version's number; `version` goes before `alias`.

    Raises:
        Rejected: there is no such version, or nobody has the alias.
        Transient: MLflow or Postgres is away; there is no champion yet.
        Misconfigured: one of them refuses us.
    """
    name = settings.mlflow.model_name
    if version is not None:
        if not candidate(connect(settings), name, version).is_registered:
            raise Rejected(
                f"MLflow has no version {version} of {name}: `sightline model list` names those that it has",
                code="unknown_version",
            )
        return version
    if settings.stream.model_folder is not None:
        return FOLDER_VERSION
    if alias == CHAMPION:
        return champion_of(settings)
    found = aliases_of(connect(settings), name).get(alias)
    if found is None:
        raise Rejected(f"no version of {name} has the alias {alias}: give --version", code="unknown_alias")
    return found


def champion_of(settings: Settings) -> str:
    """Who is champion, by whoever decides it in this profile. Raises as number_of."""
    words = words_of(settings)
    try:
        champion = words.champion()
    finally:
        words.close()
    if champion is None:
        raise Transient(f"no version of {settings.mlflow.model_name} is champion yet: promote one, then run this again")
    return champion


def ready(settings: Settings, number: str) -> ServedModel:
    """The version on the engine that the stream's settings name, checked against its golden images and warm.

    Raises:
        Rejected: it does not see in its golden images what the export saw.
        Transient: MLflow is away, and the version is not cached here.
        Misconfigured: its files or the engine do not fit.
    """
    stream = settings.stream
    folder: Path | None = stream.model_folder
    if folder is not None and number == FOLDER_VERSION:
        version = of_folder(folder, name=settings.mlflow.model_name)
    else:
        version = resolve_version(settings, number)
    chosen = BatchPlan(size=stream.batch_size, age_seconds=0.0) if stream.batch_size else None
    return make_ready(
        version,
        CHAMPION,
        engine_kind=stream.engine,
        threads=stream.engine_threads,
        plan=chosen,
        is_checked=folder is None or number != FOLDER_VERSION,
    )
