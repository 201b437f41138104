"""promote_model in a real Airflow, from the delivery to the end of the watch window.

    weaker model serves ─► better one delivered ─► run starts by itself ─► no answer · Reject · Approve
    promoted ─► watched: kept · rolled back, once for each cause · extended
    worse one delivered ─► run starts by itself ─► hold

One stack for the file; the tests go on from where the one before ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from contracts.settings import Settings
from inference.delivery.gate_evidence import evidence_digest
from sightline.stack import realm
from sightline.stack.home import Home
from sightline.stack.supervision import Supervisor
from tests.e2e.test_promotion_story import another
from tests.support.airflow import Run, visitor, wait_for_dags
from tests.support.handovers import DEMO, WEAKER, a_handover
from tests.support.promotion_runs import (
    AFTER_GATE,
    DAG,
    answered,
    asked,
    champion,
    delivered,
    fetch_evidence,
    ledger,
    model,
    runs,
    started_by_itself,
    states,
    store_evidence,
)
from tests.support.stack import running_stack
from tests.support.waiting import eventually
from tests.support.watching import (
    captured_after,
    cut_off,
    empty_boards,
    ended,
    gate_text,
    review_as_empty,
    seen_after,
    sending,
    start_watch,
)

pytestmark = pytest.mark.timeout(2400)

BOARDS = 40
ANSWER_SECONDS = 150  # that an approver has: what waits longer is rejected
RUN_SECONDS = 900
WATCHED = "watched"
APPROVER = {name: number for number, name in realm.people_with("approver")}["approver"]
NEVER_CAME = dict.fromkeys(("promote", "wait_until_served", "watch"), "skipped")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gate file that Airflow's tasks are told of; a test writes its own thresholds into it."""
    file = tmp_path_factory.mktemp("gate") / "gate.toml"
    file.write_text(gate_text())
    return file


@pytest.fixture
def window(tmp_path: Path) -> Path:
    """A gate file that a watch is given beside the one in force: a pass holds by the file that it was judged by."""
    return tmp_path / "gate.toml"


@pytest.fixture(scope="module")
def full(gate: Path) -> Iterator[Settings]:
    """The weaker model is champion, and a delivery is judged on simulated boards: nobody has reviewed a frame."""
    extra = {
        "SIGHTLINE_PROMOTION__GATE_FILE": str(gate),
        "SIGHTLINE_JOBS__GATE_BOARDS": str(BOARDS),
        "SIGHTLINE_JOBS__APPROVAL_HOURS": str(ANSWER_SECONDS / 3600),
    }
    with running_stack(profile="full", airflow=True, first_model=WEAKER, extra=extra) as settings:
        operator = visitor(settings, "operator")
        wait_for_dags(operator, {DAG})
        operator.unpause(DAG)
        yield settings


@pytest.fixture(scope="module")
def better(full: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Run]:
    """The version that was delivered, and the run that followed."""
    known = set(runs(visitor(full, "operator")))
    version = delivered(full, a_handover(tmp_path_factory.mktemp("better") / "model", DEMO))
    return version, started_by_itself(visitor(full, "operator"), known)


def test_a_delivery_starts_the_run_and_the_request_holds_table_and_links(
    full: Settings, better: tuple[str, Run]
) -> None:
    version, run = better
    viewer = visitor(full, "viewer")
    request = asked(viewer, run)
    assert request["subject"] == f"Make version {version} the champion?"
    assert "| class | labels | mAP50-95 | recall | precision | calibration error |" in request["body"]
    assert "| mousebite |" in request["body"]
    assert f"Version **{version}** of {full.mlflow.model_name} against champion version 1" in request["body"]
    assert "The gate says **pass**" in request["body"]
    assert f"]({full.mlflow.tracking_uri}/#/models/{full.mlflow.model_name}/versions/{version})" in request["body"]
    assert httpx.get(full.mlflow.tracking_uri, trust_env=False).status_code in {200, 401}
    assert [one["name"] for one in request["assigned_users"]] == [name for _, name in realm.people_with("approver")]
    for person in ("viewer", "operator"):
        assert visitor(full, person).answer(run, "approve", "Approve").status_code == 403
    assert not viewer.said(f"{run.path}/taskInstances/approve/-1/hitlDetails")["response_received"]


def test_no_answer_is_a_rejection(full: Settings, better: tuple[str, Run]) -> None:
    _, run = better
    viewer = visitor(full, "viewer")
    assert viewer.wait(run, seconds=RUN_SECONDS + ANSWER_SECONDS) == "success"
    assert states(viewer, run) == {"evaluate": "success", "gate": "success", "approve": "success", **NEVER_CAME}
    answer = viewer.said(f"{run.path}/taskInstances/approve/-1/hitlDetails")
    assert (answer["chosen_options"], answer["responded_by_user"]) == (["Reject"], None)
    assert champion(full) == "1"


