"""`sightline up`: from nothing, or from anything half-way, to a stack that takes frames.

    binaries ─► folders, settings ─► ports ─► supervisord ─► the graph below, as parallel as it allows ─► ready

    postgres ─► databases ─┬─► registry ─► schemas ──┐
                           ├─► mlflow ───┬─► champion┼─► stream
                           └─► migrations┴───────────┤
    s3 ─► buckets ───────────────────────────────────┼─► connectors ─► watchdog
    kafka ─┬─► topics ───────────────────────────────┤
           └─► connect ──────────────────────────────┘

    profile full: databases ─┬─► keycloak ─► realm ─► champion ─► api, shadow
                             └─► airflow-tables ─► airflow-*

Everything is harmless when repeated. A second up asks every service whether it is ready, and repeats the rest only
when what it applies (schemas, sinks, migrations, demo model, addresses) has changed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.errors import Misconfigured, Transient
from contracts.settings import Settings
from sightline.stack import airflow_services, bootstrap, install, keycloak, realm, storage
from sightline.stack.config_files import config_files
from sightline.stack.disk_room import full_folders, in_words
from sightline.stack.home import Home, read_env, write_private, write_settings
from sightline.stack.install import Say
from sightline.stack.launch_record import starts_of
from sightline.stack.locks import locked
from sightline.stack.logins import Logins
from sightline.stack.logins import ensure as ensure_logins
from sightline.stack.ports import ephemeral_range, ports, refuse_held, warning_about
from sightline.stack.readiness import is_ready, wait_until_ready
from sightline.stack.service import Service
from sightline.stack.services import services
from sightline.stack.steps import Step, patiently, run_steps
from sightline.stack.supervision import Supervisor, end

PROFILES: Final = ("core", "full")
_NAMES: Final = 21  # columns, for the longest: airflow-dag-processor

# What each service waits for beyond its ports; all else begins at once.
_AFTER: Final[dict[str, tuple[str, ...]]] = {
    "registry": ("databases",),
    "mlflow": ("databases",),
    "connect": ("kafka",),
    "stream": ("champion", "schemas", "topics"),
    "watchdog": ("connectors",),
    "keycloak": ("databases",),
    "api": ("champion", "schemas", "topics", "realm"),
    "shadow": ("champion", "schemas", "topics"),
    "airflow": ("airflow-tables",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running local stack."""

    home: Home
    settings: Settings
    services: tuple[Service, ...]


def up(
    settings: Settings,
    say: Say = print,
    *,
    profile: str | None = None,
    port_base: int | None = None,
    workers: int | None = None,
    first_model: Path | None = None,
    airflow: bool | None = None,
) -> Stack:
    """Brings the whole stack up and returns when it takes frames.

    Args:
        settings: stack.home says where; the rest of `stack` how.
        say: told one line for each thing that becomes ready.
        profile: which services, remembered; a running stack must be down for another.
        port_base: moves all ports, and is remembered; a running stack must be down for it.
        workers: stream worker processes, remembered.
        first_model: the folder of who is champion first, remembered; the demo model without.
        airflow: whether profile full has it, remembered; it has at first.

    Raises:
        Misconfigured: a port is held, a tool is missing, a setting does not fit.
        Transient: a service did not become ready; the message holds the end of its log.
    """
    home = Home(settings.stack.home.expanduser().absolute())
    home.make()
    for folder in full_folders(home):
        say(f"warning: {in_words(folder)}")
    with locked(home.lock, waiting=lambda: say("another up or down is at work: waiting for it")):
        given = {
            "profile": profile,
            "port_base": port_base,
            "stream_workers": workers,
            "first_model": first_model,
            "airflow": airflow,
        }
        settings = _settled(home, settings, given)
        if warning := warning_about(ports(settings.stack), ephemeral_range()):
            say(warning)
        binaries = install.ensure(settings, say)
        storage.prepare_s3(home)  # first: how the service is started depends on the filesystem
        logins = _logins(home, settings)
        wanted = services(home, settings, binaries, logins)
        supervisor = Supervisor(home)
        with _explained(home):
            _supervise(home, settings, binaries, wanted, supervisor, say)
            stopping = threading.Event()
            run_steps(_steps(home, settings, binaries, wanted, logins, supervisor, say, stopping), stopping=stopping)
            write_private(home.bootstrapped, bootstrap.inputs_digest(home.settings_file, home.logins_file))
    return Stack(home=home, settings=settings, services=wanted)


