"""What the watchdog does to Connect and tells by its metrics, with Connect and the stores in memory."""

from __future__ import annotations

from datetime import date

import pytest

from connectors.connect_admin import Connector
from connectors.reconcile import desired
from connectors.watchdog.decision import Rules
from connectors.watchdog.loop import Watchdog
from connectors.watchdog.partitions import days_ahead
from contracts.errors import Transient
from contracts.settings import Settings
from tests.support.fake_connect import FakeConnect

SINK = "frames_to_postgres"
WANTED = {SINK: desired(Settings())[SINK]}


class Round:
    """A watchdog over one sink, stepped by hand."""

    def __init__(self, connect: FakeConnect) -> None:
        self.connect, self.at = connect, 0.0
        self.stores = {"postgres": True, "registry": True, "s3": True}
        self.asked: list[str] = []
        self.watchdog = Watchdog(
            connect,
            WANTED,
            {store: lambda store=store: self.answer(store) for store in self.stores},  # type: ignore[misc]
            rules=Rules(same_failures=5),
            clock=lambda: self.at,
        )

    def answer(self, store: str) -> bool:
        self.asked.append(store)
        return self.stores[store]

    def steps(self, count: int, *, seconds: float = 40.0) -> None:
        for _ in range(count):
            self.at += seconds
            self.watchdog.step()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.watchdog.metrics.registry.get_sample_value(name, labels)


def running(*, fails: int = 0) -> FakeConnect:
    connect = FakeConnect(fails={SINK: fails})
    connect.put_config(SINK, WANTED[SINK])
    connect.calls.clear()
    return connect


def test_a_healthy_sink_costs_one_request_and_no_probe() -> None:
    round_ = Round(running())
    round_.steps(3)
    assert (round_.connect.calls, round_.asked) == ([], [])
    assert round_.metric("sightline_connector_running", connector=SINK) == 1
    assert round_.metric("sightline_connector_tasks", connector=SINK, state="RUNNING") == 1


def test_a_failed_sink_is_restarted_and_counted() -> None:
    round_ = Round(running(fails=1))
    round_.steps(2)
    assert round_.connect.calls == [("restart", SINK)]
    assert round_.metric("sightline_watchdog_restarts_total", connector=SINK) == 1
    assert set(round_.asked) == {"postgres", "registry"}


def test_giving_up_is_seen_in_the_metrics_and_ends_the_restarts() -> None:
    round_ = Round(running(fails=99))
    round_.steps(50)
    assert round_.metric("sightline_watchdog_gave_up", connector=SINK) == 1
    assert len(round_.connect.calls) == 4


def test_waiting_for_a_store_is_seen_in_the_metrics() -> None:
    round_ = Round(running(fails=1))
    round_.stores["postgres"] = False
    round_.steps(50)
    assert round_.connect.calls == []
    assert round_.metric("sightline_watchdog_waiting", connector=SINK) == 1
    round_.stores["postgres"] = True
    round_.steps(2)
    assert round_.connect.calls == [("restart", SINK)]
    assert round_.metric("sightline_watchdog_waiting", connector=SINK) == 0


def test_connect_away_is_waited_for() -> None:
    connect = running()
    round_ = Round(connect)
    round_.steps(1)
    connect.error = Transient("away")
    round_.steps(100)
    assert round_.metric("sightline_connect_up") == 0
    assert round_.metric("sightline_connector_running", connector=SINK) == 0
    connect.error = None
    round_.steps(1)
    assert round_.metric("sightline_connect_up") == 1
    assert connect.calls == []


def test_a_restart_that_connect_refuses_is_tried_again_and_not_counted() -> None:
    class Refusing(FakeConnect):
        def restart(self, name: str, *, only_failed: bool = True) -> None:
            self.calls.append(("restart", name))
            raise Transient("rebalancing")

    connect = Refusing(fails={SINK: 1})
    connect.put_config(SINK, WANTED[SINK])
    round_ = Round(connect)
    round_.steps(20)
    assert connect.calls.count(("restart", SINK)) == 20
    assert round_.metric("sightline_watchdog_gave_up", connector=SINK) == 0
    assert round_.metric("sightline_watchdog_restarts_total", connector=SINK) is None


def test_a_missing_sink_is_configured_once_the_tables_are_there() -> None:
    connect = FakeConnect(running={"theirs": Connector(name="theirs", config={}, state="RUNNING")})
    round_ = Round(connect)
    round_.steps(3)
    assert connect.calls == []
    round_.watchdog.may_configure.set()
    round_.steps(3)
    assert connect.calls == [("put", SINK)]
    assert connect.running[SINK].config == WANTED[SINK]


@pytest.mark.parametrize(
    ("partitions", "ahead"),
    [
        ([], -1),
        (["frames_20260102"], 0),
        (["frames_20260103"], -1),
        (["frames_20260102", "frames_20260103", "frames_20260105", "frames_default"], 1),
        (["frames_20260101", "frames_20260102", "frames_20260103", "frames_20260104"], 2),
    ],
)
def test_days_ahead_are_those_without_a_gap_from_today(partitions: list[str], ahead: int) -> None:
    assert days_ahead(partitions, today=date(2026, 1, 2)) == ahead
