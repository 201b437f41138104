"""What the stores must hold before the first frame. Every step is harmless when repeated.

databases        sightline, registry, mlflow; keycloak, airflow in profile full
migrations       the newest revision, partitions of every day
buckets          frames, mlflow; airflow-logs in profile full
topics           as contracts.topics says, asserted
schemas          FULL_TRANSITIVE set and asserted, every version registered
realm            roles, clients and people (profile full)
airflow          its tables, its pool of GPUs, its role that reads the pipeline's tables (profile full)
champion         the demo model, where no version is champion yet; its row in the ledger
connectors       as connectors/sinks/*.json say
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
from pydantic import SecretStr

from contracts.errors import Misconfigured, Transient
from contracts.settings import Settings
from inference.registry import tags
from sightline.stack import airflow_services
from sightline.stack.full_services import BOOTSTRAP, KEYCLOAK_DATABASE
from sightline.stack.home import Home
from sightline.stack.install import Binaries, has_airflow
from sightline.stack.logins import Logins
from sightline.stack.ports import LOOPBACK, ports
from sightline.stack.services import MLFLOW_DATABASE, REGISTRY_DATABASE

ROOT: Final = Path(__file__).resolve().parents[2]
DEMO_MODEL: Final = ROOT / "inference" / "delivery" / "demo_model"


# What the steps apply. While the stack runs and none of it changed, they need not be repeated.
_APPLIED: Final = (
    "contracts/topics.py",
    "contracts/avro",
    "connectors/sinks",
    "connectors/reconcile.py",
    "inference/persistence/migrations",
    "inference/delivery/demo_model/model.json",
    "inference/delivery/demo_model/model.onnx",
    "sightline/stack/config/realm.json",
    "sightline/stack/realm.py",
    "sightline/stack/airflow_permissions.py",
    "sightline/stack/airflow_database.py",
    "sightline/stack/reader.py",
    "uv.lock",  # Airflow's version, and so its tables
)


def inputs_digest(*settings_files: Path) -> str:
    """Changes whenever a step would have something new to do."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in settings_files if file.is_file()))
    for top in _APPLIED:
        path = ROOT / top
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix != ".pyc":
                digest.update(f"{file.relative_to(ROOT)} {file.stat().st_size}".encode() + file.read_bytes())
    return digest.hexdigest()


def create_databases(settings: Settings) -> None:
    """Creates those that are missing."""
    import psycopg
    from psycopg import sql

    postgres = settings.postgres
    with psycopg.connect(
        host=postgres.host,
        port=postgres.port,
        user=postgres.user,
        password=postgres.password.get_secret_value(),
        dbname="postgres",
        autocommit=True,
    ) as connection:
        existing = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        login = (KEYCLOAK_DATABASE,) if settings.stack.profile == "full" else ()
        jobs = (airflow_services.DATABASE,) if has_airflow(settings) else ()
        for name in (postgres.database, REGISTRY_DATABASE, MLFLOW_DATABASE, *login, *jobs):
            if name not in existing:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def migrate(settings: Settings) -> None:
    """Brings the schema to the newest revision and makes the day partitions."""
    from inference import persistence

    persistence.migrate(settings)
    persistence.ensure_partitions(settings)


def create_buckets(settings: Settings) -> None:
    """Creates the missing ones."""
    from inference.persistence.objects import ensure_buckets

    ensure_buckets(settings, also=(airflow_services.LOGS_BUCKET,) if has_airflow(settings) else ())


def ensure_topics(settings: Settings) -> None:
    """Creates and asserts the topics."""
    from connectors import kafka

    kafka.ensure_topics(settings)


def register_schemas(settings: Settings) -> None:
    """Sets the compatibility, registers and asserts every version on disk."""
    from connectors.schema_registry import SchemaRegistry

    registry = SchemaRegistry(settings.registry)
    try:
        registry.register_all()
        registry.assert_registered()
    finally:
        registry.close()


def prepare_airflow(home: Home, settings: Settings, binaries: Binaries, logins: Logins) -> None:
    """Brings Airflow's tables to its version and makes its pool. Its database bears the version's name when that is done.

    Raises:
        Transient: it failed; the message holds the end of what it said.
    """
    import psycopg
    from psycopg import sql

    if binaries.airflow is None:
        return
    done = f"{binaries.airflow.name} {_airflow_script_digest()}"
    postgres = settings.postgres
    with psycopg.connect(
        host=postgres.host,
        port=postgres.port,
        user=postgres.user,
        password=postgres.password.get_secret_value(),
        dbname=airflow_services.DATABASE,
        autocommit=True,
    ) as connection:
        said = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        row = connection.execute(said).fetchone()
        if row is not None and row[0] == done:
            return
        airflow_services.prepare(home, settings, binaries.airflow, logins)
        comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
        connection.execute(comment.format(sql.Identifier(airflow_services.DATABASE), sql.Literal(done)))


