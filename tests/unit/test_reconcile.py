from __future__ import annotations

import pytest

from connectors import reconcile
from connectors.connect_admin import Connector, TaskStatus
from connectors.reconcile import OWNED, OWNER, Action, Kind, desired, foreign, plan, reason_of
from contracts.errors import Misconfigured
from contracts.settings import S3Settings, Settings

OURS = {OWNER: OWNED, "tasks.max": "1"}


def running(
    name: str, config: dict[str, str] | None = None, state: str = "RUNNING", task: str = "RUNNING"
) -> Connector:
    trace = (
        "org.example.Outer: died\n\tat x\nCaused by: org.example.Root: the table is missing" if task == "FAILED" else ""
    )
    return Connector(
        name=name,
        config=OURS if config is None else config,
        state=state,
        tasks=(TaskStatus(task=0, state=task, worker="w", trace=trace),),
    )


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ({}, [], []),
        ({"a": OURS}, [running("a")], []),
        ({"a": OURS}, [], [Action(kind=Kind.CREATE, connector="a")]),
        (
            {"a": OURS | {"topics": "x", "tasks.max": "2"}},
            [running("a", OURS | {"old": "y"})],
            [Action(kind=Kind.UPDATE, connector="a", changed=("old", "tasks.max", "topics"))],
        ),
        ({"a": OURS}, [running("a", {"tasks.max": "1"})], [Action(kind=Kind.UPDATE, connector="a", changed=(OWNER,))]),
        ({}, [running("a")], [Action(kind=Kind.DELETE, connector="a", reason="no longer wanted")]),
        ({}, [running("a", {"tasks.max": "1"})], []),
        ({"a": OURS}, [running("a", state="PAUSED")], [Action(kind=Kind.RESUME, connector="a", reason="paused")]),
        ({"a": OURS}, [running("a", state="STOPPED")], [Action(kind=Kind.RESUME, connector="a", reason="stopped")]),
        (
            {"a": OURS},
            [running("a", task="FAILED")],
            [Action(kind=Kind.RESTART, connector="a", reason="org.example.Root: the table is missing")],
        ),
        (
            {"a": OURS | {"b": "c"}},
            [running("a", task="FAILED")],
            [Action(kind=Kind.UPDATE, connector="a", changed=("b",))],
        ),
    ],
    ids=[
        "nothing wanted, nothing there",
        "all as it should be",
        "missing",
        "settings differ",
        "made by hand under our name",
        "ours and no longer wanted",
        "somebody else's",
        "paused",
        "stopped",
        "a task failed",
        "an update restarts what failed",
    ],
)
def test_the_plan_turns_what_runs_into_what_is_wanted(
    wanted: dict[str, dict[str, str]], found: list[Connector], expected: list[Action]
) -> None:
    assert plan(wanted, {entry.name: entry for entry in found}) == expected


def test_a_second_plan_after_the_first_was_done_is_empty() -> None:
    wanted = desired(Settings())
    assert plan(wanted, {name: running(name, config) for name, config in wanted.items()}) == []


def test_foreign_connectors_are_listed() -> None:
    found = [running("theirs", {}), running("ours"), running("wanted", {})]
    assert foreign({"wanted": OURS}, {entry.name: entry for entry in found}) == ["theirs"]


def test_an_action_names_settings_and_never_their_values() -> None:
    secret = "correct horse battery staple"
    [action] = plan({"a": OURS}, {"a": running("a", OURS | {"connection.password": secret})})
    assert "connection.password" in str(action)
    assert secret not in repr(action)


def test_settings_are_filled_in_and_references_to_secrets_stay() -> None:
    config = desired(Settings(s3=S3Settings(endpoint_url="http://store:1", frames_bucket="b")))["frames_to_s3"]
    assert (config["s3.endpoint"], config["s3.bucket"]) == ("http://store:1", "b")
    assert config["s3.secret.key"] == "${env:SIGHTLINE_S3__SECRET_KEY}"
    assert "{{" not in "".join(config.values())


def test_a_setting_that_connect_would_read_as_a_reference_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"frames_to_s3.*\$\{"):
        desired(Settings(s3=S3Settings(access_key="${file:/etc/passwd:x}")))


def test_an_unknown_placeholder_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "templates", lambda: {"a": {"x": "{{jdbc_ulr}}"}})
    with pytest.raises(Misconfigured, match=r"a\.json names \{\{jdbc_ulr\}\}.*jdbc_url"):
        desired(Settings())


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        ("", "no reason given"),
        ("java.lang.X: one\n\tat y", "java.lang.X: one"),
        ("a.A: outer\n\tat y\nCaused by: b.B: middle\n\tat z\nCaused by: c.C: root\n\tat w\n\t... 3 more", "c.C: root"),
    ],
)
def test_the_reason_is_the_root_of_the_trace(trace: str, reason: str) -> None:
    assert reason_of(trace) == reason