def test_a_rejection_changes_nothing(full: Settings, better: tuple[str, Run]) -> None:
    version, _ = better
    before, run = ledger(full), started(full, version)
    answered(visitor(full, "approver"), run, "Reject")
    viewer = visitor(full, "viewer")
    assert viewer.wait(run, seconds=RUN_SECONDS) == "success"
    assert states(viewer, run) == {"evaluate": "success", "gate": "success", "approve": "success", **NEVER_CAME}
    assert ledger(full) == before


def test_whoever_marks_the_approval_as_done_has_approved_nothing(full: Settings, better: tuple[str, Run]) -> None:
    """An operator may mark tasks. A promotion still wants the person who answered."""
    version, _ = better
    operator, before, run = visitor(full, "operator"), ledger(full), started(full, version)
    asked(operator, run)
    marked = operator.ask("PATCH", f"{run.path}/taskInstances/approve", {"new_state": "success"})
    assert marked.status_code == 200, marked.text
    assert operator.wait(run, seconds=RUN_SECONDS) == "failed"
    assert operator.instance(run, "promote")["try_number"] == 1
    assert "nobody has approved" in operator.log(run, "promote")
    assert ledger(full) == before


def test_a_table_that_was_changed_is_refused_and_not_tried_again(
    full: Settings, better: tuple[str, Run], tmp_path: Path
) -> None:
    """First with the digest of what was measured, then with one that fits the changed files."""
    _, run = better
    operator, admin = visitor(full, "operator"), visitor(full, "admin")
    evaluated = operator.xcom(run, "evaluate")
    folder = fetch_evidence(full, evaluated["run"], tmp_path)
    table = pd.read_csv(folder / "candidate.csv")
    table.loc[0, "recall"] = 1.7
    table.to_csv(folder / "candidate.csv", index=False)
    store_evidence(full, evaluated["run"], folder / "candidate.csv")
    changed = {"value": {**evaluated, "digest": evidence_digest(folder)}, "map_index": -1}
    for attempt, sentence in ((2, "the evidence changed since it was measured"), (3, "recall")):
        operator.clear(run, "gate")
        eventually(lambda: operator.state(run) in {"failed", "success"}, seconds=RUN_SECONDS, every=1)
        seen = states(operator, run)
        assert (seen["evaluate"], seen["gate"], seen["approve"]) == ("success", "failed", "upstream_failed")
        # A run that was rejected once: Airflow may keep the skips of that answer.
        assert {seen[task] for task in NEVER_CAME} <= {"skipped", "upstream_failed"}
        assert operator.instance(run, "gate")["try_number"] == attempt
        log = operator.log(run, "gate", attempt=attempt)
        assert "exit code 65" in log
        assert sentence in log
        answer = admin.ask("PATCH", f"{run.path}/taskInstances/evaluate/xcomEntries/return_value", changed)
        assert answer.status_code == 200, answer.text
    assert "1.7" in log
    assert champion(full) == "1"


def test_approved_it_is_promoted_in_the_approvers_name_served_and_kept(
    full: Settings, better: tuple[str, Run], gate: Path
) -> None:
    version, _ = better
    gate.write_text(gate_text(minutes=1))
    run = started(full, version, reason="it finds more")
    asked(visitor(full, "approver"), run)
    with sending(full, WATCHED):
        answered(visitor(full, "approver"), run, "Approve")
        operator = visitor(full, "operator")
        assert operator.wait(run, seconds=RUN_SECONDS) == "success"
    assert set(states(operator, run).values()) == {"success"}
    newest = ledger(full)[0]
    assert (newest["version"], newest["previous_version"], newest["state"]) == (version, "1", "done")
    assert (newest["approved_by"], newest["approved_by_name"]) == (APPROVER, "approver (by sightline-jobs)")
    assert newest["reason"] == "it finds more"
    said = operator.xcom(run, "watch")
    assert (said["outcome"], said["promotion"], said["causes"]) == ("kept", newest["id"], [])
    assert said["figures"]["frames"] >= 20
    assert said["figures"]["compared_frames"] >= 20  # the previous champion was the shadow


def test_a_cause_in_the_window_rolls_back_and_the_task_says_so(
    full: Settings, better: tuple[str, Run], gate: Path, tmp_path: Path
) -> None:
    """Half of what comes cannot be decoded."""
    version, _ = better
    model(full, "approver", "rollback", "--reason", "to go there again")
    gate.write_text(gate_text(max_failed_share=0.01))
    run = started(full, version)
    asked(visitor(full, "approver"), run)
    with sending(full, WATCHED, cut_off(tmp_path / "cut")), sending(full, "sound"):
        answered(visitor(full, "approver"), run, "Approve")
        operator = visitor(full, "operator")
        assert operator.wait(run, seconds=RUN_SECONDS) == "success"
    assert states(operator, run)["watch"] == "skipped"
    assert "frames failed" in operator.log(run, "watch")
    assert operator.xcom(run, "watch")["outcome"] == "rolled_back"
    assert_rolled_back(full, "frames failed")


