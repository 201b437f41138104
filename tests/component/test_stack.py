"""The local stack, started and broken: what a person at a terminal sees, and what is left behind."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from contracts.settings import Settings
from sightline.stack.home import Home
from sightline.stack.supervision import Supervisor
from tests.support.command_line import succeed
from tests.support.stack import a_home, free_port_base, running_stack, sightline
from tests.support.waiting import eventually

THIRD_PARTY = {"postgres", "kafka", "s3", "registry", "connect", "mlflow"}


@pytest.fixture(scope="module")
def own() -> Iterator[Settings]:
    """A stack that these tests may break."""
    with running_stack() as settings:
        yield settings


def services(stack: Settings) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in succeed(stack, "status", "--json").answer["services"]}


def pids(stack: Settings) -> dict[str, int]:
    return {name: process.pid for name, process in supervisor(stack).processes().items() if process.pid}


def supervisor(stack: Settings) -> Supervisor:
    return Supervisor(Home(stack.stack.home))


def is_well(stack: Settings) -> bool:
    return "all is well" in sightline(stack.stack.home, "status").splitlines()[-1]


def test_a_second_up_starts_nothing_and_changes_nothing(own: Settings):
    before, settings_file = pids(own), Home(own.stack.home).settings_file.read_text()
    sightline(own.stack.home, "up")
    rows = services(own)
    assert pids(own) == before
    assert set(rows) == THIRD_PARTY | {"stream-0", "watchdog"}
    assert {row["state"] for row in rows.values()} == {"running"}
    assert all(row["restarts"] == 0 and row["memory_bytes"] > 0 for row in rows.values())
    assert Home(own.stack.home).settings_file.read_text() == settings_file


def test_services_that_are_killed_are_started_again_and_find_each_other(own: Settings):
    before = pids(own)
    assert set(before) == THIRD_PARTY | {"stream-0", "watchdog"}
    for pid in before.values():
        psutil.Process(pid).kill()
    eventually(lambda: set(pids(own)) == set(before) and not set(pids(own).values()) & set(before.values()), seconds=60)
    eventually(lambda: is_well(own), seconds=240, every=2)
    assert all(row["restarts"] >= 1 for row in services(own).values())


def test_status_of_a_stack_without_one_service_says_so(own: Settings):
    supervisor(own).stop_service("stream-0")
    said = sightline(own.stack.home, "status", code=1)
    assert re.search(r"^stream-0 +(stopped|exited)", said, re.MULTILINE)
    assert said.splitlines()[-1] == "not all is well"
    sightline(own.stack.home, "up")
    assert is_well(own)


def test_no_password_stands_on_a_command_line_or_in_a_connector(own: Settings):
    secrets = [own.postgres.password.get_secret_value(), own.s3.secret_key.get_secret_value()]
    assert all(len(secret) >= 24 for secret in secrets)
    lines = [" ".join(process.cmdline()) for process in supervisor(own).leftovers()]
    assert len(lines) > len(THIRD_PARTY)
    configs = httpx.get(f"{own.connect.url}/connectors?expand=info", trust_env=False).text
    assert "frames_to_s3" in configs
    logs = [file.read_text(errors="replace") for file in Home(own.stack.home).logs.glob("*.log")]
    assert not [text for text in (*lines, configs, *logs) for secret in secrets if secret in text]
    assert Home(own.stack.home).settings_file.stat().st_mode & 0o077 == 0


def test_everything_listens_on_loopback_alone(own: Settings):
    ours = {process.pid for process in supervisor(own).leftovers()}
    listening = [c.laddr for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN and c.pid in ours]
    assert len(listening) >= len(THIRD_PARTY)
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_up_recovers_from_a_killed_supervisord_and_data_survives(own: Settings):
    with psycopg.connect(own.postgres.conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE survivor AS SELECT 7 AS n")
    home = Home(own.stack.home)
    before = pids(own)
    psutil.Process(int(home.supervisor_pid.read_text())).kill()
    eventually(lambda: not supervisor(own).is_running, seconds=10)
    assert psutil.pid_exists(before["kafka"])
    sightline(own.stack.home, "up")
    assert not set(before.values()) & set(pids(own).values())
    assert is_well(own)
    with psycopg.connect(own.postgres.conninfo) as connection:
        assert connection.execute("SELECT n FROM survivor").fetchone() == (7,)


def test_down_leaves_no_process_even_after_supervisord_was_killed(own: Settings):
    home = Home(own.stack.home)
    everything = supervisor(own).leftovers()
    psutil.Process(int(home.supervisor_pid.read_text())).kill()
    begun = time.monotonic()
    sightline(own.stack.home, "down")
    assert time.monotonic() - begun < 60
    assert supervisor(own).leftovers() == []
    assert [process for process in everything if process.is_running()] == []
    assert sightline(own.stack.home, "status", code=1).splitlines()[-1] == "not all is well"
    sightline(own.stack.home, "down")


def test_a_stack_that_is_down_moves_to_other_ports_with_its_data(own: Settings):
    sightline(own.stack.home, "down")
    base = free_port_base()
    sightline(own.stack.home, "up", "--port-base", str(base))
    moved = Settings.load(home=own.stack.home)
    assert moved.kafka.bootstrap_servers == f"127.0.0.1:{base + 92}"
    assert is_well(own)
    assert "sightline down first" in sightline(own.stack.home, "up", "--port-base", str(base + 200), code=78)


def test_another_number_of_workers_needs_no_restart_of_the_rest(own: Settings):
    sightline(own.stack.home, "up")
    before = pids(own)
    sightline(own.stack.home, "up", "--workers", "2")
    assert {name: pid for name, pid in pids(own).items() if name != "stream-1"} == before
    assert is_well(own)
    sightline(own.stack.home, "up", "--workers", "1")
    assert pids(own) == before


def test_a_held_port_is_named_with_its_holder_before_anything_starts():
    with a_home() as home, socket.socket() as taken:
        base = free_port_base()
        taken.bind(("127.0.0.1", base + 92))
        taken.listen()
        said = sightline(home, "up", "--port-base", str(base), code=78)
        assert f"port {base + 92} (Kafka: clients) is held by process {os.getpid()}" in said
        assert "SIGHTLINE_STACK__PORT_BASE" in said
        assert Supervisor(Home(home)).leftovers() == []
