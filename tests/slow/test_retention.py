"""expire_frames and `sightline erase` in a real stack: what goes, what stays, and that the audit closes over both."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any

import psutil
import psycopg
import pytest

from contracts.records import Record
from contracts.settings import Settings
from inference.persistence.objects import FrameStore
from inference.persistence.review_requests import ReviewRequest, request_reviews
from tests.support.airflow import Run, Visitor, visitor, wait_for_dags
from tests.support.command_line import run, succeed
from tests.support.past import boards, days_ago, send
from tests.support.people import Person
from tests.support.stack import running_stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(1800)  # the stack's own start counts in

DAYS = 7
BY_SETTINGS, BY_FORM, OTHER, KILLED = "line-week", "line-form", "line-all", "line-killed"
BOX = ("short", (10.0, 12.0, 30.0, 36.0))
RUN_SECONDS = 420
STEP_SECONDS = 180  # of a job that starts on a machine that others use


@pytest.fixture(scope="module")
def stack() -> Iterator[Settings]:
    settings = {"SIGHTLINE_RETENTION__CAMERAS": json.dumps({BY_SETTINGS: DAYS}), "SIGHTLINE_JOBS__RETRY_SECONDS": "2"}
    with running_stack(profile="full", airflow=True, extra=settings) as running:
        yield running


@pytest.fixture(scope="module")
def operator(stack: Settings) -> Visitor:
    operator = visitor(stack, "operator")
    wait_for_dags(operator, {"expire_frames"}, seconds=STEP_SECONDS)
    operator.unpause("expire_frames")
    return operator


@pytest.fixture(scope="module")
def reviewer(stack: Settings) -> Person:
    return Person(stack, "reviewer")


@pytest.fixture(scope="module")
def sent(stack: Settings, reviewer: Person) -> dict[str, list[Record]]:
    """Of each camera five frames of nine days ago, of which one was reviewed, and of two cameras young ones."""
    old = {camera: send(stack, camera, days_ago(9), boards(5)) for camera in (BY_SETTINGS, BY_FORM, OTHER)}
    young = {camera: send(stack, camera, days_ago(2), boards(3)) for camera in (BY_SETTINGS, BY_FORM)}
    closed(stack, stored=21)
    for frames in old.values():
        reviewer.review(frames[1]["frame_id"], [BOX])
    return old | {f"{camera} young": frames for camera, frames in young.items()}


def ask(stack: Settings, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(stack.postgres.conninfo) as connection:
        return connection.execute(query, values).fetchall()


def closed(stack: Settings, **counts: int) -> dict[str, Any]:
    """The audit, which closes."""
    said: dict[str, Any] = succeed(stack, "audit", "--wait", "240", "--json", seconds=400).answer
    assert {name: said[name] for name in counts} == counts
    return said


def keys(stack: Settings, camera: str) -> list[str]:
    """Of the camera's objects."""
    with closing(FrameStore(stack.s3)) as store:
        return [key for key in store.keys("") if f"/camera={camera}/" in key]


def of(stack: Settings, camera: str) -> dict[str, Any]:
    """All there is of a camera: rows by table, objects."""
    tables = ask(
        stack,
        "SELECT c.table_name FROM information_schema.columns AS c JOIN information_schema.tables AS t USING (table_schema, table_name)"
        " WHERE c.column_name = 'camera_id' AND c.table_schema = 'public' AND t.table_type = 'BASE TABLE'"
        " AND c.table_name !~ '_(2[0-9]{7}|default)$'",
    )
    found = {name: ask(stack, f"SELECT * FROM {name} WHERE camera_id = %s ORDER BY 1, 2", camera) for (name,) in tables}
    return {name: rows for name, rows in found.items() if rows} | {"objects": keys(stack, camera)}


def expired(operator: Visitor, form: dict[str, Any] | None = None) -> tuple[Run, dict[str, Any]]:
    """A run that ends well, and what its job said."""
    run = operator.start("expire_frames", form)
    state = operator.wait(run, seconds=RUN_SECONDS)
    assert state == "success", operator.whole_log(run, "expire")
    assert operator.tasks(run) == {"expire": ["success"], "verify": ["success"]}
    return run, operator.xcom(run, "expire")


