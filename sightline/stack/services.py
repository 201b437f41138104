"""The services: what each runs, what it needs, how it is stopped. Pure: nothing is started here.

    postgres ─┬─► registry ─┐
              └─► mlflow ───┤
    s3 ─────────────────────┤
    kafka ──────► connect ──┴─► stream-0 … stream-n, watchdog

Profile full adds keycloak, api and shadow (full_services.py), and Airflow (airflow_services.py). Stopped the other way round, level by level. Third-party services get what they need and no more; our own read
<home>/settings.env themselves.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contracts.errors import Misconfigured
from contracts.settings import PREFIX, Settings
from sightline.stack import airflow_services, full_services
from sightline.stack.home import Home
from sightline.stack.install import Binaries, has_airflow
from sightline.stack.logins import Logins
from sightline.stack.ports import LOOPBACK, STREAM_METRICS, ports
from sightline.stack.service import Service

CONFIG_FOLDER: Final = Path(__file__).parent / "config"

# Databases beside the pipeline's own; one login owns all three.
REGISTRY_DATABASE: Final = "registry"
MLFLOW_DATABASE: Final = "mlflow"

# A broker that starts on a full disk may recover its metadata log as an empty one, and then knows no topic any more.
BROKER_ROOM_BYTES: Final = 64 * 1024 * 1024


def services(home: Home, settings: Settings, binaries: Binaries, logins: Logins | None = None) -> tuple[Service, ...]:
    """Every service of the profile, in the order in which a status page shows them.

    Args:
        home: whose.
        settings: of this home.
        binaries: what they run.
        logins: the accounts' secrets, in profile full; without them they can be shown and stopped, not started.
    """
    table = ports(settings.stack)
    is_full = settings.stack.profile == "full"
    if not is_full:
        logins = None
    elif logins is None:
        logins = Logins(people={}, accounts={})
    workers = [_stream(home, settings, table, n, logins) for n in range(settings.stack.stream_workers)]
    core = (
        _postgres(home, settings, binaries, table),
        _kafka(home, binaries, table),
        _s3(home, settings, binaries, table),
        _registry(settings, binaries, table),
        _connect(home, settings, binaries, table),
        _mlflow(settings, table, logins),
        *workers,
        _watchdog(table),
    )
    if logins is None:
        return core
    return (
        *core,
        full_services.keycloak_service(home, settings, binaries, table, logins),
        full_services.api_service(home, settings, table, logins),
        full_services.shadow_service(home, settings, table, logins),
        *(airflow_services.airflow_services(home, settings, binaries, table, logins) if has_airflow(settings) else ()),
    )


def _postgres(home: Home, settings: Settings, binaries: Binaries, table: Mapping[str, int]) -> Service:
    port = table["postgres"]
    data = home.data / "postgres"
    config = home.run / "postgresql.conf"
    return Service(
        name="postgres",
        purpose="frames, predictions, sessions",
        command=(
            *as_postgres_user(),
            str(binaries.postgres / "postgres"),
            *("-D", str(data), "-p", str(port), "-c", f"config_file={config}"),
            *("-c", f"hba_file={data / 'pg_hba.conf'}", "-c", f"ident_file={data / 'pg_ident.conf'}"),
        ),
        environment={},
        port_names=("postgres",),
        ports=(port,),
        stop_level=0,
        stop_signal="INT",  # "fast": open sessions are ended, a checkpoint is written
        stop_seconds=40,
        url=f"postgresql://{settings.postgres.user}@{LOOPBACK}:{port}/{settings.postgres.database}",
        login=f"{settings.postgres.user}, password in {home.settings_file}",
    )


def as_postgres_user() -> tuple[str, ...]:
    """What goes before a Postgres program: nothing, or for root, who may not run them, a step down to another user.

    That user reaches data and programs wherever they lie, and no folder's permissions are changed for it: it keeps the
    one capability that passes by them.

    Raises:
        Misconfigured: root without `setpriv`.
    """
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise Misconfigured(
            "PostgreSQL does not run as root, and there is no setpriv to step down with: run as an ordinary user, "
            "or install util-linux (apt-get install -y util-linux)"
        )
    user = postgres_user()
    keep = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return (setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *keep)


def postgres_user() -> pwd.struct_passwd:
    """Who owns the database's files when root runs the stack."""
    return pwd.getpwnam("nobody")