def ensure_reader(settings: Settings, logins: Logins) -> None:
    """Makes the role by which Airflow's tasks read the pipeline's tables."""
    from sightline.stack import reader

    reader.ensure_reader(settings.postgres, logins.keys[airflow_services.READER])


def _airflow_script_digest() -> str:
    return hashlib.sha256(airflow_services.DATABASE_SCRIPT.read_bytes()).hexdigest()[:10]


def ensure_realm(settings: Settings, logins: Logins) -> None:
    """Makes the realm as config/realm.json says, with this home's URLs and secrets."""
    from sightline.stack import keycloak, realm
    from sightline.stack.keycloak_admin import KeycloakAdmin

    table = ports(settings.stack)
    url = f"http://{LOOPBACK}:{table['keycloak']}"
    wanted = realm.load(
        realm.filling(
            api_url=settings.api.url,
            mlflow_url=settings.mlflow.tracking_uri,
            airflow_url=f"http://{LOOPBACK}:{table['airflow']}",
            secrets=logins.accounts,
        )
    )
    with KeycloakAdmin(url, logins.accounts[keycloak.ADMIN_CLIENT]) as admin:
        realm.ensure(admin, wanted, logins.people)


def as_bootstrap(settings: Settings, logins: Logins | None) -> Settings:
    """The settings of the steps that ask MLflow: in profile full with an account that may move aliases."""
    if logins is None:
        return settings
    account = {"username": BOOTSTRAP, "password": SecretStr(logins.accounts[BOOTSTRAP])}
    return settings.model_copy(update={"mlflow": settings.mlflow.model_copy(update=account)})


def ensure_champion(settings: Settings) -> None:
    """Registers the demo model as champion where that is nobody's decision but ours."""
    from inference.registry.model_version import of_folder

    folder = settings.stack.first_model or DEMO_MODEL
    digest = of_folder(folder, name=settings.mlflow.model_name).digest
    version, tags = _champion(settings)
    if _is_settled(tags, digest) and version == _champion_of_the_ledger(settings):
        return
    from inference.registry import bootstrap

    bootstrap.ensure_champion(settings, folder)


def _is_settled(given: Mapping[str, str] | None, digest: str) -> bool:
    """Whether the champion is the demo model of this clone, or one that people chose. None: there is none."""
    return given is not None and (given.get(tags.DIGEST) == digest or given.get(tags.SOURCE) != tags.BOOTSTRAP)


def _champion_of_the_ledger(settings: Settings) -> str | None:
    """Its version; None: there is no row, or one is half-done."""
    from inference.persistence import connect, ledger

    name = settings.mlflow.model_name
    with connect(settings) as connection:
        champion = ledger.champion_of(connection, name)
        is_open = ledger.under_way(connection, name) is not None
    return None if champion is None or is_open else champion.version


def _champion(settings: Settings) -> tuple[str | None, dict[str, str] | None]:
    """The version that has the alias, and its tags. By HTTP: importing MLflow's client costs seconds.

    Raises:
        Transient: MLflow is away, or its login.
        Misconfigured: it refuses us.
    """
    mlflow = settings.mlflow
    try:
        answer = httpx.get(
            f"{mlflow.tracking_uri}/api/2.0/mlflow/registered-models/alias",
            params={"name": mlflow.model_name, "alias": mlflow.alias},
            auth=(mlflow.username, mlflow.password.get_secret_value()) if mlflow.username else None,
            timeout=10,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise Transient(f"asking MLflow for its champion: {type(error).__name__}") from error
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise Misconfigured(
            f"MLflow refuses the account {mlflow.username or '(none)'} ({answer.status_code}): its secret in logins.json "
            "is not Keycloak's. sightline up applies it once more"
        )
    if answer.is_server_error:
        raise Transient(f"asking MLflow for its champion: it answered {answer.status_code}")
    if answer.status_code != httpx.codes.OK:
        return None, None
    found = answer.json()["model_version"]
    return str(found["version"]), {tag["key"]: tag["value"] for tag in found.get("tags", [])}


def apply_connectors(settings: Settings) -> None:
    """Makes the running connectors as the files say."""
    from connectors import apply

    apply.apply(settings)
