from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from connectors.apply import Clock, apply_through
from connectors.connect_admin import Connector
from connectors.reconcile import OWNED, OWNER, Kind, desired
from contracts.errors import Misconfigured, Transient
from contracts.settings import Settings
from tests.support.fake_connect import FakeConnect

WANTED = desired(Settings())


@dataclass
class Time:
    at: float = 0.0

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.at, sleep=self.pass_by)

    def pass_by(self, seconds: float) -> None:
        self.at += seconds


def test_nothing_becomes_everything_and_then_nothing_is_left_to_do() -> None:
    connect = FakeConnect()
    actions = apply_through(connect, WANTED, clock=Time().clock)
    assert [action.kind for action in actions] == [Kind.CREATE] * len(WANTED)
    assert {name: connector.config for name, connector in connect.running.items()} == WANTED
    assert apply_through(connect, WANTED, clock=Time().clock) == []


def test_a_connector_that_is_no_longer_wanted_goes_and_a_foreign_one_stays() -> None:
    connect = FakeConnect()
    apply_through(connect, WANTED, clock=Time().clock)
    connect.running["old"] = Connector(name="old", config={OWNER: OWNED}, state="RUNNING")
    connect.running["theirs"] = Connector(name="theirs", config={}, state="FAILED")
    assert [action.connector for action in apply_through(connect, WANTED, clock=Time().clock)] == ["old"]
    assert connect.running.keys() == {*WANTED, "theirs"}


def test_a_missing_plugin_is_named_before_anything_is_changed() -> None:
    connect = FakeConnect(have_plugins=frozenset({"io.debezium.connector.jdbc.JdbcSinkConnector"}))
    with pytest.raises(Misconfigured, match=r"sightline\.connect\.FrameS3SinkConnector: put the plugin"):
        apply_through(connect, WANTED, clock=Time().clock)
    assert connect.calls == []


def test_a_connector_whose_store_was_slow_to_come_is_started_again() -> None:
    connect = FakeConnect(fails={"frames_to_postgres": 2})
    apply_through(connect, WANTED, clock=Time().clock)
    assert connect.calls.count(("restart", "frames_to_postgres")) == 2


def test_a_connector_that_keeps_failing_ends_it_with_the_reason() -> None:
    connect, time = FakeConnect(fails={"frames_to_postgres": 99}), Time()
    with pytest.raises(Misconfigured, match=r"frames_to_postgres keeps failing: .*the table is missing"):
        apply_through(connect, WANTED, clock=time.clock)
    assert time.at < 30


def test_a_connector_that_does_not_come_up_is_named_with_its_state() -> None:
    class Slow(FakeConnect):
        def put_config(self, name: str, config: object) -> None:
            super().put_config(name, config)  # type: ignore[arg-type]
            self.running[name] = replace(self.running[name], state="UNASSIGNED", tasks=())

    time = Time()
    with pytest.raises(Transient, match=r"frames_to_s3 is UNASSIGNED \(without tasks\).* after 60 s"):
        apply_through(Slow(), WANTED, wait_seconds=60, clock=time.clock)
    assert 60 <= time.at < 70
