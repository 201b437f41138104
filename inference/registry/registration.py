"""A folder becomes a version of the registered model: one function for the bootstrap and for `deliver`.

    run in the experiment ──► files under model/: model.json with golden/'s digests, MLmodel (the signature)
        ──► evidence ──► version with its tags

The version comes last: interrupted before it, an unused run is left behind and the next attempt makes another.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from contracts.errors import Misconfigured
from inference.domain.model_spec import FILE_NAME, MODEL_FILE_NAME, ModelSpec, parse
from inference.registry import tags
from inference.registry.mlflow_client import NotFound, translated
from inference.registry.model_version import ModelVersion, described
from inference.registry.record import versions_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

EXPERIMENT: Final = "sightline"
SIGNATURE_FILE: Final = "MLmodel"
_ARTIFACTS: Final = "model"
_DIGEST_LENGTH: Final = 36  # the longest digest that MLflow takes for a dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What a model was trained on, by digest."""

    name: str
    digest: str
    source: str  # in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a run says about a model beside its files."""

    metrics: Mapping[str, float]
    files: Path  # a folder; logged under evidence/
    dataset: Dataset
    tags: Mapping[str, str]  # of the version too


def record(
    client: MlflowClient, model: ModelVersion, folder: Path, *, source: str, evidence: Evidence | None = None
) -> str:
    """Logs the folder's files in a run and makes them a version.

    Args:
        client: with an account that may register versions.
        model: of the folder.
        folder: model.onnx, model.json and all that belongs to them.
        source: bootstrap or delivery.
        evidence: logged into the same run.

    Returns:
        The version's number.

    Raises:
        MlflowException: as the client raises it; the caller translates.
    """
    experiment_id = experiment(client)
    run = client.create_run(experiment_id, run_name=f"{source} {model.digest[:12]}")
    run_id = run.info.run_id
    description = described(folder)
    client.log_artifacts(run_id, str(folder), _ARTIFACTS)
    client.log_text(run_id, description.decode(), f"{_ARTIFACTS}/{FILE_NAME}")
    _log_signature(client, run_id, folder)
    if evidence is not None:
        _log_evidence(client, run_id, evidence)
    version = client.create_model_version(
        model.name,
        source=f"{run.info.artifact_uri}/{_ARTIFACTS}",
        run_id=run_id,
        tags={
            tags.DIGEST: model.digest,
            tags.SPEC_DIGEST: hashlib.sha256(description).hexdigest(),
            tags.LICENCE: model.licence,
            tags.SOURCE: source,
            **(evidence.tags if evidence else {}),
        },
    )
    client.set_terminated(run_id)
    return str(version.version)


def experiment(client: MlflowClient) -> str:
    """The id of the experiment that holds our runs, made if need be."""
    found = client.get_experiment_by_name(EXPERIMENT)
    return str(found.experiment_id if found else client.create_experiment(EXPERIMENT))


def ensure_registered_model(client: MlflowClient, name: str) -> None:
    """Makes the registered model if there is none."""
    try:
        with translated(f"looking for {name}"):
            client.get_registered_model(name)
    except NotFound:
        client.create_registered_model(name, description="What looks at every frame. Aliases say which version serves.")


def all_versions(client: MlflowClient, name: str) -> list[Any]:
    """Every version of the registered model, MLflow's own objects, the oldest first."""
    return sorted(versions_of(client, name), key=lambda one: int(one.version))


def version_with(client: MlflowClient, model: ModelVersion, folder: Path) -> str | None:
    """The first version that holds this very model, its files and its description.

    The first, so that two deliveries at once, which both found none, agree on one when they look again.
    Versions from before golden/ had digests have the folder's model.json as it is.
    """
    descriptions = {hashlib.sha256(described(folder)).hexdigest(), model.spec_digest}
    for one in all_versions(client, model.name):
        if one.tags.get(tags.DIGEST) == model.digest and one.tags.get(tags.SPEC_DIGEST) in descriptions:
            return str(one.version)
    return None


def signature(spec: ModelSpec) -> ModelSignature:
    """What the graph takes and gives, as MLflow writes it; -1 is a size that may vary."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    batch = -1 if spec.input.dynamic else 1
    size = (-1, -1) if spec.input.dynamic else (spec.input.height, spec.input.width)
    shape = (batch, 3, *size) if spec.input.layout == "NCHW" else (batch, *size, 3)
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), shape, spec.input.name)]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (batch, 4 + len(spec.classes), -1), spec.output_name)]),
    )


def _log_signature(client: MlflowClient, run_id: str, folder: Path) -> None:
    from mlflow.models import Model

    try:
        spec = parse((folder / FILE_NAME).read_bytes())
    except OSError as error:
        raise Misconfigured(f"cannot read {FILE_NAME} in {folder}: {error.strerror}") from error
    described = Model(artifact_path=_ARTIFACTS, run_id=run_id, signature=signature(spec))
    described.add_flavor("onnx", data=MODEL_FILE_NAME)
    with tempfile.TemporaryDirectory(prefix="sightline-signature-") as scratch:
        file = Path(scratch) / SIGNATURE_FILE
        described.save(str(file))
        client.log_artifact(run_id, str(file), _ARTIFACTS)


def _log_evidence(client: MlflowClient, run_id: str, evidence: Evidence) -> None:
    from mlflow.entities import Dataset as MlflowDataset
    from mlflow.entities import DatasetInput, InputTag, Metric, RunTag
    from mlflow.utils.time import get_current_time_millis

    now = get_current_time_millis()
    metrics = [Metric(name, value, now, 0) for name, value in evidence.metrics.items()]
    tags = [RunTag(name, value) for name, value in evidence.tags.items()]
    client.log_batch(run_id, metrics=metrics, tags=tags)
    client.log_artifacts(run_id, str(evidence.files), "evidence")
    trained_on = MlflowDataset(
        name=evidence.dataset.name,
        digest=evidence.dataset.digest[:_DIGEST_LENGTH],
        source_type="local",
        source=evidence.dataset.source,
    )
    context = [InputTag("mlflow.data.context", "training")]
    client.log_inputs(run_id, datasets=[DatasetInput(dataset=trained_on, tags=context)])