def _java(binaries: Binaries, megabytes: int, *options: str) -> tuple[str, ...]:
    return (
        str(binaries.java),
        *("-Xms64m", f"-Xmx{megabytes}m", "-XX:+UseSerialGC", "-XX:MaxDirectMemorySize=128m"),
        *("-XX:+ExitOnOutOfMemoryError", f"-XX:SharedArchiveFile={binaries.java_archive}", "-Djava.awt.headless=true"),
        *options,
    )


def _kafka(home: Home, binaries: Binaries, table: Mapping[str, int]) -> Service:
    return Service(
        name="kafka",
        purpose="the topics",
        command=(
            *_java(binaries, 256, f"-Dlog4j2.configurationFile={CONFIG_FOLDER / 'log4j2.properties'}"),
            *("-cp", f"{binaries.kafka_jars}/*", "kafka.Kafka", str(home.run / "server.properties")),
        ),
        environment={},
        port_names=("kafka", "kafka_controller"),
        ports=(table["kafka"], table["kafka_controller"]),
        room=(home.data / "kafka", BROKER_ROOM_BYTES),
        stop_level=0,
        stop_seconds=40,
        url=f"{LOOPBACK}:{table['kafka']}",
    )


def _s3(home: Home, settings: Settings, binaries: Binaries, table: Mapping[str, int]) -> Service:
    port = table["s3"]
    sidecar = home.data / "s3-metadata"
    # Metadata lies in extended attributes; a filesystem without them gets a folder for it (storage.prepare_s3 decides).
    beside = ("--sidecar", str(sidecar)) if sidecar.is_dir() else ()
    return Service(
        name="s3",
        purpose="images and model files",
        command=(
            str(binaries.versitygw),
            *("--port", f"{LOOPBACK}:{port}", "--health", "/health", "--quiet"),
            *("posix", *beside, str(home.data / "s3")),
        ),
        environment={
            "ROOT_ACCESS_KEY_ID": settings.s3.access_key,
            "ROOT_SECRET_ACCESS_KEY": settings.s3.secret_key.get_secret_value(),
            "VGW_REGION": settings.s3.region,
        },
        port_names=("s3",),
        ports=(port,),
        stop_level=0,
        url=settings.s3.endpoint_url,
        login=f"{settings.s3.access_key}, secret key in {home.settings_file}",
    )


def _registry(settings: Settings, binaries: Binaries, table: Mapping[str, int]) -> Service:
    postgres = settings.postgres
    return Service(
        name="registry",
        purpose="the schemas",
        command=(
            *_java(binaries, 320, "-XX:TieredStopAtLevel=1"),
            *("-jar", str(binaries.registry / "quarkus-run.jar")),
        ),
        environment={
            "QUARKUS_HTTP_HOST": LOOPBACK,
            "QUARKUS_HTTP_PORT": str(table["registry"]),
            "QUARKUS_MANAGEMENT_HOST": LOOPBACK,
            "QUARKUS_MANAGEMENT_PORT": str(table["registry_management"]),
            "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
            "APICURIO_STORAGE_KIND": "sql",  # in memory it would number the schemas anew at each start
            "APICURIO_STORAGE_SQL_KIND": "postgresql",
            "APICURIO_DATASOURCE_URL": f"jdbc:postgresql://{LOOPBACK}:{table['postgres']}/{REGISTRY_DATABASE}",
            "APICURIO_DATASOURCE_USERNAME": postgres.user,
            "APICURIO_DATASOURCE_PASSWORD": postgres.password.get_secret_value(),
            "APICURIO_DATASOURCE_JDBC_INITIAL_SIZE": "1",
            "APICURIO_DATASOURCE_JDBC_MIN_SIZE": "1",
            "APICURIO_DATASOURCE_JDBC_MAX_SIZE": "10",
        },
        port_names=("registry", "registry_management"),
        ports=(table["registry"], table["registry_management"]),
        needs=(table["postgres"],),
        stop_level=1,
        url=settings.registry.url,
    )


