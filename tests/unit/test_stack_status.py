"""What status makes of what it found: is all well, and what to warn of."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest

from connectors.connect_admin import Connector, TaskStatus
from connectors.sink_states import connector_rows
from connectors.topic_figures import Lag, TopicFigures
from contracts.topics import DEAD_LETTERS, SINKS
from inference.persistence.sessions import OpenSession, warnings_about
from sightline.stack.home import Home
from sightline.stack.launch_record import is_restarting
from sightline.stack.report import ServiceRow
from sightline.stack.status import Status, _judged, page


def a_service(name: str = "kafka", state: str = "running") -> ServiceRow:
    return ServiceRow(
        name=name, state=state, pid=7, uptime_seconds=1.0, restarts=0, memory_bytes=2**20, url="here", login=""
    )


def a_session(camera: str = "c1", silent: float = 0.5, session: str = "s1") -> OpenSession:
    return OpenSession(session_id=session, camera_id=camera, captured=3, silent_seconds=silent)


def connectors(**states: str) -> dict[str, Connector]:
    return {
        name: Connector(
            name=name,
            config={},
            state="RUNNING",
            tasks=(TaskStatus(task=0, state=states.get(name, "RUNNING"), worker="w", trace="X: because\n\tat y"),),
        )
        for name in SINKS
    }


FLOW = TopicFigures(
    lags=(Lag(group="stream-champion", topic="frames", records=12),),
    frames_per_second=9.5,
    dead_letters={topic.name: 0 for topic in DEAD_LETTERS} | {DEAD_LETTERS[0].name: 2},
)


def a_status(**changes: object) -> Status:
    given: dict = {
        "services": (a_service(),),
        "connectors": connector_rows(connectors()),
        "flow": FLOW,
        "sessions": (a_session(),),
        "away": (),
        "full": (),
    }
    given |= changes
    return _judged(*given.values())


def test_all_is_well_when_everything_runs():
    assert a_status().is_well
    assert page(a_status()).splitlines()[-1] == "all is well"


@pytest.mark.parametrize(
    "changes",
    [
        {"services": (a_service(), a_service("s3", "exited"))},
        {"services": (a_service(), a_service("s3", "restarting"))},
        {"services": ()},
        {"connectors": connector_rows(connectors(frames_to_s3="FAILED"))},
        {"connectors": connector_rows({})},
        {"connectors": None, "away": ("Connect is away",)},
        {"flow": None, "away": ("the broker is away",)},
        {"full": (Path("/home/logs"),)},
    ],
)
def test_anything_missing_failed_or_away_is_not_well_and_the_page_still_comes(changes: dict):
    status = a_status(**changes)
    assert not status.is_well
    assert page(status).splitlines()[-1] == "not all is well"
    assert all(reason in page(status) for reason in status.away)


def test_what_is_away_is_said_first():
    assert page(a_status(connectors=None, away=("Connect is away",))).splitlines()[0] == "away: Connect is away"


def test_a_full_disk_is_said_before_what_follows_from_it():
    status = a_status(full=(Path("/home/logs"),), connectors=None, away=("Connect is away",))
    assert page(status).splitlines()[0].startswith("no space left on the disk of /home/logs: make room")
    assert status.as_dict()["full"] == ("/home/logs",)


def test_a_failed_task_is_shown_with_its_reason_and_an_absent_sink_with_its_cure():
    rows = {row.name: row for row in connector_rows(connectors(frames_to_s3="FAILED"))}
    assert (rows["frames_to_s3"].tasks, rows["frames_to_s3"].reason) == (("FAILED",), "X: because")
    assert connector_rows({})[0].state == "ABSENT"
    assert "sightline connectors apply" in connector_rows({})[0].reason


def test_two_live_sessions_of_one_camera_are_warned_of():
    twins = [a_session(session="s1"), a_session(session="s2"), a_session("c2")]
    [warning] = warnings_about(twins)
    assert "camera c1 has 2 open sessions" in warning
    assert a_status(sessions=tuple(twins)).is_well


def test_a_session_that_fell_silent_is_no_second_sender_but_is_shown_as_silent():
    sessions = (a_session(), a_session(session="s2", silent=75.0))
    assert warnings_about(sessions) == []
    assert "no news for 0:01:15" in page(a_status(sessions=sessions))


def test_lag_rate_and_dead_letters_are_on_the_page_and_in_the_json():
    said = page(a_status())
    assert "frames: 9.5 per second" in said
    assert "stream-champion" in said
    assert "dead letters: 2" in said
    assert a_status().as_dict()["flow"]["dead_letters"] == dataclasses.asdict(FLOW)["dead_letters"]


def test_the_shadows_lag_stands_beside_the_champions_and_says_when_it_rests():
    shadow = Lag(group="stream-challenger", topic="frames", records=4711)
    status = a_status(flow=dataclasses.replace(FLOW, lags=(*FLOW.lags, shadow)))
    [line] = [line for line in page(status).splitlines() if "stream-challenger" in line]
    assert line.split() == ["stream-challenger", "frames", "4,711"]
    resting = dataclasses.replace(status, resting=("stream-challenger",))
    lines = [line for line in page(resting).splitlines() if "there is no challenger" in line]
    assert [line.split()[0] for line in lines] == ["stream-challenger"]
    assert resting.is_well


def test_a_service_that_ends_again_and_again_is_named_with_how_often_it_was_started():
    status = a_status(services=(dataclasses.replace(a_service("s3", "restarting"), restarts=6),))
    assert not status.is_well
    assert "s3 ends again and again, soon after its start: started 7 times" in page(status)


@pytest.mark.parametrize(
    ("pause", "seconds_ago", "expected"),
    [(0.0, 1, False), (1.0, 1, False), (2.0, 1, True), (30.0, 49, True), (30.0, 61, False)],
)
def test_restarting_is_a_second_young_death_in_a_row_not_long_ago(
    tmp_path: Path, pause: float, seconds_ago: float, expected: bool
):
    home = Home(tmp_path)
    home.make()
    assert not is_restarting(home, "s3")
    home.lives("s3").write_text(json.dumps({"starts": 5, "at": time.time() - seconds_ago, "pause": pause}))
    assert is_restarting(home, "s3") is expected