def told_of(reviewer: Person, frame: Record) -> tuple[Any, ...]:
    """What the API says of a frame, without what is new in every answer."""
    frame_id = frame["frame_id"]
    answer = reviewer.get(f"/v1/frames/{frame_id}")
    assert answer.status_code == 200, answer.text
    said = answer.json()
    del said["image"]["url"]
    image = reviewer.get(f"/v1/frames/{frame_id}/image")
    assert image.status_code == 200, image.text
    return said, hashlib.sha256(image.content).hexdigest()


def test_a_rehearsal_says_what_would_go_and_removes_nothing(
    stack: Settings, operator: Visitor, sent: dict[str, list[Record]]
):
    before = {camera: of(stack, camera) for camera in (BY_SETTINGS, BY_FORM, OTHER)}
    assert {name: len(found["objects"]) for name, found in before.items()} == {BY_SETTINGS: 8, BY_FORM: 8, OTHER: 5}
    run, said = expired(operator, {"rehearsal": True})
    assert (said["is_dry_run"], said["frames"], said["kept"], set(said["cameras"])) == (True, 4, 1, {BY_SETTINGS})
    assert f"{days_ago(9):%Y-%m-%d} {BY_SETTINGS}: 4 frames" in operator.whole_log(run, "expire")
    assert {camera: of(stack, camera) for camera in before} == before


def test_a_run_takes_what_the_settings_say_and_leaves_what_a_person_reviewed(
    stack: Settings, operator: Visitor, reviewer: Person, sent: dict[str, list[Record]]
):
    frames, kept = sent[BY_SETTINGS], sent[BY_SETTINGS][1]
    before, others = told_of(reviewer, kept), {camera: of(stack, camera) for camera in (BY_FORM, OTHER)}
    assert before[1] == kept["sha256"]
    _, said = expired(operator)
    assert (said["frames"], said["kept"], said["left"], set(said["cameras"])) == (4, 1, 0, {BY_SETTINGS})
    assert sorted(keys(stack, BY_SETTINGS)) == sorted(
        frame["object_key"] for frame in (kept, *sent[f"{BY_SETTINGS} young"])
    )
    assert told_of(reviewer, kept) == before
    assert [review["verdict"] for review in before[0]["reviews"]] == ["corrected"]
    for gone in (frames[0], *frames[2:]):
        assert reviewer.get(f"/v1/frames/{gone['frame_id']}").status_code == 404
    assert {camera: of(stack, camera) for camera in others} == others
    assert closed(stack, stored=17, expired=4)["problem_count"] == 0


def test_cameras_of_the_form_go_by_the_forms_days_and_another_run_finds_nothing(
    stack: Settings, operator: Visitor, sent: dict[str, list[Record]]
):
    before = {camera: of(stack, camera) for camera in (BY_SETTINGS, OTHER)}
    form = {"days_of": {BY_FORM: DAYS}}
    _, said = expired(operator, form)
    assert (said["frames"], said["kept"], said["left"], set(said["cameras"])) == (4, 1, 0, {BY_FORM})
    assert len(keys(stack, BY_FORM)) == 4
    closed(stack, stored=13, expired=8)
    for again in (form, None):
        _, said = expired(operator, again)
        assert (said["frames"], said["objects"], said["days"], said["kept"]) == (0, 0, [], 0)
    assert {camera: of(stack, camera) for camera in before} == before


def test_more_days_than_all_have_are_refused_and_not_tried_again(operator: Visitor):
    run = operator.start("expire_frames", {"days_of": {BY_FORM: 4711}})
    assert operator.wait(run, seconds=RUN_SECONDS) == "failed"
    assert operator.tasks(run) == {"expire": ["failed"], "verify": ["upstream_failed"]}
    assert operator.instance(run, "expire")["try_number"] == 1
    assert f"{BY_FORM}: --days is from 1 to 90" in operator.whole_log(run, "expire")


