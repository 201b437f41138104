"""Who serves the model: ours, plain FastAPI, and the peers. All get one core, one thread of inference, no batching.

ours         python -m inference.api, one process, a token verified with every request       raw bytes, JSON back
FastAPI      one process, one thread for the engine (peers/fastapi_server.py)                raw bytes
LitServe     one API server, one worker process                                              raw bytes
BentoML      one worker, one thread                                                          raw bytes
MLServer     no worker process: inference in the server's own                                V2, base64 in JSON
MLflow       `mlflow models serve`, one worker, signature from type hints                    base64 in JSON

The body is the quickest that the server takes; docs/benchmarks.md says what else was tried.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any, Final

from tests.bench.field import Field
from tests.bench.load import Target
from tests.bench.servers import Contender, a_free_port

RAW: Final = {"Content-Type": "image/jpeg"}
JSON: Final = {"Content-Type": "application/json"}
_TOKEN_SECONDS: Final = 3600  # longer than the benchmark: one token, as a client would use it


def ours(field: Field, *, places: int = 64) -> Contender:
    """The API as it is, without its stores: they are asked nothing."""
    port = a_free_port()
    token = field.realm.token(roles=["operator"], exp=int(time.time()) + _TOKEN_SECONDS)
    settings = {
        "STACK__HOME": str(field.folder / "no-home"),
        "API__PORT": str(port),
        "API__ENGINE": field.engine,
        "API__QUEUED_REQUESTS": str(places),
        "AUTH__ISSUER": field.realm.issuer,
        "AUTH__JWKS_URL": field.keys_url,
        "LOG__LEVEL": "ERROR",
    }
    if field.engine != "fake":
        settings["API__MODEL_FOLDER"] = str(field.model)
    return Contender(
        name="Sightline",
        command=[sys.executable, "-m", "inference.api"],
        environment={f"SIGHTLINE_{setting}": value for setting, value in settings.items()},
        target=field.target(f"http://127.0.0.1:{port}/v1/detections", {**RAW, "Authorization": f"Bearer {token}"}),
        boxes=lambda answer: [found["box"] for found in answer["detections"]],
    )


def bare_fastapi(field: Field) -> Contender:
    """Without the hop to a thread, which an engine that takes time needs."""
    return fastapi(field, route="predict-on-the-loop", name="FastAPI, engine on its loop")


def fastapi(field: Field, *, route: str = "predict", name: str = "FastAPI") -> Contender:
    """In our own environment, so that both have the same version of everything."""
    port = a_free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.bench.peers.fastapi_server:app", "--host", "127.0.0.1"]
    return Contender(
        name=name,
        command=[*command, "--port", str(port), "--no-access-log", "--log-level", "warning"],
        environment=field.environment | {"PATH": os.environ["PATH"]},
        target=field.target(f"http://127.0.0.1:{port}/{route}", RAW),
        boxes=_boxes,
    )


def litserve(field: Field) -> Contender:
    """With the quicker of its two queues."""
    port = a_free_port()
    return Contender(
        name="LitServe",
        command=[str(field.programs / "python"), "-m", "tests.bench.peers.litserve_server", str(port)],
        environment=field.environment,
        target=field.target(f"http://127.0.0.1:{port}/predict", RAW),
        boxes=_boxes,
    )


def bentoml(field: Field) -> Contender:
    """Its own command."""
    port = a_free_port()
    return Contender(
        name="BentoML",
        command=[str(field.programs / "bentoml"), "serve", "tests.bench.peers.bentoml_server:Detector"]
        + ["--host", "127.0.0.1", "--port", str(port)],
        environment=field.environment,
        target=field.target(f"http://127.0.0.1:{port}/predict", RAW),
        boxes=_boxes,
    )


def mlserver(field: Field) -> Contender:
    """Its own command, over a folder with its two settings files."""
    port, folder = a_free_port(), field.folder / "mlserver"
    folder.mkdir()
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": a_free_port(),
        "metrics_port": a_free_port(),
        "parallel_workers": 0,
        "debug": False,
        "gzip_enabled": False,
        "metrics_dir": str(folder / "metrics"),
        "environments_dir": str(folder / "environments"),
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": "detector", "implementation": "tests.bench.peers.mlserver_model.Detector"}
    (folder / "model-settings.json").write_text(json.dumps(model))
    bodies = field.wrapped("mlserver-bodies", lambda image: {"inputs": [_v2(image)]})
    return Contender(
        name="MLServer",
        command=[str(field.programs / "mlserver"), "start", str(folder)],
        environment=field.environment,
        target=Target(url=f"http://127.0.0.1:{port}/v2/models/detector/infer", headers=JSON, bodies=bodies),
        boxes=lambda answer: json.loads(answer["outputs"][0]["data"][0])["boxes"],
    )


def mlflow(field: Field) -> Contender:
    """Its own command, over a model saved by peers/mlflow_model.py."""
    port, model = a_free_port(), field.folder / "mlflow"
    environment = {**os.environ, **field.environment}
    saving = [str(field.programs / "python"), "-m", "tests.bench.peers.mlflow_model", str(model)]
    saved = subprocess.run(saving, env=environment, cwd=field.folder, capture_output=True, text=True, timeout=120)
    assert saved.returncode == 0, saved.stderr
    return Contender(
        name="MLflow",
        command=[str(field.programs / "mlflow"), "models", "serve", "-m", str(model), "--env-manager", "local"]
        + ["-h", "127.0.0.1", "-p", str(port), "-w", "1"],
        environment={**field.environment, "UVICORN_ACCESS_LOG": "false"},
        target=Target(
            url=f"http://127.0.0.1:{port}/invocations",
            headers=JSON,
            bodies=field.wrapped("mlflow-bodies", lambda image: {"inputs": [image]}),
        ),
        boxes=lambda answer: answer["predictions"][0]["boxes"],
    )


def _boxes(answer: Any) -> list[list[float]]:
    return answer["boxes"]


def _v2(image: str) -> dict[str, object]:
    return {"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}
