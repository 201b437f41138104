"""`score_frames` on a real Airflow while things go wrong: each task's state, its tries, and what it says.

One stack for the file. Its stream workers stand still, so that a frame has a prediction only from a job.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from contracts.settings import Settings
from inference.persistence.objects import FrameStore
from sightline.stack.bootstrap import as_bootstrap
from sightline.stack.home import Home
from sightline.stack.logins import read as read_logins
from sightline.stack.supervision import Supervisor
from tests.support.airflow import Run, Visitor, visitor, wait_for_dags
from tests.support.breakage import service, stopped
from tests.support.model_store import WEAKER_MODEL, register, write_done
from tests.support.stack import running_stack
from tests.support.unscored import Workers, form_of, frames_of, predictions_of, rows, send, standing_still
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(1500)

RETRY_SECONDS = "5"
RUN_SECONDS = 420
AFTER_PLAN = ("score", "wait_until_stored", "check", "report")
DONE = {"plan": ["success"]} | {task: ["success"] for task in AFTER_PLAN}
LOOKED_AT = {"plan": -1, "score": 0, "wait_until_stored": -1}
JOB = ["-m", "inference.batch", "score"]

Frames = list[dict[str, Any]]


@pytest.fixture(scope="module")
def jobs() -> Iterator[Settings]:
    with running_stack(
        profile="full", airflow=True, extra={"SIGHTLINE_JOBS__RETRY_SECONDS": RETRY_SECONDS}
    ) as settings:
        yield settings


@pytest.fixture(scope="module")
def workers(jobs: Settings) -> Iterator[Workers]:
    with standing_still(jobs) as workers:
        yield workers


@pytest.fixture(scope="module")
def operator(jobs: Settings, workers: Workers) -> Visitor:
    someone = visitor(jobs, "operator")
    wait_for_dags(someone, ["score_frames"])
    someone.unpause("score_frames")
    return someone


def start(operator: Visitor, camera: str, frames: Frames, **more: Any) -> Run:
    return operator.start("score_frames", form_of(camera, frames, **more))


def score_jobs(settings: Settings) -> list[psutil.Process]:
    """The processes that score, without the leashes before them."""
    found = []
    for process in Supervisor(Home(settings.stack.home)).leftovers():
        with suppress(psutil.Error):
            if process.cmdline()[1:4] == JOB:
                found.append(process)
    return found


def orphans(settings: Settings) -> list[str]:
    """Processes of the stack whose parent is gone. supervisord is nobody's child either."""
    home = Home(settings.stack.home)
    supervisord = int(home.supervisor_pid.read_text())
    found = []
    for process in Supervisor(home).leftovers():
        with suppress(psutil.Error):
            if process.ppid() == 1 and process.pid != supervisord:
                found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
    return found


def assert_each_once(settings: Settings, camera: str, frames: Frames, *, run: Run, version: str) -> None:
    found = predictions_of(settings, camera)
    assert [row["frame_id"] for row in found] == [frame["frame_id"] for frame in frames]
    assert {(row["role"], row["run_id"], row["model_version"]) for row in found} == {("batch", run.run_id, version)}


@contextmanager
def refusing(settings: Settings) -> Iterator[None]:
    """The pipeline's database takes no connection. Airflow's own, on the same server, does."""
    name = settings.postgres.database

    def say(allowed: str) -> None:
        with psycopg.connect(make_conninfo(settings.postgres.conninfo, dbname="postgres"), autocommit=True) as server:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {allowed}')
            if allowed == "false":
                server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    say("false")
    try:
        yield
    finally:
        say("true")


def wait_for_state(operator: Visitor, run: Run, task: str, state: str, *, index: int = -1) -> dict[str, Any]:
    """The instance once it is so; it may be so for a few seconds only."""

    def found() -> Any:
        instance = operator.instance(run, task, index=index)
        assert instance["state"] == state, instance["state"]
        return instance

    return eventually(found, seconds=RUN_SECONDS, every=0.2)


