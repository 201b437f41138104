"""Airflow in profile full: four processes, one environment, one database; tasks run below the scheduler.

    postgres, keycloak ─► api-server ─┬─► scheduler ─► tasks (local processes, at most PARALLELISM)
                                      ├─► triggerer
                                      └─► dag-processor ─► <root>/dags

Started one by one, for `airflow standalone` listens on all interfaces and leaves its children behind. Every setting comes
by the environment: there is no airflow.cfg of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from contracts.errors import Misconfigured, Transient
from contracts.settings import PREFIX, PostgresSettings, S3Settings, Settings
from sightline.stack import airflow_permissions, keycloak, reader, realm
from sightline.stack.home import Home, gate_sets
from sightline.stack.install import ROOT, Binaries
from sightline.stack.logins import Logins
from sightline.stack.ports import LOOPBACK, ports
from sightline.stack.service import Service

DATABASE: Final = "airflow"
LOGS_BUCKET: Final = "airflow-logs"
JOBS: Final = "sightline-jobs"  # in the realm: who a job is towards the API and MLflow
PARALLELISM: Final = 4
GATE_BOARDS: Final = 100  # of the seed gate set: enough labels of each class, in two minutes
DATABASE_SCRIPT: Final = Path(__file__).with_name("airflow_database.py")

# Made once and kept in logins.json: with others the stored connections and the running tasks' tokens are worth nothing.
READER: Final = "postgres-reader"  # the password of the role that only reads
KEYS: Final = ("airflow-fernet", "airflow-jwt", "airflow-secret", READER)

_SECONDS: Final = 3.0
_PREPARE_SECONDS: Final = 300
_AUTH_MANAGER: Final = "airflow.providers.keycloak.auth_manager.keycloak_auth_manager.KeycloakAuthManager"


def airflow_services(
    home: Home, settings: Settings, binaries: Binaries, table: Mapping[str, int], logins: Logins
) -> tuple[Service, ...]:
    """The four, in the order of a status page."""
    if binaries.airflow is None:
        raise Misconfigured("no Airflow environment: sightline up --profile full fetches it")
    given, port = environment(home, settings, table, logins), table["airflow"]
    python = binaries.airflow / "bin" / "python"

    def process(part: str, purpose: str, *options: str, **more: Any) -> Service:
        return Service(
            name=f"airflow-{part}",
            purpose=purpose,
            command=(str(python), "-P", "-m", "airflow", part, *options),
            **{"environment": given, "stop_level": 4, "needs": (table["postgres"],), "stop_seconds": 20, **more},
        )

    return (
        process(
            "api-server",
            "jobs: pages and REST",
            *("--host", LOOPBACK, "--port", str(port), "--workers", "1"),
            port_names=("airflow",),
            ports=(port,),
            needs=(table["postgres"], table["keycloak"]),
            url=f"http://{LOOPBACK}:{port}",
            stop_level=3,
            login="as at keycloak",
        ),
        process(
            "scheduler",
            "jobs: runs what is due",
            "--skip-serve-logs",
            environment={**given, **jobs_environment(logins)},
            needs=(table["postgres"], port),
            stop_seconds=30,
        ),
        process("dag-processor", "jobs: reads the DAGs"),
        process(
            "triggerer",
            "jobs: waits for others",
            "--skip-serve-logs",
            environment={**given, **jobs_environment(logins)},
            needs=(table["postgres"], port),
        ),
    )


def environment(home: Home, settings: Settings, table: Mapping[str, int], logins: Logins) -> dict[str, str]:
    """What each of them runs with."""
    url = f"http://{LOOPBACK}:{table['airflow']}"
    options = {
        "CORE__EXECUTOR": "sightline_airflow.executor.LocalExecutor",  # its workers end with the scheduler
        "CORE__PARALLELISM": str(PARALLELISM),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_FOLDER": str(settings.stack.dags or ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__AUTH_MANAGER": _AUTH_MANAGER,
        "CORE__FERNET_KEY": logins.keys.get("airflow-fernet", ""),
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "API__BASE_URL": url,
        "API__SECRET_KEY": logins.keys.get("airflow-secret", ""),
        "API_AUTH__JWT_SECRET": logins.keys.get("airflow-jwt", ""),
        "DATABASE__SQL_ALCHEMY_CONN": database_url(settings.postgres, table["postgres"]),
        "DATABASE__SQL_ALCHEMY_POOL_SIZE": "3",
        "DATABASE__SQL_ALCHEMY_MAX_OVERFLOW": "7",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "KEYCLOAK_AUTH_MANAGER__SERVER_URL": f"http://{LOOPBACK}:{table['keycloak']}",
        "KEYCLOAK_AUTH_MANAGER__REALM": keycloak.REALM,
        "KEYCLOAK_AUTH_MANAGER__CLIENT_ID": airflow_permissions.CLIENT,
        "KEYCLOAK_AUTH_MANAGER__CLIENT_SECRET": logins.accounts.get(airflow_permissions.CLIENT, ""),
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "60",  # what a killed scheduler left is not tried again sooner
        "LOGGING__REMOTE_LOGGING": "True",
        "LOGGING__REMOTE_BASE_LOG_FOLDER": f"s3://{LOGS_BUCKET}",
        "LOGGING__REMOTE_LOG_CONN_ID": "sightline_s3",
        "LOGGING__DELETE_LOCAL_LOGS": "True",  # when they are in the bucket
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    return {
        **{f"AIRFLOW__{name}": value for name, value in options.items()},
        # Its titles would be written over the environment, by which a stray process is known as this home's.
        "SPT_NOENV": "1",
        "AIRFLOW_HOME": str(home.data / "airflow"),
        "AIRFLOW_CONN_SIGHTLINE_POSTGRES": json.dumps(
            _postgres_connection(settings.postgres, table["postgres"], logins)
        ),
        "AIRFLOW_CONN_SIGHTLINE_S3": json.dumps(_s3_connection(settings.s3)),
        # What jobs are told (contracts.settings): as processes of this machine, with the service's own Python.
        f"{PREFIX}JOBS__RUNNER": "local",
        f"{PREFIX}JOBS__PYTHON": sys.executable,
        f"{PREFIX}JOBS__FOLDER": str(ROOT),
        f"{PREFIX}JOBS__APPROVERS": json.dumps(realm.people_with("approver")),
        f"{PREFIX}JOBS__GATE_BOARDS": str(_gate_boards(settings)),
        f"{PREFIX}JOBS__POOL": settings.jobs.pool,  # the one that prepare makes
        "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}",  # contracts.settings, sightline_airflow
    }


def _gate_boards(settings: Settings) -> int:
    """A delivery is judged on simulated boards while those count here, unless somebody said otherwise."""
    if "gate_boards" in settings.jobs.model_fields_set or gate_sets(settings) == "reviewed":
        return settings.jobs.gate_boards
    return GATE_BOARDS


def jobs_environment(logins: Logins) -> dict[str, str]:
    """Of the tasks and triggers: who a job is. Scheduler and triggerer run those; the other two need no such secret."""
    secret = logins.accounts.get(JOBS, "")
    return {
        f"{PREFIX}LOGIN__SERVICE_ID": JOBS,
        f"{PREFIX}LOGIN__SERVICE_SECRET": secret,
        f"{PREFIX}MLFLOW__USERNAME": JOBS,
        f"{PREFIX}MLFLOW__PASSWORD": secret,
    }


def database_url(postgres: PostgresSettings, port: int) -> str:
    """Of Airflow's own tables."""
    return f"postgresql+psycopg2://{postgres.user}:{postgres.password.get_secret_value()}@{LOOPBACK}:{port}/{DATABASE}"


