"""The watchdog with a real Kafka Connect: a sink of its own that really fails, and really recovers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from connectors.connect_admin import KafkaConnectAdmin
from connectors.kafka import make_producer
from connectors.reconcile import desired
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from connectors.watchdog.decision import Rules
from connectors.watchdog.loop import Watchdog
from connectors.watchdog.stores import probes
from contracts.settings import S3Settings, Settings, WatchdogSettings
from tests.support.command_line import environment
from tests.support.postgres import free_port
from tests.support.records import a_session_record
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def admin(stack: Settings) -> KafkaConnectAdmin:
    return KafkaConnectAdmin(stack.connect)


@pytest.fixture
def sink(stack: Settings, admin: KafkaConnectAdmin) -> Iterator[tuple[str, dict[str, str]]]:
    """A second sink of sessions, into a table of its own that does not exist yet."""
    name = f"watched_{uuid4().hex[:8]}"
    config = desired(stack)["sessions_to_postgres"] | {"name": name, "collection.name.format": name}
    del config["sightline.owner"]  # so that nobody else looks after it
    yield name, config
    admin.delete(name)
    with psycopg.connect(stack.postgres.conninfo) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {name}")


@pytest.fixture
def a_session(stack: Settings) -> dict[str, Any]:
    """One session on its topic, so that the sink has something to fail with."""
    record = a_session_record(camera_id="watched")
    registry = SchemaRegistry(stack.registry)
    producer = make_producer(stack)
    producer.produce("sessions", key=record["session_id"], value=Codec(registry).encode("sessions", record))
    assert producer.flush(30) == 0
    registry.close()
    return record


def rows(stack: Settings, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(stack.postgres.conninfo) as connection:
        return connection.execute(query).fetchall()


def test_a_sink_that_keeps_failing_is_given_up_with_the_reason_and_taken_up_again(
    stack: Settings, admin: KafkaConnectAdmin, sink: tuple[str, dict[str, str]], a_session: dict[str, Any]
) -> None:
    name, config = sink
    rules = Rules(same_failures=3, longest_pause_seconds=1.0)
    watchdog = Watchdog(admin, {name: config}, probes(stack), rules=rules)
    metric = lambda: watchdog.metrics.registry.get_sample_value("sightline_watchdog_gave_up", {"connector": name})  # noqa: E731

    def gave_up() -> bool:
        watchdog.step()
        return metric() == 1

    watchdog.step()
    assert name not in admin.connectors(), "before the tables are there it configures nothing"
    watchdog.may_configure.set()
    eventually(gave_up, seconds=120)
    restarts = watchdog.metrics.registry.get_sample_value("sightline_watchdog_restarts_total", {"connector": name})
    assert restarts == 2
    for _ in range(3):
        watchdog.step()
    assert admin.connectors()[name].is_failed, "it is left as it is"
    assert name in admin.connectors()[name].traces[0]

    with psycopg.connect(stack.postgres.conninfo) as connection:
        connection.execute(f"CREATE TABLE {name} (LIKE sessions INCLUDING ALL)")
    admin.restart(name)

    def is_well() -> bool:
        watchdog.step()
        return metric() == 0 and admin.connectors()[name].is_running

    eventually(is_well)
    eventually(lambda: rows(stack, f"SELECT 1 FROM {name} WHERE session_id = '{a_session['session_id']}'"))


def test_a_store_that_is_away_is_waited_for(
    stack: Settings, admin: KafkaConnectAdmin, sink: tuple[str, dict[str, str]], a_session: dict[str, Any]
) -> None:
    name, config = sink
    is_there = False
    asked = probes(stack) | {"postgres": lambda: is_there}
    watchdog = Watchdog(admin, {name: config}, asked, rules=Rules(same_failures=1, longest_pause_seconds=1.0))
    watchdog.may_configure.set()
    value = lambda metric: watchdog.metrics.registry.get_sample_value(metric, {"connector": name})  # noqa: E731

    def waits() -> bool:
        watchdog.step()
        return value("sightline_watchdog_waiting") == 1

    eventually(waits, seconds=120)
    for _ in range(5):
        watchdog.step()
    assert (value("sightline_watchdog_gave_up"), value("sightline_watchdog_restarts_total")) == (0, None)

    with psycopg.connect(stack.postgres.conninfo) as connection:
        connection.execute(f"CREATE TABLE {name} (LIKE sessions INCLUDING ALL)")
    is_there = True
    watchdog.step()
    assert value("sightline_watchdog_restarts_total") == 1
    eventually(lambda: rows(stack, f"SELECT 1 FROM {name} WHERE session_id = '{a_session['session_id']}'"))


def test_every_store_of_the_stack_answers_its_probe(stack: Settings) -> None:
    assert {store: probe() for store, probe in probes(stack).items()} == {
        "postgres": True,
        "s3": True,
        "registry": True,
    }


def test_a_store_that_refuses_us_is_there_and_one_that_does_not_listen_is_not(stack: Settings) -> None:
    postgres, registry, s3 = stack.postgres, stack.registry, stack.s3
    refused = Settings(
        postgres=postgres.model_copy(update={"database": "nobody"}),
        s3=S3Settings(endpoint_url=s3.endpoint_url, access_key="nobody", secret_key="wrong", frames_bucket="none"),
        registry=registry,
    )
    assert all(probe() for probe in probes(refused).values())
    port = free_port()
    nowhere = Settings(
        postgres=postgres.model_copy(update={"port": port}),
        s3=s3.model_copy(update={"endpoint_url": f"http://127.0.0.1:{port}"}),
        registry=registry.model_copy(update={"url": f"http://127.0.0.1:{port}"}),
    )
    assert not any(probe() for probe in probes(nowhere).values())


def test_the_process_serves_its_metrics_keeps_partitions_and_ends_cleanly(stack: Settings) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "connectors.watchdog"],
        env=environment(stack) | {"SIGHTLINE_WATCHDOG__METRICS_PORT": str(port)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:

        def metrics() -> str:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/metrics").text
            except httpx.TransportError:
                return ""

        eventually(lambda: "sightline_partitions_ahead_days 14.0" in metrics())
        told = metrics()
        for name in desired(stack):
            assert f'sightline_watchdog_gave_up{{connector="{name}"}} 0.0' in told
            assert f'sightline_connector_running{{connector="{name}"}}' in told
        assert 'sightline_default_partition_rows{table="frames"} 0.0' in told
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        _, said = process.communicate(timeout=15)
        assert process.returncode == 0, said
        assert time.monotonic() - began < 5
        assert '"event": "watchdog_stopped"' in said
    finally:
        process.kill()
        process.wait()


def test_a_wrong_setting_ends_the_process_with_its_exit_code() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "connectors.watchdog"],
        env=dict(os.environ) | {"SIGHTLINE_WATCHDOG__POLL_SECONDS": "0"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 78, ended.stderr
    assert "SIGHTLINE_WATCHDOG__POLL_SECONDS" in ended.stderr
    assert WatchdogSettings().poll_seconds > 0