def load(settings: Settings) -> Stack:
    """The stack of a home as its last `up` left it, running or not."""
    home = Home(settings.stack.home.expanduser().absolute())
    return Stack(home=home, settings=settings, services=services(home, settings, install.binaries(settings)))


def _logins(home: Home, settings: Settings) -> Logins | None:
    """The passwords and secrets of profile full, made once."""
    if settings.stack.profile == "core":
        return None
    return ensure_logins(
        home,
        people=realm.people(),
        accounts=(*realm.accounts(), keycloak.ADMIN_CLIENT),
        keys=airflow_services.KEYS,
    )


def _settled(home: Home, settings: Settings, given: Mapping[str, Any]) -> Settings:
    """Writes the settings file and reads it back: from here on all commands of this home agree."""
    given = {**given, "home": home.folder}
    stack = settings.stack.model_copy(update={name: value for name, value in given.items() if value is not None})
    stack = type(stack).model_validate(stack.model_dump(exclude_unset=True))  # the bounds hold for what was given too
    settings = settings.model_copy(update={"stack": stack})
    before = read_env(home.settings_file)
    moved = before and _addresses(before) != _addresses_of(settings)
    if moved and Supervisor(home).is_running:
        raise Misconfigured(
            f"the stack in {home.folder} runs on port base {before['SIGHTLINE_STACK__PORT_BASE']}: "
            "sightline down first, then up with other ports"
        )
    running = before.get("SIGHTLINE_STACK__PROFILE", "core")
    if before and running != stack.profile and Supervisor(home).is_running:
        raise Misconfigured(
            f"the stack in {home.folder} runs profile {running}: sightline down first, then "
            f"sightline up --profile {stack.profile}. The data stays"
        )
    write_settings(home, settings, os.environ)
    reread = Settings.load(home=home.folder)
    return reread.model_copy(update={"stack": stack})


def _addresses(file: dict[str, str]) -> tuple[str | None, ...]:
    names = ("KAFKA__BOOTSTRAP_SERVERS", "POSTGRES__PORT", "S3__ENDPOINT_URL", "REGISTRY__URL", "CONNECT__URL")
    return tuple(file.get(f"SIGHTLINE_{name}", "").rpartition(":")[2] for name in names)


def _addresses_of(settings: Settings) -> tuple[str, ...]:
    table = ports(settings.stack)
    return tuple(str(table[name]) for name in ("kafka", "postgres", "s3", "registry", "connect"))


def _supervise(
    home: Home,
    settings: Settings,
    binaries: install.Binaries,
    wanted: Sequence[Service],
    supervisor: Supervisor,
    say: Say,
) -> None:
    """Has supervisord run with this very set of services, none of them started yet that was not before."""
    if not supervisor.is_running:
        _end_strays(supervisor, say)
    running = {name for name, process in supervisor.processes().items() if process.pid}
    wanted_ports = [
        (name, port)
        for service in wanted
        if service.name not in running
        for name, port in zip(service.port_names, service.ports, strict=True)
    ]
    refuse_held(wanted_ports, say)
    changed_files = _write_configs(home, settings, binaries)
    changed = supervisor.write(wanted)
    if not supervisor.is_running:
        home.bootstrapped.unlink(missing_ok=True)
        supervisor.start(os.environ)
        return
    supervisor.reload()
    for service in wanted:
        if service.name in running and (service.name in changed or changed_files & set(_files_of(service))):
            say(f"  {service.name:<{_NAMES}} its settings changed: restarting")
            supervisor.stop_service(service.name)


def _end_strays(supervisor: Supervisor, say: Say) -> None:
    """Ends what a killed supervisord left running: it cannot be taken over, and its data must have one owner."""
    strays = supervisor.leftovers()
    if not strays:
        return
    say(f"  supervisord is gone, {len(strays)} of its processes are not: ending them")
    if stubborn := end(strays):
        raise Transient(
            f"processes {[process.pid for process in stubborn]} would not end: kill them, then sightline up"
        )


def _write_configs(home: Home, settings: Settings, binaries: install.Binaries) -> set[str]:
    """Writes the generated files; returns the names of those that changed."""
    changed = set()
    for name, text in config_files(home, settings, binaries).items():
        file = home.run / name
        if not file.is_file() or file.read_text() != text:
            write_private(file, text)
            changed.add(name)
    return changed


