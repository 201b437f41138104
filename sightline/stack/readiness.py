"""Does a service do its work? One question each, asked from outside as its users do; never a JVM for it.

postgres  a login       kafka    its topics             s3, registry, connect, mlflow   an HTTP 200
stream    a member of its group, partitions assigned    watchdog, shadow                its metrics
keycloak  its own health page                           api                             /readyz
airflow   its own health page, for each of the four
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, Final

import httpx
import psutil

from contracts.errors import Transient
from contracts.settings import Settings
from sightline.stack import airflow_services
from sightline.stack.home import Home
from sightline.stack.launch_record import starts_of
from sightline.stack.ports import LOOPBACK, ports
from sightline.stack.service import Service
from sightline.stack.supervision import Supervisor, tail

# A service that dies is noticed at once. One that only takes long is let: on a busy machine Keycloak makes its tables in minutes.
READY_SECONDS: Final = 420.0
_MOST_STARTS: Final = 4
_PROBE_SECONDS: Final = 3.0

_HEALTH: Final = {
    "s3": "/health",
    "registry": "/apis/ccompat/v7/config",
    "connect": "/connectors",
    "mlflow": "/health",
    "watchdog": "",  # its URL is the metrics page
    "stream": "",
    "shadow": "",
}


def is_ready(service: Service, settings: Settings) -> bool:
    """Asks once; a service that is away or not yet up is not ready."""
    kind = service.name.partition("-")[0]
    if kind == "postgres":
        return _is_postgres_ready(settings)
    if kind == "kafka":
        return _is_kafka_ready(settings)
    if kind == "stream" and not _has_assignments(settings):
        return False
    if kind == "keycloak":
        return _answers_200(f"http://{LOOPBACK}:{ports(settings.stack)['keycloak_management']}/health/ready")
    if kind == "airflow":
        return airflow_services.is_ready(service.name, ports(settings.stack)["airflow"])
    if kind == "api":
        return _answers_200(f"{settings.api.url}/readyz")
    return _answers_200(service.url + _HEALTH[kind])


def wait_until_ready(service: Service, settings: Settings, home: Home, *, stopping: threading.Event) -> None:
    """Returns when it is ready, or silently when `stopping` is set: then something else has failed already.

    Raises:
        Transient: it is not, within READY_SECONDS, or it keeps dying; the message holds the end of its log.
    """
    deadline = time.monotonic() + READY_SECONDS
    supervisor = Supervisor(home)
    pause = 0.05
    while not (is_ready(service, settings) and has_its_ports(service, supervisor)):
        why = ""
        if time.monotonic() > deadline:
            why = f"is not ready after {READY_SECONDS:.0f} s"
        elif starts_of(home, service.name) >= _MOST_STARTS:
            why = f"was started {_MOST_STARTS} times and died each time"
        elif service.name not in supervisor.processes():
            why = "is no longer supervised: supervisord was ended"
        if why:
            raise Transient(
                f"{service.name} {why}. The end of {home.log(service.name)}:\n{tail(home.log(service.name))}\n"
                "When the cause is gone: sightline up"
            )
        if stopping.wait(pause):
            return
        pause = min(0.3, pause * 1.5)


def has_its_ports(service: Service, supervisor: Supervisor) -> bool:
    """Whether it is the service's own processes that listen there, rather than a stranger who came first."""
    process = supervisor.processes().get(service.name)
    if process is None or process.pid is None:
        return False
    try:
        parent = psutil.Process(process.pid)
        own = (parent, *parent.children(recursive=True))  # the API listens in several
        connections = [connection for one in own for connection in one.net_connections("tcp")]
    except psutil.Error:
        return False
    return set(service.ports) <= {c.laddr.port for c in connections if c.laddr and c.status == psutil.CONN_LISTEN}


def _is_postgres_ready(settings: Settings) -> bool:
    import psycopg

    postgres = settings.postgres
    try:
        psycopg.connect(
            host=postgres.host,
            port=postgres.port,
            user=postgres.user,
            password=postgres.password.get_secret_value(),
            dbname="postgres",
            connect_timeout=int(_PROBE_SECONDS),
        ).close()
    except psycopg.OperationalError:
        return False
    return True


def _is_kafka_ready(settings: Settings) -> bool:
    host, _, port = settings.kafka.bootstrap_servers.rpartition(":")
    try:  # a client of its own for each question would be slow while nobody listens
        socket.create_connection((host or LOOPBACK, int(port)), timeout=_PROBE_SECONDS).close()
    except OSError:
        return False
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    quiet: Any = {"bootstrap.servers": settings.kafka.bootstrap_servers, "log_level": 0}
    try:
        return bool(AdminClient(quiet).list_topics(timeout=_PROBE_SECONDS).brokers)
    except KafkaException:
        return False


def _has_assignments(settings: Settings) -> bool:
    """Whether every worker is a member of the group and the partitions are dealt out among them."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    quiet: Any = {"bootstrap.servers": settings.kafka.bootstrap_servers, "log_level": 0}
    group = settings.stream.group
    admin = AdminClient(quiet)  # kept: an answer never comes when its client is gone
    try:
        asked = admin.describe_consumer_groups([group], request_timeout=_PROBE_SECONDS)
        members = asked[group].result(2 * _PROBE_SECONDS).members
    except (KafkaException, TimeoutError):
        return False
    return len(members) >= settings.stack.stream_workers and any(
        member.assignment and member.assignment.topic_partitions for member in members
    )


def _answers_200(url: str) -> bool:
    try:
        return httpx.get(url, timeout=_PROBE_SECONDS, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