def test_a_slow_champion_is_rolled_back(full: Settings, better: tuple[str, Run], window: Path) -> None:
    """The worker stands still for longer than the budget."""
    workers = Supervisor(Home(full.stack.home))
    window.write_text(gate_text(p99_ms=5000))
    with sending(full, WATCHED):
        promotion = promoted(full, better[0])
        workers.stop_service("stream-0")
        eventually(lambda: captured_after(full, WATCHED, promotion) > 60, seconds=120)
        workers.start_service("stream-0")
        said, code = ended(start_watch(full, promotion, window))
    assert (code, said["outcome"]) == (99, "rolled_back")
    assert_rolled_back(full, "p99 latency")


def test_a_champion_that_disagrees_is_rolled_back(full: Settings, better: tuple[str, Run], window: Path) -> None:
    window.write_text(gate_text(min_agreement=0.999))
    with sending(full, WATCHED):
        said, code = ended(start_watch(full, promoted(full, better[0]), window))
    assert (code, said["outcome"]) == (99, "rolled_back")
    assert 0 < said["figures"]["agreement"] < 0.999
    assert_rolled_back(full, "agreement with the previous champion")


def test_a_champion_that_finds_too_little_is_rolled_back(
    full: Settings, better: tuple[str, Run], window: Path, tmp_path: Path
) -> None:
    window.write_text(gate_text(detections_per_frame=[1, 20]))
    with sending(full, WATCHED, empty_boards(tmp_path / "empty")):
        said, code = ended(start_watch(full, promoted(full, better[0]), window))
    assert (code, said["outcome"]) == (99, "rolled_back")
    assert_rolled_back(full, "detections per frame, outside 1 to 20")


def test_a_champion_whose_boxes_reviewers_refuse_is_rolled_back(
    full: Settings, better: tuple[str, Run], window: Path
) -> None:
    window.write_text(gate_text(min_precision=0.8, min_reviews=5))
    version, _ = better
    promotion = promoted(full, version)
    with sending(full, WATCHED):
        watching = start_watch(full, promotion, window)
        frames = eventually(lambda: seen_after(full, promotion, version, least=5), seconds=120)
        for frame in frames:
            review_as_empty(full, frame)
        said, code = ended(watching)
    assert (code, said["outcome"]) == (99, "rolled_back")
    assert_rolled_back(full, "precision 0.000 by 5 reviews")


def test_too_few_frames_extend_the_window(full: Settings, better: tuple[str, Run], window: Path) -> None:
    window.write_text(gate_text(frames=100_000, minutes=0.5))
    promotion = promoted(full, better[0])
    with sending(full, WATCHED):
        watching = start_watch(full, promotion, window, "--max-extensions", "1")
        said, code = ended(watching)
    assert (code, said["outcome"], said["extensions"]) == (75, "open", 1)
    assert any("of 100000 frames" in one for one in said["lacking"])
    assert champion(full) == better[0]


def test_a_worse_challenger_is_held_and_nothing_follows(
    full: Settings, better: tuple[str, Run], gate: Path, tmp_path: Path
) -> None:
    viewer, before = visitor(full, "viewer"), ledger(full)
    known = set(runs(viewer))
    worse = delivered(full, another(a_handover(tmp_path / "worse", WEAKER), "worse"))
    run = started_by_itself(viewer, known)
    assert viewer.wait(run, seconds=RUN_SECONDS) == "success"
    assert states(viewer, run) == {"evaluate": "success", **dict.fromkeys(("gate", *AFTER_GATE), "skipped")}
    held = viewer.xcom(run, "gate")
    assert (held["version"], held["verdict"], held["champion_version"]) == (worse, "hold", better[0])
    assert any("mAP" in reason for reason in held["reasons"])
    assert "exit code 99" in viewer.log(run, "gate")
    assert ledger(full) == before


def test_only_deliveries_have_started_a_run_by_themselves(full: Settings, better: tuple[str, Run]) -> None:
    """The previous champion was a challenger for as long as each window: as a shadow, not as a delivery."""
    assert list(runs(visitor(full, "viewer")).values()).count("asset_triggered") == 2


def started(settings: Settings, version: str, **more: Any) -> Run:
    return visitor(settings, "operator").start(DAG, {"version": version, **more})


def promoted(settings: Settings, version: str) -> int:
    """The row of the ledger: the champion left where it is, and the version promoted over the first one."""
    if champion(settings) == version:
        model(settings, "approver", "rollback", "--reason", "to go there again")
    row = json.loads(model(settings, "approver", "promote", version, "--reason", "a test", "--json").out)
    return int(row["id"])


def assert_rolled_back(settings: Settings, cause: str) -> None:
    newest = ledger(settings)[0]
    assert (newest["version"], newest["approved_by"], newest["state"]) == ("1", "watch_window", "done")
    assert cause in newest["reason"]