def test_an_empty_interval_has_nothing_to_do_and_what_comes_after_is_skipped(operator: Visitor) -> None:
    form = {"since": "2026-11-20T08:00:00Z", "until": "2026-11-20T09:00:00Z"}
    run = operator.start("score_frames", form)
    assert operator.wait(run, seconds=RUN_SECONDS) == "success"
    assert operator.tasks(run) == {"plan": ["success"]} | {task: ["skipped"] for task in AFTER_PLAN}
    assert operator.xcom(run, "plan") == []


def test_an_alias_that_nobody_has_fails_the_plan_at_once(jobs: Settings, operator: Visitor) -> None:
    camera = "no-alias"
    run = start(operator, camera, send(jobs, camera, 3), model="nobody")
    assert operator.wait(run, seconds=RUN_SECONDS) == "failed"
    assert operator.tasks(run) == {"plan": ["failed"]} | {task: ["upstream_failed"] for task in AFTER_PLAN}
    assert operator.instance(run, "plan")["try_number"] == 1
    assert "has the alias nobody" in operator.log(run, "plan")


def test_a_version_that_does_not_exist_fails_at_once(jobs: Settings, operator: Visitor) -> None:
    camera = "no-version"
    run = start(operator, camera, send(jobs, camera, 3), model="4711")
    assert operator.wait(run, seconds=RUN_SECONDS) == "failed"
    assert operator.tasks(run) == {"plan": ["success"], "score": ["failed"]} | {
        task: ["upstream_failed"] for task in AFTER_PLAN[1:]
    }
    assert operator.instance(run, "score", index=0)["try_number"] == 1
    log = operator.log(run, "score", index=0)
    assert "MLflow has no version 4711 of" in log
    assert "score ended with exit code 65" in log
    assert predictions_of(jobs, camera) == []


def test_an_image_that_is_gone_is_named_and_everything_else_is_scored(jobs: Settings, operator: Visitor) -> None:
    camera = "lost"
    frames = send(jobs, camera, 20)
    lost = frames[3]
    store = FrameStore(jobs.s3)
    store.delete(lost["object_key"])
    store.close()
    run = start(operator, camera, frames, shard=10)
    assert operator.wait(run, seconds=RUN_SECONDS) == "failed"
    assert operator.tasks(run) == {"plan": ["success"], "score": ["failed", "success"]} | {
        task: ["upstream_failed"] for task in AFTER_PLAN[1:]
    }
    assert operator.instance(run, "score", index=0)["try_number"] == 1
    log = operator.log(run, "score", index=0)
    assert f"{lost['frame_id']} (no_object)" in log  # the job's own words
    assert f"Frames: {lost['frame_id']}. `sightline trace" in log  # the failure's message
    assert f"failed for good at try 1: score ended with exit code 65. Frames: {lost['frame_id']}." in log
    assert operator.xcom(run, "score", index=0)["missing_objects"] == [lost["frame_id"]]
    others = [frame["frame_id"] for frame in frames if frame is not lost]
    eventually(lambda: [row["frame_id"] for row in predictions_of(jobs, camera)] == others)


def test_a_job_killed_in_the_middle_is_tried_again_and_ends_the_same(jobs: Settings, operator: Visitor) -> None:
    camera = "killed"
    frames = send(jobs, camera, 500)
    run = start(operator, camera, frames)
    eventually(lambda: predictions_of(jobs, camera), seconds=RUN_SECONDS, every=0.02)
    [job] = score_jobs(jobs)
    job.kill()
    waiting = wait_for_state(operator, run, "score", "up_for_retry", index=0)
    assert waiting["try_number"] == 1
    assert operator.wait(run, seconds=RUN_SECONDS) == "success"
    assert operator.tasks(run) == DONE
    assert operator.instance(run, "score", index=0)["try_number"] == 2
    first = operator.log(run, "score", index=0)
    assert "score ended with exit code 137" in first
    assert "It was killed (memory, or a node that went): Airflow tries again" in first
    report = operator.xcom(run, "report")
    assert 0 < report["already"] < 500
    assert report["already"] + report["scored"] == 500
    assert_each_once(jobs, camera, frames, run=run, version=report["version"])
    assert score_jobs(jobs) == []


