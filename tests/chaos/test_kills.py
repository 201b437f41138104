"""kill -9 of each part, under a flow of frames: nothing but waiting, and everything is accounted for."""

from __future__ import annotations

import os
import signal
import time

import pytest

from connectors import dead_letters
from contracts.settings import Settings
from tests.support.breakage import kill, service
from tests.support.command_line import finish, start
from tests.support.flow import SOURCE, Flow, assert_nothing_twice, audit, flowing, wait_until_well
from tests.support.recoveries import MEASURED, Recovery

SERVICES = {
    "kafka": "broker",
    "connect": "Kafka Connect",
    "registry": "schema registry",
    "postgres": "Postgres",
    "s3": "S3 server",
    "stream-0": "stream worker",
    "mlflow": "MLflow",
    "watchdog": "watchdog",
}


@pytest.mark.parametrize("name", SERVICES)
def test_a_killed_service_costs_nothing_but_waiting(stack: Settings, name: str) -> None:
    with flowing(stack, f"kill -9 {SERVICES[name]}") as flow:
        killed = kill(stack, name)
        flow.fault_ends()
    after = service(stack, name)
    assert after.pid not in {None, killed}


def test_a_killed_camera_leaves_what_was_acknowledged_accounted_for(stack: Settings) -> None:
    """The session stays open, and is judged by what it last said; the next one goes on."""
    wait_until_well(stack)
    letters_before = dead_letters.counts(stack)
    flow = Flow(stack, "kill -9 send")
    flow.start()
    assert flow.sending is not None
    time.sleep(3)
    os.kill(flow.sending.pid, signal.SIGKILL)
    flow.sending.communicate(timeout=30)
    flow.fault_ends()
    again = start(stack, "send", SOURCE, "--camera", flow.camera, "--fps", "10", "--count", "40", "--json")
    flow.sending = None
    seconds = flow.recover()
    sent = finish(again)
    assert sent.code == 0, sent.err
    time.sleep(11)  # without news for ten seconds a session is judged as it stands
    answer = audit(stack, flow.camera)
    assert sorted(session["state"] for session in answer["sessions"]) == ["closed", "open"]
    [killed] = [session for session in answer["sessions"] if session["state"] == "open"]
    assert killed["acknowledged"] == killed["stored"] >= 10
    assert answer["stored"] == killed["stored"] + 40
    assert_nothing_twice(stack, flow.camera)
    assert dead_letters.counts(stack) == letters_before
    MEASURED.append(
        Recovery(
            scenario=flow.scenario,
            seconds=round(seconds, 1),
            fault_seconds=0.0,
            frames=answer["stored"],
            frames_per_second=round(40 / sent.answer["seconds"], 1),
            is_closed=True,
            note="a second send, started at once",
        )
    )