def test_a_job_that_is_killed_in_the_middle_is_tried_again_and_ends_the_same(
    stack: Settings, operator: Visitor, reviewer: Person, sent: dict[str, list[Record]]
):
    days = range(9, 49)
    frames = [frame for day in days for frame in send(stack, KILLED, days_ago(day), boards(2))]
    closed(stack, stored=13 + len(frames))
    reviewer.review(frames[0]["frame_id"], [])
    others = {camera: of(stack, camera) for camera in (BY_SETTINGS, BY_FORM, OTHER)}

    run = operator.start("expire_frames", {"days_of": {KILLED: DAYS}})
    job = eventually(lambda: job_of(stack), seconds=STEP_SECONDS, every=0.02)
    is_begun = f"SELECT count(*) FROM expirations WHERE camera_id = '{KILLED}'"
    eventually(lambda: ask(stack, is_begun) != [(0,)], seconds=STEP_SECONDS, every=0.005)
    job.send_signal(signal.SIGSTOP)
    left = len(keys(stack, KILLED))
    assert 0 < left <= len(frames), "the job was not in its middle"
    os.kill(job.pid, signal.SIGKILL)

    assert operator.wait(run, seconds=RUN_SECONDS) == "success", operator.whole_log(run, "expire", attempt=2)
    assert operator.instance(run, "expire")["try_number"] == 2
    assert "exit code 137" in operator.whole_log(run, "expire")
    assert keys(stack, KILLED) == [frames[0]["object_key"]]
    there = of(stack, KILLED)
    assert [len(there.get(name, [])) for name in ("frames", "predictions", "kept_frames", "reviews")] == [0, 0, 1, 1]
    assert {row[0] for row in ask(stack, "SELECT state FROM expirations WHERE camera_id = %s", KILLED)} == {"done"}
    closed(stack, stored=14, expired=8 + len(frames) - 1)
    assert {camera: of(stack, camera) for camera in others} == others


def job_of(stack: Settings) -> psutil.Process | None:
    """The process of the job, once it is one: the leash before it has the same words."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[1:5] == ["-m", "inference.batch", "expire", "--camera"]:
            with suppress(psutil.Error):
                if process.environ().get("SIGHTLINE_STACK__HOME") == str(stack.stack.home):
                    return process
    return None


def test_an_erased_camera_leaves_nothing_but_the_ledgers_row(
    stack: Settings, reviewer: Person, sent: dict[str, list[Record]]
):
    """Live and kept frames, reviews, a claim, a request for a review."""
    fresh = sent[f"{BY_FORM} young"][0]
    with psycopg.connect(stack.postgres.conninfo) as connection:
        wanted = {"frame_id": fresh["frame_id"], "camera_id": BY_FORM, "requested_by": "a test", "reason": "odd"}
        assert request_reviews(connection, [ReviewRequest(**wanted)]) == 1
    claimed = reviewer.post("/v1/reviews/claim", {"camera": BY_FORM, "purpose": "queue"})["frames"]
    others = {camera: of(stack, camera) for camera in (BY_SETTINGS, OTHER, KILLED)}
    assert {"frames", "kept_frames", "reviews", "review_requests", "sessions", "expirations"} <= set(of(stack, BY_FORM))

    said = succeed(stack, "erase", BY_FORM, "--yes", "--json").answer
    assert said["is_erased"]
    assert (said["objects"], said["rows"]["frames"], said["rows"]["kept_frames"], said["rows"]["sessions"]) == (
        4, 3, 1, 2,
    )  # fmt: skip
    assert {"frames", "predictions", "sessions"} <= set(said["forgotten_by"])
    assert all(day > f"{datetime.now(UTC):%Y-%m-%d}" for day in said["forgotten_by"].values())
    left = of(stack, BY_FORM)
    assert left["objects"] == []
    assert set(left) == {"expirations", "objects"}
    reasons = ask(stack, "SELECT DISTINCT reason, state FROM expirations WHERE camera_id = %s ORDER BY 1", BY_FORM)
    assert ("erased", "done") in reasons
    held = [frame["frame_id"] for frame in claimed]
    assert ask(stack, "SELECT count(*) FROM review_claims WHERE frame_id = ANY(%s::uuid[])", held) == [(0,)]
    assert reviewer.get(f"/v1/frames/{fresh['frame_id']}").status_code == 404
    assert BY_FORM not in {each["camera_id"] for each in reviewer.get("/v1/cameras").json()["cameras"]}
    assert {camera: of(stack, camera) for camera in others} == others
    closed(stack)
    again = run(stack, "erase", BY_FORM, "--yes", "--json")
    assert (again.code, "nothing is known" in again.err) == (65, True), again.err
