"""The adapter around kafka-connect-python against a server that misbehaves on demand."""

from __future__ import annotations

import socket

import pytest

from connectors.connect_admin import KafkaConnectAdmin
from contracts.errors import Misconfigured, Rejected, Transient
from contracts.settings import ConnectSettings
from tests.support.connect_server import Answer, connect_server

REBALANCING = Answer(409, {"error_code": 409, "message": "Cannot complete request because of a conflicting operation"})


def admin(settings: ConnectSettings, *, patience: float = 5.0) -> KafkaConnectAdmin:
    return KafkaConnectAdmin(settings, rebalance_patience_seconds=patience, sleep=lambda _: None)


def test_connectors_come_with_configuration_and_states() -> None:
    body = {
        "a": {
            "info": {"name": "a", "config": {"name": "a", "topics": "t"}, "tasks": []},
            "status": {
                "name": "a",
                "connector": {"state": "RUNNING", "worker_id": "w:1"},
                "tasks": [
                    {"id": 1, "state": "FAILED", "worker_id": "w:1", "trace": "java.lang.X: y"},
                    {"id": 0, "state": "RUNNING", "worker_id": "w:1"},
                ],
            },
        }
    }
    with connect_server([Answer(200, body)]) as server:
        [found] = admin(server.settings).connectors().values()
    assert (found.name, found.state, found.config["topics"]) == ("a", "RUNNING", "t")
    assert [(task.task, task.state) for task in found.tasks] == [(0, "RUNNING"), (1, "FAILED")]
    assert (found.is_failed, found.is_running, found.traces) == (True, False, ("java.lang.X: y",))


def test_a_connector_is_running_only_with_tasks() -> None:
    body = {"a": {"info": {"config": {}}, "status": {"connector": {"state": "RUNNING", "worker_id": "w"}, "tasks": []}}}
    with connect_server([Answer(200, body)]) as server:
        assert not admin(server.settings).connectors()["a"].is_running


def test_each_verb_asks_what_connect_understands() -> None:
    with connect_server([Answer(200, {})]) as server:
        asking = admin(server.settings)
        asking.put_config("a", {"k": "v"})
        asking.restart("a")
        asking.restart("a b", only_failed=False)
        asking.resume("a")
        asking.delete("a")
        asking.problems({"connector.class": "org.x.Sink"})
    assert server.requests == [
        ("PUT", "/connectors/a/config", {"k": "v"}),
        ("POST", "/connectors/a/restart?includeTasks=true&onlyFailed=true", None),
        ("POST", "/connectors/a%20b/restart?includeTasks=true&onlyFailed=false", None),
        ("PUT", "/connectors/a/resume", None),
        ("DELETE", "/connectors/a", None),
        ("PUT", "/connector-plugins/Sink/config/validate", {"connector.class": "org.x.Sink"}),
    ]


def test_a_rebalance_is_waited_for() -> None:
    with connect_server([REBALANCING, REBALANCING, Answer(204)]) as server:
        admin(server.settings).delete("a")
    assert len(server.requests) == 3


def test_a_rebalance_without_end_is_transient() -> None:
    with connect_server([REBALANCING]) as server, pytest.raises(Transient, match=r"still rebalancing.*conflicting"):
        admin(server.settings, patience=1.0).delete("a")


def test_a_refused_configuration_is_told_in_connects_own_words() -> None:
    words = 'Connector configuration is invalid: Missing required configuration "s3.bucket"'
    with (
        connect_server([Answer(400, {"error_code": 400, "message": words})]) as server,
        pytest.raises(Misconfigured, match=r'configuring a: .*400.*"s3\.bucket"'),
    ):
        admin(server.settings).put_config("a", {"x": "y"})


def test_an_error_holds_no_credentials() -> None:
    words = "Invalid value jdbc:postgresql://app:hunter2@db/x for configuration connection.url"
    with (
        connect_server([Answer(400, {"error_code": 400, "message": words})]) as server,
        pytest.raises(Misconfigured) as refused,
    ):
        admin(server.settings).put_config("a", {"password": "hunter2"})
    assert "hunter2" not in str(refused.value)


def test_an_unknown_connector_has_no_configuration_and_cannot_be_restarted() -> None:
    with connect_server([Answer(404, {"error_code": 404, "message": "Connector a not found"})]) as server:
        asking = admin(server.settings)
        assert asking.config("a") is None
        asking.delete("a")
        with pytest.raises(Rejected, match="Connector a not found") as refused:
            asking.restart("a")
    assert refused.value.code == "unknown_connector"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_connect_in_trouble_is_transient(status: int) -> None:
    with (
        connect_server([Answer(status, {"error_code": status, "message": "Request timed out"})]) as server,
        pytest.raises(Transient, match=f"{status}: Request timed out"),
    ):
        admin(server.settings).connectors()


def test_a_connect_that_is_away_is_transient() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        asking = admin(ConnectSettings(url=f"http://127.0.0.1:{unused.getsockname()[1]}"))
        with pytest.raises(Transient, match=r"does not answer.*refused"):
            asking.connectors()


def test_a_connect_that_never_answers_is_transient_after_the_timeout() -> None:
    with (
        connect_server([Answer(200, {}, delay_seconds=1.0)], timeout_seconds=0.2) as server,
        pytest.raises(Transient, match="does not answer"),
    ):
        admin(server.settings).connectors()


@pytest.mark.parametrize("answer", [Answer(200, b"<html>hello"), Answer(404, b"<html>no such page")])
def test_what_is_not_connect_is_told_apart(answer: Answer) -> None:
    with connect_server([answer]) as server, pytest.raises(Misconfigured, match="not Kafka Connect"):
        admin(server.settings).connectors()


@pytest.mark.parametrize(
    ("offsets", "progress"),
    [
        ([], 0),
        (
            [{"partition": {"kafka_topic": "t", "kafka_partition": n}, "offset": {"kafka_offset": 5}} for n in (0, 1)],
            10,
        ),
        ([{"partition": {"kafka_topic": "t", "kafka_partition": 0}, "offset": None}], None),
    ],
)
def test_progress_is_the_sum_of_the_committed_offsets(offsets: list[object], progress: int | None) -> None:
    with connect_server([Answer(200, {"offsets": offsets})]) as server:
        assert admin(server.settings).progress("a") == progress
