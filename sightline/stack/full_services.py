"""What profile full adds: the login, the API, the shadow.

postgres ─► keycloak          kafka, registry, postgres ─► api          kafka, registry ─► shadow
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from contracts.errors import Misconfigured
from contracts.settings import PREFIX, Settings
from sightline.stack import keycloak
from sightline.stack.home import Home
from sightline.stack.install import Binaries
from sightline.stack.logins import Logins
from sightline.stack.ports import LOOPBACK
from sightline.stack.service import Service

KEYCLOAK_DATABASE: Final = "keycloak"

# Accounts in the realm, by what acts with them.
MLFLOW_CLIENT: Final = "sightline-mlflow"
WORKER: Final = "sightline-worker"
PROMOTER: Final = "sightline-promoter"
BOOTSTRAP: Final = "sightline-bootstrap"


def keycloak_service(
    home: Home, settings: Settings, binaries: Binaries, table: Mapping[str, int], logins: Logins
) -> Service:
    """Who may do what."""
    if binaries.keycloak is None:
        raise Misconfigured("profile full without Keycloak's files: sightline up --profile full fetches them")
    postgres, url = settings.postgres, f"http://{LOOPBACK}:{table['keycloak']}"
    return Service(
        name="keycloak",
        purpose="logins and tokens",
        command=keycloak.command(binaries.java, binaries.keycloak, *keycloak.START, java_archive=binaries.java_archive),
        environment=keycloak.environment(
            url=url,
            host=LOOPBACK,
            port=table["keycloak"],
            management_port=table["keycloak_management"],
            jdbc_url=f"jdbc:postgresql://{LOOPBACK}:{table['postgres']}/{KEYCLOAK_DATABASE}",
            user=postgres.user,
            password=postgres.password.get_secret_value(),
            admin_secret=logins.accounts.get(keycloak.ADMIN_CLIENT, ""),
        ),
        port_names=("keycloak", "keycloak_management"),
        ports=(table["keycloak"], table["keycloak_management"]),
        needs=(table["postgres"],),
        stop_level=1,
        url=f"{url}/realms/{keycloak.REALM}/account",
        login=f"viewer, operator, reviewer, scientist, approver, admin: passwords in {home.logins_file}",
    )


def api_service(home: Home, settings: Settings, table: Mapping[str, int], logins: Logins) -> Service:
    """Images in, boxes out; what was stored, read back."""
    return Service(
        name="api",
        purpose="REST: detections, frames, reviews, models",
        command=(sys.executable, "-P", "-m", "inference.api"),
        environment=model_environment(home, settings, logins, PROMOTER),
        port_names=("api",),
        ports=(table["api"],),
        needs=(table["kafka"], table["registry"], table["postgres"]),
        stop_level=3,
        stop_seconds=int(settings.api.drain_seconds) + 7,  # it answers what it took, then closes its neighbours
        url=f"{settings.api.url}/docs",
        login="a token: sightline token",
    )


def shadow_service(home: Home, settings: Settings, table: Mapping[str, int], logins: Logins) -> Service:
    """The challenger beside the champion, on the same frames."""
    port = table["shadow_metrics"]
    return Service(
        name="shadow",
        purpose="the challenger's inference",
        command=(sys.executable, "-P", "-m", "inference.stream"),
        environment={
            **model_environment(home, settings, logins, WORKER),
            f"{PREFIX}STREAM__ROLE": "challenger",
            f"{PREFIX}STREAM__METRICS_PORT": str(port),
        },
        port_names=("shadow_metrics",),
        ports=(port,),
        needs=(table["kafka"], table["registry"]),
        stop_level=3,
        stop_seconds=30,  # what was fetched is finished
        url=f"http://{LOOPBACK}:{port}/metrics",
    )


def model_environment(home: Home, settings: Settings, logins: Logins | None, account: str) -> dict[str, str]:
    """Of a process that serves a model: where its files are kept, and in profile full who it is towards MLflow."""
    chosen = "cache_folder" in settings.stream.model_fields_set
    models = settings.stream.cache_folder.absolute() if chosen else home.data / "models"
    kept = {f"{PREFIX}STREAM__CACHE_FOLDER": str(models)}
    if settings.stack.profile == "core" or logins is None:
        return kept
    return kept | {
        f"{PREFIX}MLFLOW__USERNAME": account,
        f"{PREFIX}MLFLOW__PASSWORD": logins.accounts.get(account, ""),
    }


def mlflow_environment(logins: Logins | None) -> dict[str, str]:
    """Who MLflow is towards Keycloak: the client that its pages log in with."""
    if logins is None:
        return {}
    return {
        f"{PREFIX}LOGIN__SERVICE_ID": MLFLOW_CLIENT,
        f"{PREFIX}LOGIN__SERVICE_SECRET": logins.accounts.get(MLFLOW_CLIENT, ""),
    }
