"""A real MLflow server for a test: the program of the local stack, on SQLite, on a free port, gone afterwards.

with mlflow_server() as server:
    settings = server.settings_for("pcb-defects", settings)
    server.stop(); server.start()      # away for a while
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from contracts.settings import Settings
from tests.support.postgres import free_port

START_SECONDS = 120


@dataclass(kw_only=True)
class MlflowServer:
    """One running server; its port and its data outlive a stop."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings_for(self, model: str, settings: Settings) -> Settings:
        mlflow = settings.mlflow.model_copy(update={"tracking_uri": self.url, "model_name": model})
        return settings.model_copy(update={"mlflow": mlflow})

    def start(self) -> None:
        environment = os.environ | {
            "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{self.folder}/mlflow.db",
            "MLFLOW_ARTIFACTS_DESTINATION": str(self.folder / "artifacts"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sightline.stack.mlflow_server", "127.0.0.1", str(self.port)],
                stdout=log,
                stderr=log,
                env=environment,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if httpx.get(f"{self.url}/health", timeout=2, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError((self.folder / "log").read_text()[-3000:])
            time.sleep(0.1)

    def stop(self) -> None:
        """At once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None


@contextmanager
def mlflow_server() -> Iterator[MlflowServer]:
    folder = Path(tempfile.mkdtemp(prefix="sightline-mlflow-"))
    server = MlflowServer(folder=folder, port=free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