def _postgres_connection(postgres: PostgresSettings, port: int, logins: Logins) -> dict[str, Any]:
    """For planning and checks, which read: a role that may do nothing else."""
    return {
        "conn_type": "postgres",
        "host": LOOPBACK,
        "port": port,
        "login": reader.ROLE,
        "password": logins.keys.get(READER, ""),
        "schema": postgres.database,
    }


def _s3_connection(s3: S3Settings) -> dict[str, Any]:
    return {
        "conn_type": "aws",
        "login": s3.access_key,
        "password": s3.secret_key.get_secret_value(),
        "extra": {
            "endpoint_url": s3.endpoint_url,
            "region_name": s3.region,
            "config_kwargs": {"s3": {"addressing_style": "path"}, "signature_version": "s3v4"},
        },
    }


def prepare(home: Home, settings: Settings, environment_folder: Path, logins: Logins) -> None:
    """Has Airflow make its tables and its pool: ten seconds, most of them imports.

    Raises:
        Transient: it failed; the message holds the end of what it said.
    """
    given = environment(home, settings, ports(settings.stack), logins)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    python, pool = environment_folder / "bin" / "python", settings.jobs.pool
    command = [str(python), "-P", str(DATABASE_SCRIPT), pool, str(PARALLELISM)]
    ended = subprocess.run(
        command,
        env=clean | given,
        cwd=home.run,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PREPARE_SECONDS,
        check=False,
    )
    if ended.returncode != 0:
        tail = "\n".join((ended.stdout + ended.stderr).splitlines()[-15:])
        raise Transient(f"making Airflow's tables failed with code {ended.returncode}:\n{tail}")


def is_ready(name: str, port: int) -> bool:
    """Whether one of the four does its work: the API server says so of itself and, by their heartbeats, of the rest."""
    try:
        answer = httpx.get(f"http://{LOOPBACK}:{port}/api/v2/monitor/health", timeout=_SECONDS, trust_env=False)
        said = answer.json() if answer.is_success else {}
    except (httpx.HTTPError, ValueError):
        return False
    part = name.removeprefix("airflow-").replace("-", "_")
    asked = "metadatabase" if part == "api_server" else part
    return bool(said.get(asked, {}).get("status") == "healthy")
