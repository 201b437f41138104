"""A registry with versions in it, and a ledger that says who is champion.

number = register(settings, folder)         a version of settings.mlflow.model_name with the folder's files
point(settings, "champion", number)         an alias; None takes it away
write_done(settings, number)                a `done` row of the ledger
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from contracts.settings import Settings
from inference.persistence import connect
from inference.registry import mlflow_client
from inference.registry.model_version import digest_of
from inference.registry.tags import DIGEST, LICENCE, SPEC_DIGEST

DELIVERY = Path(__file__).parents[2] / "inference/delivery"
DEMO_MODEL = DELIVERY / "demo_model"
WEAKER_MODEL = DELIVERY / "weaker_model"
EXPERIMENT = "versions of a test"


def register(settings: Settings, folder: Path = DEMO_MODEL) -> str:
    client: Any = mlflow_client.connect(settings)
    name = settings.mlflow.model_name
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    run = client.create_run(experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT))
    client.log_artifacts(run.info.run_id, str(folder), "model")
    digests = {DIGEST: folder / "model.onnx", SPEC_DIGEST: folder / "model.json"}
    version = client.create_model_version(
        name,
        source=f"{run.info.artifact_uri}/model",
        run_id=run.info.run_id,
        tags={tag: digest_of(file) for tag, file in digests.items()} | {LICENCE: "AGPL-3.0"},
    )
    client.set_terminated(run.info.run_id)
    return str(version.version)


def point(settings: Settings, alias: str, version: str | None) -> None:
    client: Any = mlflow_client.connect(settings)
    if version is None:
        client.delete_registered_model_alias(settings.mlflow.model_name, alias)
    else:
        client.set_registered_model_alias(settings.mlflow.model_name, alias, version)


def write_done(settings: Settings, version: str) -> None:
    with connect(settings) as connection:
        connection.execute(
            "INSERT INTO promotions (model, alias, version, state, done_at, approved_by, reason)"
            " VALUES (%s, 'champion', %s, 'done', now() AT TIME ZONE 'UTC', 'a test', 'to see it followed')",
            (settings.mlflow.model_name, version),
        )


def a_copy(folder: Path, *, of: Path = DEMO_MODEL, change: Callable[[Path], object] = lambda _: None) -> Path:
    """A model folder of a test's own, changed by it."""
    shutil.copytree(of, folder)
    change(folder)
    return folder


def surer_golden(folder: Path) -> None:
    """Records confidences that the model does not have."""
    file = folder / "golden/golden.json"
    document = json.loads(file.read_text())
    document["images"][0]["confidences"][0] -= 0.1
    file.write_text(json.dumps(document))
