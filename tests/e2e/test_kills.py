"""kill -9 while frames flow: nothing but waiting, and the audit closes."""

from __future__ import annotations

import os
import signal
import time

import psutil
import psycopg
import pytest

from contracts.settings import Settings
from tests.support.command_line import finish, run, start, succeed


def service(stack: Settings, name: str) -> dict:
    """A service's row in `sightline status`; the first of several workers."""
    rows = run(stack, "status", "--json").answer["services"]
    return next(row for row in rows if row["name"] == name or row["name"].startswith(f"{name}-"))


def kill(stack: Settings, name: str) -> int:
    pid = service(stack, name)["pid"]
    for process in (*psutil.Process(pid).children(recursive=True), psutil.Process(pid)):
        process.kill()
    return pid


def assert_audit_closes(stack: Settings, camera: str, *, wait: float = 180) -> dict:
    outcome = run(stack, "audit", "--camera", camera, "--wait", str(wait), "--json", seconds=wait + 60)
    assert outcome.code == 0, outcome.out + outcome.err
    with psycopg.connect(stack.postgres.conninfo) as connection:
        doubles = connection.execute(
            "SELECT session_id, sequence FROM frames WHERE camera_id = %s GROUP BY 1, 2 HAVING count(*) > 1", [camera]
        ).fetchall()
    assert doubles == []
    return outcome.answer


@pytest.mark.parametrize("name", ["kafka", "connect", "stream"])
def test_a_killed_service_costs_nothing_but_waiting(stack: Settings, name: str) -> None:
    camera = f"kill-{name}"
    sending = start(stack, "send", "simulator:?size=320", "--camera", camera, "--fps", "10", "--count", "150", "--json")
    time.sleep(5)
    killed = kill(stack, name)
    sent = finish(sending, seconds=240)
    assert sent.code == 0, sent.err
    assert sent.answer["acknowledged"] == 150
    assert assert_audit_closes(stack, camera)["stored"] == 150
    after = service(stack, name)
    assert after["state"] == "running"
    assert after["pid"] != killed


def test_a_killed_camera_leaves_everything_acknowledged_accounted_for(stack: Settings) -> None:
    sending = start(stack, "send", "simulator:?size=320", "--camera", "kill-send", "--fps", "20", "--count", "2000")
    time.sleep(8)
    os.kill(sending.pid, signal.SIGKILL)
    sending.communicate(timeout=30)
    time.sleep(11)  # a session without news for ten seconds is judged as it stands
    answer = assert_audit_closes(stack, "kill-send")
    [session] = answer["sessions"]
    assert session["state"] == "open"
    assert answer["stored"] >= 40


def test_ctrl_c_flushes_what_was_captured_and_closes_the_session(stack: Settings) -> None:
    sending = start(
        stack, "send", "simulator:?size=320", "--camera", "kill-ctrl-c", "--fps", "20", "--count", "2000", "--json"
    )
    time.sleep(8)
    sending.send_signal(signal.SIGINT)
    sent = finish(sending, seconds=60)
    assert sent.answer["captured"] == sent.answer["acknowledged"] > 40
    answer = assert_audit_closes(stack, "kill-ctrl-c")
    assert answer["stored"] == sent.answer["acknowledged"]
    assert [session["state"] for session in answer["sessions"]] == ["closed"]


def test_two_clones_may_not_hold_the_same_port(stack: Settings, tmp_path) -> None:
    """A second stack on the first one's ports is refused, and the holder is named."""
    second = stack.model_copy(update={"stack": stack.stack.model_copy(update={"home": tmp_path / ".sightline"})})
    outcome = run(second, "up", "--port-base", str(stack.stack.port_base), seconds=120)
    assert outcome.code == 78, outcome.out + outcome.err
    assert "kafka" in outcome.err or "postgres" in outcome.err
    succeed(stack, "status")
