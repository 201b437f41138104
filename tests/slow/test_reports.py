"""What tells the state of things, in a real Airflow: check_contracts, report_drift, watch_connectors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from connectors.cameras.boards import Drift
from connectors.connect_admin import KafkaConnectAdmin
from connectors.reconcile import desired
from contracts.records import Record
from contracts.settings import Settings
from inference.registry import mlflow_client
from sightline.stack import logins
from sightline.stack.airflow_services import JOBS
from sightline.stack.home import Home
from sightline.stack.supervision import Supervisor
from tests.support.airflow import Run, Visitor, visitor, wait_for_dags
from tests.support.command_line import succeed
from tests.support.past import boards, days_ago, send
from tests.support.people import Person
from tests.support.stack import running_stack
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.timeout(1800),  # the stack's own start counts in
    pytest.mark.filterwarnings("default"),  # MLflow's own imports warn
]

DAGS = ("check_contracts", "report_drift", "watch_connectors")
CAMERA = "line-1"
FRAMES = 60  # of a day
RUN_SECONDS = 420
SINK = "sessions_to_postgres"


@pytest.fixture(scope="module")
def stack() -> Iterator[Settings]:
    # With less, a try's log would go with the one before: Airflow removes the folder of both when it has stored that one.
    with running_stack(profile="full", airflow=True, extra={"SIGHTLINE_JOBS__RETRY_SECONDS": "6"}) as running:
        yield running


@pytest.fixture(scope="module")
def operator(stack: Settings) -> Visitor:
    operator = visitor(stack, "operator")
    wait_for_dags(operator, DAGS)
    operator.unpause(*DAGS)
    return operator


@pytest.fixture(scope="module")
def reviewer(stack: Settings) -> Person:
    return Person(stack, "reviewer")


@pytest.fixture(scope="module")
def week(stack: Settings) -> dict[int, list[Record]]:
    """Sixty frames of the day before yesterday, sixty of a line that lost its light yesterday, a dozen of today.

    The champion is one since four days ago, so that there is a full day to compare with.
    """
    change(stack, "UPDATE promotions SET done_at = done_at - interval '4 days' WHERE alias = 'champion'")
    dark = Drift(light=-0.35, blur=2.0)
    sent = {
        2: send(stack, CAMERA, days_ago(2), boards(FRAMES)),
        1: send(stack, CAMERA, days_ago(1), boards(FRAMES, drift=dark)),
        0: send(stack, CAMERA, datetime.now(UTC) - timedelta(minutes=1), boards(12, seed=8)),
    }
    succeed(stack, "audit", "--wait", "300", seconds=400)
    return sent


def ended(someone: Visitor, dag: str, form: dict[str, Any] | None = None) -> tuple[Run, str]:
    """A run and its end."""
    run = someone.start(dag, form)
    return run, someone.wait(run, seconds=RUN_SECONDS)


def an_hour() -> dict[str, str]:
    now = datetime.now(UTC)
    return {"since": (now - timedelta(hours=1)).isoformat(), "until": (now + timedelta(minutes=1)).isoformat()}


def change(stack: Settings, statement: str, *values: object) -> None:
    """Past the triggers: a frame's row stays as it was first written, and the ledger is only written on."""
    with psycopg.connect(stack.postgres.conninfo) as connection:
        connection.execute("SET session_replication_role = 'replica'")
        assert connection.execute(statement, values).rowcount == 1


def day(days: int) -> str:
    return days_ago(days).date().isoformat()


def test_good_rows_pass_and_are_counted(operator: Visitor, week: dict[int, list[Record]]):
    run, state = ended(operator, "check_contracts", an_hour())
    assert state == "success", operator.whole_log(run, "check")
    said = operator.xcom(run, "check")
    assert (said["frames"], said["predictions"], said["broken_rows"], said["rows"]) == (12, 12, 0, [])
    assert (said["audit"]["is_closed"], said["schemas"], said["registry"]) == (True, [], [])


@pytest.mark.parametrize(
    ("table", "column", "wrong", "right"),
    [("predictions", "engine", "''", "'openvino'"), ("frames", "width", "0", "320")],
)
def test_a_row_that_breaks_its_contract_is_named_and_the_task_not_tried_again(
    stack: Settings, operator: Visitor, week: dict[int, list[Record]], table: str, column: str, wrong: str, right: str
):
    frame_id = week[0][3]["frame_id"]
    edit = f"UPDATE {table} SET {column} = {{}} WHERE frame_id = %s"
    change(stack, edit.format(wrong), frame_id)
    try:
        run, state = ended(operator, "check_contracts", an_hour())
    finally:
        change(stack, edit.format(right), frame_id)
    assert (state, operator.tasks(run)) == ("failed", {"check": ["failed"]})
    assert operator.instance(run, "check")["try_number"] == 1
    log = operator.whole_log(run, "check")
    assert "check ended with exit code 65" in log
    assert f"Frames: {frame_id}. `sightline trace FRAME_ID`" in log
    assert f"1 x row of {table} breaks its contract" in log
    assert [row["key"][0] for row in operator.xcom(run, "check")["rows"]] == [frame_id]

    operator.clear(run, "check")
    eventually(lambda: operator.state(run) == "success", seconds=RUN_SECONDS)


