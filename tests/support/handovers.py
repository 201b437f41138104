"""Hand-overs for tests of delivery and gate: the committed models, copied so that a test may break them.

a_handover(folder, "weaker")     model.onnx and all that belongs to it
an_api(settings)                 in place of the service: gives the alias, as its challenger route does
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx

from connectors.api_client import Api
from contracts.settings import Settings
from inference.delivery.evaluate import held_out_boards
from inference.delivery.manifest import TrainingManifest, read_manifest, write_manifest
from inference.registry.mlflow_client import connect

MODELS = Path(__file__).resolve().parents[2] / "inference/delivery"
DEMO = MODELS / "demo_model"
WEAKER = MODELS / "weaker_model"


def a_handover(folder: Path, model: Path = WEAKER) -> Path:
    shutil.copytree(model, folder)
    return folder


def edit_json(file: Path, **changes: Any) -> None:
    """Changes keys of a JSON file; None takes one away."""
    document = json.loads(file.read_text("utf-8")) | changes
    file.write_text(json.dumps({key: value for key, value in document.items() if value is not None}), "utf-8")


def trained_on(folder: Path, *digests: str) -> Path:
    """Adds images to what the model says it was trained on."""
    known = read_manifest(folder)
    images = known.images | set(digests)
    write_manifest(folder, TrainingManifest(source=known.source, images=images, simulator_seeds=known.simulator_seeds))
    return folder


def an_api(settings: Settings, *, answers: httpx.Response | None = None) -> Api:
    def answer(request: httpx.Request) -> httpx.Response:
        if answers is not None:
            return answers
        assert request.headers["Authorization"] == "Bearer of-the-scientist"
        version = request.url.path.removeprefix("/v1/models/").removesuffix("/challenger")
        connect(settings).set_registered_model_alias(settings.mlflow.model_name, "challenger", version)
        return httpx.Response(200, json={"version": version})

    return Api(settings, token=lambda _: "of-the-scientist", transport=httpx.MockTransport(answer))


def few_boards() -> Any:
    return held_out_boards(4)
