"""The desired connectors against the Kafka Connect that runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from connectors.apply import apply
from connectors.connect_admin import KafkaConnectAdmin
from connectors.reconcile import Kind, desired, foreign, plan
from contracts.errors import Misconfigured
from contracts.settings import Settings
from tests.support.command_line import run, succeed
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def admin(stack: Settings) -> KafkaConnectAdmin:
    return KafkaConnectAdmin(stack.connect)


@pytest.fixture
def foreign_connector(stack: Settings, admin: KafkaConnectAdmin) -> Iterator[str]:
    name = f"foreign-{uuid4().hex[:8]}"
    config = {key: value for key, value in desired(stack)["frames_to_s3"].items() if not key.startswith("sightline.")}
    admin.put_config(name, config | {"name": name, "topics": "a-topic-of-nobody", "tasks.max": "1"})
    eventually(lambda: name in admin.connectors())
    yield name
    admin.delete(name)


def test_connect_finds_nothing_wrong_with_any_sink(stack: Settings, admin: KafkaConnectAdmin) -> None:
    wrong = {name: found for name, config in desired(stack).items() if (found := admin.problems(config))}
    assert wrong == {}


def test_applying_twice_changes_nothing(stack: Settings, admin: KafkaConnectAdmin) -> None:
    apply(stack)
    before = {name: admin.config(name) for name in desired(stack)}
    assert apply(stack) == []
    assert {name: admin.config(name) for name in desired(stack)} == before == desired(stack)
    assert all(admin.connectors()[name].is_running for name in desired(stack))


def test_a_setting_that_somebody_changed_is_put_back(stack: Settings, admin: KafkaConnectAdmin) -> None:
    apply(stack)
    admin.put_config("sessions_to_postgres", desired(stack)["sessions_to_postgres"] | {"batch.size": "7"})
    [action] = apply(stack)
    assert (action.kind, action.connector, action.changed) == (Kind.UPDATE, "sessions_to_postgres", ("batch.size",))
    assert admin.config("sessions_to_postgres") == desired(stack)["sessions_to_postgres"]


def test_a_deleted_connector_comes_back_and_goes_on(stack: Settings, admin: KafkaConnectAdmin) -> None:
    apply(stack)
    progress = admin.progress("sessions_to_postgres")
    assert progress is not None
    admin.delete("sessions_to_postgres")
    # The watchdog of the stack may have been quicker.
    assert [action.kind for action in apply(stack)] in ([Kind.CREATE], [])
    assert admin.connectors()["sessions_to_postgres"].is_running
    after = admin.progress("sessions_to_postgres")
    assert after is not None
    assert after >= progress, "it began anew"


def test_a_foreign_connector_is_listed_and_left_alone(
    stack: Settings, admin: KafkaConnectAdmin, foreign_connector: str
) -> None:
    running = admin.connectors()
    assert foreign(desired(stack), running) == [foreign_connector]
    assert foreign_connector not in {action.connector for action in plan(desired(stack), running)}
    apply(stack)
    assert foreign_connector in admin.connectors()


def test_no_secret_can_be_read_from_connect(stack: Settings, admin: KafkaConnectAdmin) -> None:
    told = json.dumps({name: dict(entry.config) for name, entry in admin.connectors().items()})
    secrets = (stack.postgres.password.get_secret_value(), stack.s3.secret_key.get_secret_value())
    assert all(secrets)
    assert [secret for secret in secrets if secret in told] == []


def test_a_refused_configuration_is_told_by_setting(stack: Settings, admin: KafkaConnectAdmin) -> None:
    broken = desired(stack)["frames_to_s3"] | {"name": "broken", "s3.endpoint": "nowhere", "s3.parallel": "0"}
    assert {problem.split(":")[0] for problem in admin.problems(broken)} == {"s3.endpoint", "s3.parallel"}
    with pytest.raises(Misconfigured, match=r"s3\.endpoint"):
        admin.put_config("broken", broken)
    assert admin.config("broken") is None


def test_the_command_line_plans_applies_restarts_and_shows(stack: Settings) -> None:
    succeed(stack, "connectors", "apply", "--json")
    assert succeed(stack, "connectors", "plan", "--json").answer["actions"] == []
    shown = succeed(stack, "connectors", "status", "--json").answer
    assert shown["missing"] == []
    assert {name for name, entry in shown["connectors"].items() if entry["is_ours"]} == set(desired(stack))
    assert succeed(stack, "connectors", "restart", "sessions_to_postgres", "--json").answer == {
        "restarted": ["sessions_to_postgres"]
    }
    eventually(lambda: run(stack, "connectors", "status").code == 0)
    unknown = run(stack, "connectors", "restart", "nobody")
    assert (unknown.code, "nobody" in unknown.err) == (65, True), unknown.err


def test_the_plan_says_by_its_exit_code_that_there_is_something_to_do(
    stack: Settings, admin: KafkaConnectAdmin
) -> None:
    admin.put_config("sessions_to_postgres", desired(stack)["sessions_to_postgres"] | {"batch.size": "7"})
    outcome = run(stack, "connectors", "plan", "--json")
    assert outcome.code == 1, outcome.err
    assert outcome.answer["actions"] == [
        {"action": "update", "connector": "sessions_to_postgres", "changed": ["batch.size"], "reason": ""}
    ]
    succeed(stack, "connectors", "apply")