def test_a_day_that_drifted_is_drawn_in_mlflow_and_its_frames_go_first_in_the_queue(
    stack: Settings, operator: Visitor, reviewer: Person, week: dict[int, list[Record]]
):
    run, state = ended(operator, "report_drift", {"day": day(1)})
    assert state == "success", operator.whole_log(run, "report")
    said = operator.xcom(run, "report")
    assert (said["day"], said["reference"], said["compared"], said["frames"]) == (day(1), day(2), True, FRAMES)
    assert said["psi"]["brightness"] > 0.25
    assert "brightness" in said["shifted"]
    assert 0 < len(said["marked"]) <= 20
    assert said["newly_marked"] in {0, len(said["marked"])}  # 0: the nightly run, unpaused, had that day before
    assert set(said["marked"]) <= {frame["frame_id"] for frame in week[1]}

    client = mlflow_client.connect(as_jobs(stack))
    assert client.get_run(said["run"]).data.metrics["psi/brightness"] == pytest.approx(
        said["psi"]["brightness"], abs=1e-4
    )
    files = {one.path: one.file_size for one in client.list_artifacts(said["run"])}
    assert set(files) == {"report.json", *(f"{name}.png" for name in said["psi"])}
    assert all(size > 0 for size in files.values())

    claimed = reviewer.post("/v1/reviews/claim", {"purpose": "queue", "count": 5})["frames"]
    assert len({frame["frame_id"] for frame in claimed} & set(said["marked"])) == 5, "newer frames came first"

    again, state = ended(operator, "report_drift", {"day": day(1)})
    assert state == "success"
    assert (operator.xcom(again, "report")["run"], operator.xcom(again, "report")["newly_marked"]) == (said["run"], 0)


def test_a_day_with_hardly_a_frame_says_that_there_is_nothing_to_compare(
    operator: Visitor, week: dict[int, list[Record]]
):
    run, state = ended(operator, "report_drift", {"day": day(3)})
    assert state == "success"
    said = operator.xcom(run, "report")
    assert (said["compared"], said["frames"]) == (False, 0)
    assert "nothing to compare" in operator.whole_log(run, "report")


def test_a_day_without_a_champion_is_bad_data_and_not_tried_again(operator: Visitor, week: dict[int, list[Record]]):
    run, state = ended(operator, "report_drift", {"day": day(30)})
    assert (state, operator.instance(run, "report")["try_number"]) == ("failed", 1)
    log = operator.whole_log(run, "report")
    assert "report ended with exit code 65" in log or "drift ended with exit code 65" in log
    assert f"nobody was champion of pcb-defects on {day(30)}: give a later --day" in log


def as_jobs(stack: Settings) -> Settings:
    secret = SecretStr(logins.read(Home(stack.stack.home)).accounts[JOBS])
    return stack.model_copy(update={"mlflow": stack.mlflow.model_copy(update={"username": JOBS, "password": secret})})


def assert_reported(operator: Visitor, *words: str) -> None:
    """A run that fails after its last try, and says what is wrong and what to do."""
    run, state = ended(operator, "watch_connectors")
    assert (state, operator.tasks(run)) == ("failed", {"report": ["failed"]})
    assert operator.instance(run, "report")["try_number"] == 3
    log = operator.whole_log(run, "report", attempt=3)
    for word in (SINK, "sightline connectors restart NAME", "failed for good", *words):
        assert word in log, log


def test_sinks_that_run_are_reported_with_their_state(operator: Visitor):
    run, state = ended(operator, "watch_connectors")
    assert state == "success", operator.whole_log(run, "report")
    said = operator.xcom(run, "report")
    assert said["missing"] == []
    assert {
        name: entry["is_running"] for name, entry in said["connectors"].items() if entry["is_ours"]
    } == dict.fromkeys(("frames_to_s3", "frames_to_postgres", "predictions_to_postgres", SINK), True)


def test_a_sink_that_failed_for_good_is_reported_with_its_reason(stack: Settings, operator: Visitor):
    """One whose cause is not the store's: the watchdog gives up, and nobody but a person can mend it."""
    admin = KafkaConnectAdmin(stack.connect)
    admin.put_config(SINK, desired(stack)[SINK] | {"connection.username": "nobody"})
    try:
        eventually(lambda: "watchdog_gave_up" in succeed(stack, "logs", "watchdog", "-n", "200").out, seconds=300)
        assert_reported(operator, "FAILED", "Unable to determine Dialect without JDBC metadata")
    finally:
        succeed(stack, "connectors", "apply")
    assert ended(operator, "watch_connectors")[1] == "success"


def test_a_sink_that_is_paused_or_gone_is_reported(stack: Settings, operator: Visitor):
    """Gone while the watchdog is away, for that one makes it again."""
    admin, supervisor = KafkaConnectAdmin(stack.connect), Supervisor(Home(stack.stack.home))
    httpx.put(f"{stack.connect.url}/connectors/{SINK}/pause", timeout=30, trust_env=False).raise_for_status()
    eventually(lambda: admin.connectors()[SINK].state == "PAUSED")
    assert_reported(operator, "PAUSED")
    supervisor.stop_service("watchdog")
    try:
        admin.delete(SINK)
        eventually(lambda: SINK not in admin.connectors())
        assert_reported(operator, "MISSING", "sightline connectors apply")
    finally:
        supervisor.start_service("watchdog")
        succeed(stack, "connectors", "apply")
    assert ended(operator, "watch_connectors")[1] == "success"
