"""The stack's generated orders and files agree with the settings tree, the sinks and each other."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr

import contracts.settings
from connectors.kafka import consumer_config
from connectors.reconcile import templates
from contracts.settings import PREFIX, PostgresSettings, S3Settings, ServingEngine, Settings, StackSettings
from contracts.topics import MAX_RECORD_BYTES, SINKS
from inference.engines import KINDS
from sightline.stack import airflow_services, install, keycloak, reader, realm
from sightline.stack.bootstrap import _APPLIED, DEMO_MODEL, ROOT
from sightline.stack.config_files import config_files
from sightline.stack.home import Home, write_settings
from sightline.stack.install import JAVA_FOLDER, Binaries
from sightline.stack.logins import Logins
from sightline.stack.ports import TABLE, ports
from sightline.stack.service import Service
from sightline.stack.services import services
from sightline.stack.supervision import Supervisor

AIRFLOW = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
SECRETS = ("a-secret-of-postgres", "a-secret-of-s3")
LOGINS = Logins(
    people={name: f"a-password-of-{name}" for name in realm.people()},
    accounts={name: f"a-secret-of-{name}" for name in (*realm.accounts(), keycloak.ADMIN_CLIENT)},
    keys={name: f"a-key-named-{name}" for name in airflow_services.KEYS},
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "a home with 100% of spaces")
    made.make()
    return made


@pytest.fixture
def settings(home: Home) -> Settings:
    return Settings(
        postgres=PostgresSettings(password=SecretStr(SECRETS[0])),
        s3=S3Settings(secret_key=SecretStr(SECRETS[1])),
        stack=StackSettings(home=home.folder, stream_workers=3, profile="full"),
    )


def binaries() -> Binaries:
    names = ("java", "java_archive", "kafka_jars", "registry", "versitygw", "postgres", "keycloak", "airflow")
    return Binaries(**{name: Path("/bin") / name for name in names}, connect_plugins=(Path("/a"), Path("/b")))


@pytest.fixture
def all_services(home: Home, settings: Settings) -> tuple[Service, ...]:
    return services(home, settings, binaries(), LOGINS)


def own(all_services: tuple[Service, ...]) -> Iterator[Service]:
    """Those that read the settings tree. MLflow is not ours, but its login is."""
    names = ("stream-", "watchdog", "api", "shadow", "mlflow", "airflow")
    yield from (service for service in all_services if service.name.startswith(names))


def test_every_setting_given_to_our_services_is_a_known_one(
    home: Home, all_services: tuple[Service, ...], monkeypatch: pytest.MonkeyPatch
):
    write_settings(home, Settings(stack=StackSettings(home=home.folder, profile="full")), {})
    for service in own(all_services):
        with monkeypatch.context() as environment:
            for name, value in (dict(service.environment) | {f"{PREFIX}STACK__HOME": str(home.folder)}).items():
                environment.setenv(name, value)
            loaded = Settings.load()
        assert loaded.stack.home == home.folder
        assert loaded.postgres.password.get_secret_value()


def test_what_up_writes_is_read_back_as_the_same_ports(home: Home):
    stack = StackSettings(home=home.folder, port_base=23456, ports={"kafka": 30000}, stream_workers=2)
    write_settings(home, Settings(stack=stack), {})
    loaded = Settings.load(home=home.folder)
    assert ports(loaded.stack) == ports(stack)
    assert (loaded.kafka.bootstrap_servers, loaded.stack.stream_workers) == ("127.0.0.1:30000", 2)
    assert loaded.postgres.port == 23456 + 54
    for url in (loaded.registry.url, loaded.connect.url, loaded.s3.endpoint_url, loaded.mlflow.tracking_uri):
        assert url.startswith("http://127.0.0.1:23")


def test_every_reference_of_a_sink_is_in_connects_environment(all_services: tuple[Service, ...]):
    connect = next(service for service in all_services if service.name == "connect")
    used = {
        name
        for sink in SINKS
        for name in re.findall(r"\$\{env:(\w+)\}", (ROOT / "connectors" / "sinks" / f"{sink}.json").read_text())
    }
    assert used
    assert used <= set(connect.environment)


def test_connect_resolves_exactly_the_references_of_the_sinks(home: Home, settings: Settings):
    lines = config_files(home, settings, binaries())["connect.properties"].splitlines()
    [pattern] = [line.partition("=")[2] for line in lines if ".allowlist.pattern=" in line]
    used = {name for sink in templates().values() for name in re.findall(r"\$\{env:(\w+)\}", json.dumps(sink))}
    listed = re.fullmatch(r"\^SIGHTLINE_\((.*)\)\$?", pattern)
    assert listed
    assert {f"SIGHTLINE_{name}" for name in listed[1].split("|")} == used


def test_no_secret_is_in_a_command_or_a_generated_file_or_a_repr(
    home: Home, settings: Settings, all_services: tuple[Service, ...]
):
    Supervisor(home).write(all_services)
    texts = [" ".join(service.command) + repr(service) + service.url + service.login for service in all_services]
    texts += [*config_files(home, settings, binaries()).values(), home.supervisor_config.read_text()]
    secrets = (*SECRETS, *LOGINS.people.values(), *LOGINS.accounts.values(), *LOGINS.keys.values())
    assert not [text for text in texts for secret in secrets if secret in text]
    orders = [home.order(service.name) for service in all_services]
    assert any(SECRETS[0] in order.read_text() for order in orders)
    assert all(order.stat().st_mode & 0o077 == 0 for order in orders)


def test_profile_core_is_full_without_login_api_shadow_and_airflow(home: Home, settings: Settings):
    stack = settings.stack.model_copy(update={"profile": "core"})
    core = services(home, settings.model_copy(update={"stack": stack}), binaries())
    full = services(home, settings, binaries(), LOGINS)
    added = {service.name for service in full} - {service.name for service in core}
    assert added == {"keycloak", "api", "shadow", *AIRFLOW}
    for service in core:
        same = next(other for other in full if other.name == service.name)
        assert (same.ports, same.needs, same.stop_level) == (service.ports, service.needs, service.stop_level)
        assert not [name for name in service.environment if "LOGIN__" in name or "MLFLOW__" in name]
        assert "--login" not in service.command


def test_a_full_stack_is_shown_and_stopped_without_its_secrets(home: Home, settings: Settings):
    named = [service.name for service in services(home, settings, binaries())]
    assert named == [service.name for service in services(home, settings, binaries(), LOGINS)]


def test_each_service_has_the_secrets_that_it_needs_and_no_others(all_services: tuple[Service, ...]):
    given = {
        service.name: {name for name, secret in LOGINS.accounts.items() if secret in service.environment.values()}
        for service in all_services
    }
    assert given.pop("keycloak") == {"sightline-setup"}
    assert given.pop("mlflow") == {"sightline-mlflow"}
    assert given.pop("api") == {"sightline-promoter"}
    assert given.pop("shadow") == {"sightline-worker"}
    assert [given.pop(name) for name in AIRFLOW] == [
        {"sightline-airflow"},
        {"sightline-airflow", "sightline-jobs"},  # its children are the tasks
        {"sightline-airflow"},
        {"sightline-airflow", "sightline-jobs"},  # it asks the API for challengers
    ]
    assert {name for name in given if given[name]} == {"stream-0", "stream-1", "stream-2"}
    assert given["stream-0"] == {"sightline-worker"}


def test_airflow_can_be_left_out(home: Home, settings: Settings):
    alone = settings.model_copy(update={"stack": settings.stack.model_copy(update={"airflow": False})})
    without = services(home, alone, dataclasses.replace(binaries(), airflow=None), LOGINS)
    assert {service.name for service in services(home, settings, binaries(), LOGINS)} - {
        service.name for service in without
    } == set(AIRFLOW)
    assert "airflow" not in {part.name for part in install.parts(alone)}
    assert "airflow" in {part.name for part in install.parts(settings)}


def test_airflow_has_the_pool_that_its_tasks_ask_for(home: Home, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    chosen = settings.model_copy(update={"jobs": settings.jobs.model_copy(update={"pool": "cards"})})
    asked: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append((command, env))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(airflow_services.subprocess, "run", run)
    airflow_services.prepare(home, chosen, Path("/airflow"), LOGINS)
    [(command, environment)] = asked
    assert command[-2:] == ["cards", str(airflow_services.PARALLELISM)]
    assert environment["SIGHTLINE_JOBS__POOL"] == "cards"


def test_airflow_is_told_everything_by_its_environment(all_services: tuple[Service, ...], settings: Settings):
    table = ports(settings.stack)
    for service in (service for service in all_services if service.name in AIRFLOW):
        given = service.environment
        assert given["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].endswith(f"@127.0.0.1:{table['postgres']}/airflow")
        assert given["AIRFLOW__API__BASE_URL"] == f"http://127.0.0.1:{table['airflow']}"
        assert given["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"] == "s3://airflow-logs"
        assert given["PYTHONPATH"] == f"{ROOT}:{ROOT / 'plugins'}"
        connections = {
            name: json.loads(given[f"AIRFLOW_CONN_{name}"]) for name in ("SIGHTLINE_POSTGRES", "SIGHTLINE_S3")
        }
        reads, stores = connections["SIGHTLINE_POSTGRES"], connections["SIGHTLINE_S3"]
        assert (reads["login"], reads["password"]) == (reader.ROLE, LOGINS.keys[airflow_services.READER])
        assert stores["password"] == SECRETS[1]
        logins = [name for name in given if name.startswith(f"{PREFIX}LOGIN__")]
        assert not logins or service.name.endswith(("scheduler", "triggerer"))


@pytest.mark.parametrize(
    ("said", "boards"),
    [
        ({}, "100"),
        ({"promotion": {"gate_sets": "reviewed"}}, "0"),
        ({"jobs": {"gate_boards": 0}}, "0"),
        ({"jobs": {"gate_boards": 300}}, "300"),
    ],
)
def test_a_delivery_is_judged_on_simulated_boards_where_those_count(
    said: dict[str, Any], boards: str, home: Home, settings: Settings
):
    told = Settings(**{"stack": settings.stack, **said})
    [scheduler] = [
        service for service in services(home, told, binaries(), LOGINS) if service.name == "airflow-scheduler"
    ]
    assert scheduler.environment[f"{PREFIX}JOBS__GATE_BOARDS"] == boards


def test_the_demo_approvers_are_named_to_the_jobs(all_services: tuple[Service, ...]):
    [scheduler] = [service for service in all_services if service.name == "airflow-scheduler"]
    said = json.loads(scheduler.environment[f"{PREFIX}JOBS__APPROVERS"])
    file = json.loads(realm.FILE.read_text())["people"]
    assert sorted(said) == sorted([file[name]["id"], name] for name in ("approver", "admin"))


def test_the_shadow_is_a_challenger_and_the_workers_are_not(all_services: tuple[Service, ...]):
    roles = {service.name: service.environment.get(f"{PREFIX}STREAM__ROLE") for service in all_services}
    assert {name: role for name, role in roles.items() if role} == {"shadow": "challenger"}


def test_every_port_of_the_table_is_listened_on_by_one_service(all_services: tuple[Service, ...], settings: Settings):
    used = [name for service in all_services for name in service.port_names]
    assert set(used) == set(TABLE)
    numbers = [port for service in all_services for port in service.ports]
    assert len(numbers) == len(set(numbers))
    assert set(ports(settings.stack).values()) <= set(numbers)


def test_what_a_service_needs_stops_after_it(all_services: tuple[Service, ...]):
    levels = {port: service.stop_level for service in all_services for port in service.ports}
    assert all(levels[port] < service.stop_level for service in all_services for port in service.needs)


def test_everything_is_told_to_listen_on_loopback(home: Home, settings: Settings, all_services: tuple[Service, ...]):
    files = config_files(home, settings, binaries())
    said = json.dumps([[*service.command, *service.environment.values()] for service in all_services])
    assert "0.0.0.0" not in said + "".join(files.values())
    for line in files["server.properties"].splitlines():
        if line.startswith(("listeners=", "advertised.listeners=")):
            assert set(re.findall(r"://([^:]*):", line)) == {"127.0.0.1"}


def test_the_broker_takes_the_largest_record(home: Home, settings: Settings):
    assert f"message.max.bytes={MAX_RECORD_BYTES}\n" in config_files(home, settings, binaries())["server.properties"]


def test_the_sinks_and_the_stream_worker_leave_out_the_same_aborted_records(home: Home, settings: Settings):
    ours = consumer_config(settings, "a-group")["isolation.level"]
    lines = config_files(home, settings, binaries())["connect.properties"].splitlines()
    assert [line for line in lines if line.startswith("consumer.isolation.level=")] == [
        f"consumer.isolation.level={ours}"
    ]
    assert ours == "read_committed"
    assert not [sink for sink in SINKS if "isolation.level" in json.dumps(templates()[sink])]


def test_supervisord_reads_its_configuration_and_restarts_without_limit(home: Home, all_services: tuple[Service, ...]):
    from supervisor.options import ServerOptions

    Supervisor(home).write(all_services)
    options = ServerOptions()
    options.realize(["-c", str(home.supervisor_config), "-n"])
    programs = {group.name: group.process_configs[0] for group in options.process_group_configs}
    assert set(programs) == {service.name for service in all_services}
    for service in all_services:
        program = programs[service.name]
        assert program.autorestart.__name__ == "RestartUnconditionally"
        assert (program.startsecs, program.autostart, program.stopasgroup) == (0, False, True)
        assert str(home.order(service.name)) in program.command.replace("'", "")
        assert program.stdout_logfile == str(home.log(service.name))


def test_no_pom_repeats_a_version():
    for pom in JAVA_FOLDER.glob("*/pom.xml"):
        found = re.findall(r"<version>([^<]*)</version>", pom.read_text())
        assert {version for version in found if not version.startswith("${")} == {"1"}


def test_what_the_bootstrap_applies_exists():
    assert all((ROOT / path).exists() for path in _APPLIED)
    assert (DEMO_MODEL / "model.onnx").is_file()


def test_every_section_of_the_settings_is_drawn_and_says_what_it_is():
    drawn = set(re.findall(r"[a-z][a-z0-9]+", (contracts.settings.__doc__ or "").split("SIGHTLINE_KAFKA")[0]))
    assert set(Settings.model_fields) <= drawn
    assert not [name for name, field in Settings.model_fields.items() if not field.annotation.__doc__]


def test_an_engine_that_serves_can_be_chosen_for_the_worker_and_for_the_api():
    chosen = {Settings.model_fields[name].annotation.model_fields["engine"].annotation for name in ("stream", "api")}
    assert chosen == {ServingEngine}
    assert set(get_args(ServingEngine)) == set(KINDS) - {"torch"}  # evaluation only