def test_postgres_away_at_each_step_is_waited_for(jobs: Settings, operator: Visitor) -> None:
    camera = "refused"
    frames = send(jobs, camera, 40)
    with stopped(jobs, "connect"):  # no sink: the wait has something to wait for
        with refusing(jobs):
            run = start(operator, camera, frames)
            assert wait_for_state(operator, run, "plan", "up_for_retry")["try_number"] == 1
        wait_for_state(operator, run, "plan", "success")
        with refusing(jobs):
            assert wait_for_state(operator, run, "score", "up_for_retry", index=0)["try_number"] == 1
        wait_for_state(operator, run, "score", "success", index=0)
        wait_for_state(operator, run, "wait_until_stored", "up_for_reschedule")
        with refusing(jobs):
            assert wait_for_state(operator, run, "wait_until_stored", "up_for_retry")["try_number"] == 1
        assert predictions_of(jobs, camera) == []
    assert operator.wait(run, seconds=RUN_SECONDS) == "success"
    assert operator.tasks(run) == DONE
    tries = {task: operator.instance(run, task, index=index)["try_number"] for task, index in LOOKED_AT.items()}
    assert tries["plan"] >= 2
    assert tries["score"] >= 2
    assert tries["wait_until_stored"] >= 2
    for task, index in LOOKED_AT.items():
        assert "is away or busy" in operator.log(run, task, index=index), task
    assert "score ended with exit code 75" in operator.log(run, "score", index=0)
    assert_each_once(jobs, camera, frames, run=run, version=operator.xcom(run, "report")["version"])


def test_a_scheduler_killed_while_a_job_runs_costs_nothing_and_leaves_nothing(
    jobs: Settings, operator: Visitor
) -> None:
    camera = "headless"
    frames = send(jobs, camera, 500)
    run = start(operator, camera, frames)
    eventually(lambda: predictions_of(jobs, camera), seconds=RUN_SECONDS, every=0.02)
    killed = service(jobs, "airflow-scheduler").pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)  # it alone: what it started is on its own
    eventually(lambda: service(jobs, "airflow-scheduler").pid not in {None, killed}, seconds=60)
    assert operator.wait(run, seconds=900) == "success"
    assert operator.tasks(run) == DONE
    report = operator.xcom(run, "report")
    assert report["already"] + report["scored"] == 500
    if operator.instance(run, "score", index=0)["try_number"] > 1:  # else it got to its end on its own
        assert report["already"] > 0
        assert "Process exited abnormally" in operator.log(run, "score", index=0)
    assert_each_once(jobs, camera, frames, run=run, version=report["version"])
    eventually(lambda: (orphans(jobs), score_jobs(jobs)) == ([], []), seconds=60)


def test_a_range_is_replayed_through_an_older_version(jobs: Settings, operator: Visitor, workers: Workers) -> None:
    older = rows(jobs, "SELECT version FROM promotions WHERE state = 'done' ORDER BY id DESC LIMIT 1")[0]["version"]
    newer = register(as_bootstrap(jobs, read_logins(Home(jobs.stack.home))), WEAKER_MODEL)
    write_done(jobs, newer)
    workers.start()
    serving = "SELECT version FROM serving WHERE kind = 'stream' AND state = 'serving' AND updated_at > now() AT TIME ZONE 'UTC' - interval '10 s'"
    eventually(lambda: [row["version"] for row in rows(jobs, serving)] == [newer], seconds=180)
    camera = "replay"
    frames = send(jobs, camera, 40)
    eventually(lambda: len(predictions_of(jobs, camera)) == 40, seconds=120)
    before = predictions_of(jobs, camera)
    assert {row["model_version"] for row in before} == {newer}

    part = frames[10:30]
    run = start(operator, camera, part, model=older, only="all")
    assert operator.wait(run, seconds=RUN_SECONDS) == "success"
    assert operator.tasks(run) == DONE
    report = operator.xcom(run, "report")
    assert (report["version"], report["scored"]) == (older, 20)
    after = predictions_of(jobs, camera)
    assert [row for row in after if row["model_version"] == newer] == before
    replayed = [row for row in after if row["model_version"] == older]
    assert [row["frame_id"] for row in replayed] == [frame["frame_id"] for frame in part]
    assert {(row["role"], row["run_id"]) for row in replayed} == {("batch", run.run_id)}
    assert len(frames_of(jobs, camera)) == 40
