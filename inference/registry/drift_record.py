"""Where drift is written down in MLflow.

the version's own run    drift/reference.json             what the version was used to, written once
a run per day            psi/<feature>, report, plots     the same run again when the day is reported again
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from contracts.errors import Misconfigured, Rejected
from inference.registry.mlflow_client import NotFound, translated

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT: Final = "sightline-drift"
FOLDER: Final = "drift"
REFERENCE: Final = f"{FOLDER}/reference.json"


def run_of(client: MlflowClient, model: str, version: str) -> str:
    """The run that a version was registered from.

    Raises:
        Rejected: there is no such version (unknown_version).
        Misconfigured: it has no run.
    """
    try:
        with translated(f"asking for version {version} of {model}"):
            found: Any = client.get_model_version(model, version)
    except NotFound as error:
        raise Rejected(f"MLflow has no version {version} of {model}: it was deleted", code="unknown_version") from error
    if not found.run_id:
        raise Misconfigured(
            f"version {version} of {model} has no run in MLflow, where its drift reference would lie: deliver it again"
        )
    return str(found.run_id)


def read_reference(client: MlflowClient, run_id: str) -> str | None:
    """The reference's text; None: none was written yet."""
    with translated("reading the drift reference"), tempfile.TemporaryDirectory(prefix="sightline-drift-") as scratch:
        if REFERENCE not in {one.path for one in client.list_artifacts(run_id, FOLDER)}:
            return None
        return Path(client.download_artifacts(run_id, REFERENCE, scratch)).read_text("utf-8")


def write_reference(client: MlflowClient, run_id: str, text: str) -> None:
    """Keeps the reference with the version."""
    with translated("writing the drift reference"):
        client.log_text(run_id, text, REFERENCE)


def write_report(client: MlflowClient, tags: Mapping[str, str], *, metrics: Mapping[str, float], files: Path) -> str:
    """Writes a day's report into its run and ends it. Returns the run's id.

    Args:
        client: with an account that may write.
        tags: what identifies the report: model, version, day. The run that has them is used again.
        metrics: by name.
        files: a folder; all of it is logged.
    """
    with translated("writing the drift report"):
        known = client.get_experiment_by_name(EXPERIMENT)
        experiment = known.experiment_id if known else client.create_experiment(EXPERIMENT)
        wanted = " and ".join(f"tags.`drift.{name}` = '{value}'" for name, value in tags.items())
        found = client.search_runs([experiment], wanted, max_results=1)
        if found:
            run_id = str(found[0].info.run_id)
        else:
            named = {f"drift.{name}": value for name, value in tags.items()}
            made = client.create_run(experiment, run_name=" ".join(["drift", *tags.values()]), tags=named)
            run_id = str(made.info.run_id)
        for name, value in metrics.items():
            client.log_metric(run_id, name, value)
        client.log_artifacts(run_id, str(files))
        client.set_terminated(run_id)
    return run_id