def _files_of(service: Service) -> Iterator[str]:
    """The generated files that a service reads."""
    files = {"kafka": "server.properties", "connect": "connect.properties", "postgres": "postgresql.conf"}
    if service.name in files:
        yield files[service.name]


def _steps(
    home: Home,
    settings: Settings,
    binaries: install.Binaries,
    wanted: Sequence[Service],
    logins: Logins | None,
    supervisor: Supervisor,
    say: Say,
    stopping: threading.Event,
) -> list[Step]:
    is_bootstrapped = _is_bootstrapped(home)
    prepared: dict[str, Callable[[], None]] = {
        "postgres": lambda: storage.prepare_postgres(home, settings, binaries),
        "kafka": lambda: storage.prepare_kafka(home, binaries),
    }

    def started(service: Service) -> Step:
        def run() -> None:
            begun = time.monotonic()
            prepared.get(service.name, lambda: None)()
            if starts_of(home, service.name) > 1 and not is_ready(service, settings):
                supervisor.stop_service(service.name)  # it was dying again and again: it begins anew, without a pause
            supervisor.start_service(service.name)
            wait_until_ready(service, settings, home, stopping=stopping)
            if stopping.is_set():
                return
            say(f"  {service.name:<{_NAMES}} ready   {time.monotonic() - begun:5.1f} s   {service.purpose}")

        after = () if is_bootstrapped else _AFTER.get(service.name.partition("-")[0], ())
        return Step(name=service.name, run=run, after=after)

    def told(name: str, what: str, run: Callable[[Settings], None], *after: str) -> Step:
        def act() -> None:
            begun = time.monotonic()
            patiently(lambda: run(settings), stopping=stopping)
            say(f"  {name:<{_NAMES}} done    {time.monotonic() - begun:5.1f} s   {what}")

        return Step(name=name, run=act, after=after)

    services_alone = [started(service) for service in wanted]
    if is_bootstrapped:
        return services_alone
    login: list[Step] = []
    behind_login: tuple[str, ...] = ()
    if logins is not None:
        login = [
            told("realm", "roles, clients, people", lambda given: bootstrap.ensure_realm(given, logins), "keycloak")
        ]
        behind_login = ("realm", "migrations")
        if binaries.airflow is not None:
            login.append(
                told(
                    "airflow-tables",
                    "of its version; a pool of GPUs",
                    lambda given: bootstrap.prepare_airflow(home, given, binaries, logins),
                    "databases",
                )
            )
            login.append(
                told(
                    "reader",
                    "a role of Airflow's that only reads",
                    lambda given: bootstrap.ensure_reader(given, logins),
                    "migrations",
                )
            )
    return [
        *services_alone,
        *login,
        told("databases", "there is one for each service", bootstrap.create_databases, "postgres"),
        told("migrations", "the newest revision, a partition for each day", bootstrap.migrate, "databases"),
        told("buckets", "frames and models", bootstrap.create_buckets, "s3"),
        told("topics", "as the contracts say", bootstrap.ensure_topics, "kafka"),
        told("schemas", "registered, FULL_TRANSITIVE", bootstrap.register_schemas, "registry"),
        told(
            "champion",
            "there is one",
            lambda given: bootstrap.ensure_champion(bootstrap.as_bootstrap(given, logins)),
            *("mlflow", "buckets", "migrations", *behind_login),
        ),
        told(
            "connectors",
            "as connectors/sinks says, all running",
            bootstrap.apply_connectors,
            *("connect", "topics", "schemas", "migrations", "buckets"),
        ),
    ]


def _is_bootstrapped(home: Home) -> bool:
    """Whether the bootstrap ran since supervisord started, with what it would apply now."""
    if not home.bootstrapped.is_file():
        return False
    return home.bootstrapped.read_text() == bootstrap.inputs_digest(home.settings_file, home.logins_file)


@contextmanager
def _explained(home: Home) -> Iterator[None]:
    """A start that fails leaves running what runs: its logs are what a person needs next."""
    try:
        yield
    except Transient as error:
        full = "".join(f"\n{in_words(folder)}" for folder in full_folders(home))
        raise Transient(
            f"{error}{full}\nThe rest of the stack keeps running; sightline down ends it. Logs: {home.logs}"
        ) from error
