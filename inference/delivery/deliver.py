"""The data scientist's one command: a trained model becomes the challenger.

    folder ─► contract test of the artefact ─► MLflow: run with files, signature, figures, dataset ─► version
           ─► POST /v1/models/{version}/challenger

A broken hand-over is refused before anything is registered. The same files delivered again find their version, so a
delivery that was interrupted anywhere is finished by delivering again. Of two deliveries of them at once the first
version counts; the other is marked, and goes when the platform makes the first one challenger.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import simplejpeg

from connectors.api_client import Api
from contracts.errors import Rejected
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.delivery.artefact import Artefact, examine
from inference.delivery.curves import write_figures
from inference.delivery.evaluate import TAIL, OnnxModel
from inference.delivery.evaluation import Truth
from inference.delivery.manifest import MANIFEST_NAME
from inference.delivery.tables import TABLE_NAME, metrics_of
from inference.domain.gate import Latency
from inference.registry.mlflow_client import connect, translated
from inference.registry.registration import Dataset, Evidence, ensure_registered_model, record, version_with
from inference.registry.tags import DUPLICATE_OF, TRAINING_DIGEST

SOURCE: Final = "delivery"

Say = Callable[[str], None]
LabelledJpegs = Iterable[tuple[bytes, Truth]]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Where a hand-over arrived."""

    version: str
    digest: str  # of model.onnx
    is_new: bool  # False: these very files were registered before
    role: str  # challenger | champion
    latencies: tuple[Latency, ...]


def deliver(settings: Settings, folder: Path, *, held_out: LabelledJpegs, api: Api, say: Say) -> Delivered:
    """Examines, registers, and asks for the challenger's place, in this order.

    Args:
        settings: where MLflow is, and who we are there.
        folder: the hand-over, see inference.delivery.artefact.
        held_out: images that training did not see, for the curves; none: no curves.
        api: the platform's.
        say: told of every step.

    Raises:
        Rejected: the artefact breaks its contract, or the platform refuses the version.
        Misconfigured: MLflow or the API refuses us.
        Transient: MLflow or the API is away; deliver again.
    """
    say(f"examining {folder.name}: graph, golden frames, latency, licence, evaluation, training manifest")
    artefact = examine(folder, name=settings.mlflow.model_name)
    for latency in artefact.latencies:
        say(f"  {latency.engine}: {latency.median_ms:.1f} ms an image on one thread")
    version, is_new = _registered(settings, artefact, held_out, say)
    role = _challenge(api, version)
    say(f"version {version} is the {role}")
    _log.info(
        "model_delivered", model_name=artefact.model.name, model_version=version, digest=artefact.model.digest,
        is_new=is_new, role=role,
    )  # fmt: skip
    return Delivered(
        version=version, digest=artefact.model.digest, is_new=is_new, role=role, latencies=artefact.latencies
    )


def _registered(settings: Settings, artefact: Artefact, held_out: LabelledJpegs, say: Say) -> tuple[str, bool]:
    client = connect(settings)
    model = artefact.model
    with translated(f"registering {model.name}"):
        ensure_registered_model(client, model.name)
        version = version_with(client, model, artefact.folder)
    if version is not None:
        say(f"these files are version {version} of {model.name} already")
        return version, False
    with tempfile.TemporaryDirectory(prefix="sightline-evidence-") as scratch:
        files = Path(scratch)
        say("drawing precision over recall and the confusion matrix on held-out images")
        _write_evidence(files, artefact, held_out)
        say(f"registering a version of {model.name}")
        with translated(f"registering {model.name}"):
            version = record(client, model, artefact.folder, source=SOURCE, evidence=_evidence(files, artefact))
            first = version_with(client, model, artefact.folder) or version
            if first != version:
                client.set_model_version_tag(model.name, version, DUPLICATE_OF, first)
    if first != version:
        say(f"another delivery of these files was quicker: version {first} has them, version {version} is withdrawn")
    return first, first == version


def _write_evidence(files: Path, artefact: Artefact, held_out: LabelledJpegs) -> None:
    for name in (TABLE_NAME, MANIFEST_NAME):
        shutil.copyfile(artefact.folder / name, files / name)
    latencies = [asdict(latency) for latency in artefact.latencies]
    (files / "latency.json").write_text(json.dumps(latencies, indent=1) + "\n", "utf-8")
    model = OnnxModel(artefact.folder)
    seen = [
        (model.detect(simplejpeg.decode_jpeg(jpeg, colorspace="RGB"), confidence=TAIL), truth)
        for jpeg, truth in held_out
    ]
    if seen:
        write_figures(files, seen, artefact.spec.classes, confidence=artefact.spec.confidence)


def _evidence(files: Path, artefact: Artefact) -> Evidence:
    latencies = {f"median_ms/{latency.engine}": latency.median_ms for latency in artefact.latencies}
    manifest = artefact.manifest
    return Evidence(
        metrics=metrics_of(artefact.table.to_dict("records")) | latencies,
        files=files,
        dataset=Dataset(name="training", digest=manifest.digest, source=manifest.source),
        tags={TRAINING_DIGEST: manifest.digest},
    )


def _challenge(api: Api, version: str) -> str:
    try:
        api.post(f"/v1/models/{version}/challenger")
    except Rejected as error:
        if error.code == "already_champion":
            return "champion"
        raise
    return "challenger"
