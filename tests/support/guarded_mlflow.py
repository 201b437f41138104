"""A real MLflow behind the login, on a database and a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from pydantic import SecretStr

from contracts.settings import LoginSettings, MlflowSettings, Settings
from tests.support.keycloak import KeycloakServer
from tests.support.postgres import free_port

START_SECONDS = 180
CLIENT = "sightline-mlflow"


@contextmanager
def mlflow_behind_login(keycloak: KeycloakServer) -> Iterator[str]:
    """Its URL. The realm lets browsers come back to it."""
    url = f"http://127.0.0.1:{free_port()}"
    before, keycloak.mlflow_url = keycloak.mlflow_url, url
    keycloak.ensure_realm()
    database = keycloak.postgres.new_database().postgres
    login = f"{database.user}:{database.password.get_secret_value()}"
    with tempfile.TemporaryDirectory(prefix="sightline-mlflow-") as folder:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SIGHTLINE_", "MLFLOW_"))
        }
        environment |= {
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://{login}@127.0.0.1:{database.port}/{database.database}",
            "MLFLOW_ARTIFACTS_DESTINATION": f"{folder}/artifacts",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "SIGHTLINE_STACK__HOME": folder,
            "SIGHTLINE_AUTH__ISSUER": keycloak.auth.issuer,
            "SIGHTLINE_AUTH__JWKS_URL": keycloak.auth.jwks_url,
            "SIGHTLINE_MLFLOW__TRACKING_URI": url,
            "SIGHTLINE_LOGIN__SERVICE_ID": CLIENT,
            "SIGHTLINE_LOGIN__SERVICE_SECRET": keycloak.secrets[CLIENT],
        }
        port = url.rpartition(":")[2]
        command = [sys.executable, "-P", "-m", "sightline.stack.mlflow_server", "127.0.0.1", port, "--login"]
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=folder)
        try:
            _wait_until_ready(url, process, log)
            yield url
        finally:
            process.terminate()
            process.wait(30)
            keycloak.mlflow_url = before
            keycloak.ensure_realm()


def as_account(keycloak: KeycloakServer, url: str, account: str, secret: str | None = None) -> Settings:
    """The settings of a process that asks MLflow as this account."""
    password = SecretStr(secret or keycloak.secrets[account])
    return Settings(mlflow=MlflowSettings(tracking_uri=url, username=account, password=password), auth=keycloak.auth)


def as_person(keycloak: KeycloakServer, url: str, token_file: Path) -> Settings:
    """The settings of a person's command; who logged in stands in the token file."""
    return Settings(
        mlflow=MlflowSettings(tracking_uri=url), auth=keycloak.auth, login=LoginSettings(token_file=token_file)
    )


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if time.monotonic() > deadline or process.poll() is not None:
            raise AssertionError(log.read_text()[-6000:])
        time.sleep(0.2)