def _connect(home: Home, settings: Settings, binaries: Binaries, table: Mapping[str, int]) -> Service:
    return Service(
        name="connect",
        purpose="topics to stores",
        command=(
            *_java(binaries, 512, f"-Dlog4j2.configurationFile={CONFIG_FOLDER / 'log4j2.properties'}"),
            *("-cp", f"{binaries.kafka_jars}/*", "org.apache.kafka.connect.cli.ConnectDistributed"),
            str(home.run / "connect.properties"),
        ),
        environment={
            f"{PREFIX}POSTGRES__PASSWORD": settings.postgres.password.get_secret_value(),
            f"{PREFIX}S3__SECRET_KEY": settings.s3.secret_key.get_secret_value(),
        },
        port_names=("connect",),
        ports=(table["connect"],),
        needs=(table["kafka"],),
        stop_level=2,
        stop_seconds=12,  # now and then its REST server waits for itself; what it had not committed comes again
        url=settings.connect.url,
    )


def _mlflow(settings: Settings, table: Mapping[str, int], logins: Logins | None) -> Service:
    postgres, s3 = settings.postgres, settings.s3
    behind_login = () if logins is None else ("--login",)
    login = f"{postgres.user}:{postgres.password.get_secret_value()}"
    return Service(
        name="mlflow",
        purpose="the models",
        command=(
            *(sys.executable, "-P", "-m", "sightline.stack.mlflow_server", LOOPBACK, str(table["mlflow"])),
            *behind_login,
        ),
        environment={
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://{login}@{LOOPBACK}:{table['postgres']}/{MLFLOW_DATABASE}",
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{s3.mlflow_bucket}",
            "MLFLOW_S3_ENDPOINT_URL": s3.endpoint_url,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key.get_secret_value(),
            "AWS_DEFAULT_REGION": s3.region,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its helpers are five processes of 200 MB
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **full_services.mlflow_environment(logins),
        },
        port_names=("mlflow",),
        ports=(table["mlflow"],),
        needs=(table["postgres"],),
        stop_level=1,
        url=settings.mlflow.tracking_uri,
        login="" if logins is None else "as at keycloak",
    )


def _stream(home: Home, settings: Settings, table: Mapping[str, int], n: int, logins: Logins | None) -> Service:
    port = table[STREAM_METRICS] + n
    return Service(
        name=f"stream-{n}",
        purpose="inference",
        command=(sys.executable, "-P", "-m", "inference.stream"),
        environment={
            **full_services.model_environment(home, settings, logins, full_services.WORKER),
            f"{PREFIX}STREAM__METRICS_PORT": str(port),
        },
        port_names=(STREAM_METRICS,),
        ports=(port,),
        needs=(table["kafka"], table["registry"]),
        stop_level=3,
        stop_seconds=30,  # what was fetched is finished
        url=f"http://{LOOPBACK}:{port}/metrics",
    )


def _watchdog(table: Mapping[str, int]) -> Service:
    port = table["watchdog_metrics"]
    return Service(
        name="watchdog",
        purpose="restarts failed connectors, makes day partitions",
        command=(sys.executable, "-P", "-m", "connectors.watchdog"),
        environment={},
        port_names=("watchdog_metrics",),
        ports=(port,),
        needs=(table["connect"], table["postgres"]),
        stop_level=3,
        url=f"http://{LOOPBACK}:{port}/metrics",
    )
