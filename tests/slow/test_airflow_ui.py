"""Airflow's pages, by hand: an operator fills in a form, an approver approves, a viewer may neither.

Airflow shows its buttons to everybody; who may not is told so when pressing one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from contracts.settings import Settings
from sightline.stack.install import ROOT
from tests.support.airflow import Run, airflow_url, visitor, wait_for, wait_for_dags
from tests.support.browser import chromium, logged_in, shot
from tests.support.command_line import succeed
from tests.support.handovers import DEMO, WEAKER, a_handover
from tests.support.promotion_runs import asked, champion, delivered, ledger, runs, started_by_itself
from tests.support.stack import running_stack
from tests.support.watching import gate_text

pytestmark = [
    pytest.mark.timeout(2400),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Playwright's own pipes
]

DAGS = sorted(file.stem for file in (ROOT / "dags").glob("*.py"))
RUN_SECONDS = 900


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The weaker model is champion; deliveries are judged on simulated boards."""
    gate = tmp_path_factory.mktemp("gate") / "gate.toml"
    gate.write_text(gate_text())
    extra = {"SIGHTLINE_PROMOTION__GATE_FILE": str(gate), "SIGHTLINE_JOBS__GATE_BOARDS": "40"}
    with running_stack(profile="full", airflow=True, first_model=WEAKER, extra=extra) as settings:
        operator = visitor(settings, "operator")
        wait_for_dags(operator, DAGS)
        operator.unpause("promote_model")
        yield settings


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(autouse=True)
def closed_pages(browser: Browser) -> Iterator[None]:
    """An open page asks Airflow for news all the time, and draws them."""
    yield
    for context in browser.contexts:
        context.close()


@pytest.fixture(scope="module")
def request_for_approval(full: Settings, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A better model was delivered, and its run waits for an answer."""
    viewer = visitor(full, "viewer")
    known = set(runs(viewer))
    delivered(full, a_handover(tmp_path_factory.mktemp("better") / "model", DEMO))
    run = started_by_itself(viewer, known)
    asked(viewer, run)
    return run


def test_an_operator_sees_the_fields_described_and_starts_a_run_by_the_form(
    full: Settings, browser: Browser, tmp_path: Path
) -> None:
    succeed(full, "send", "simulator:?size=320", "--camera", "by-hand", "--count", "20")
    operator = visitor(full, "operator")
    before = {run["dag_run_id"] for run in operator.said("/dags/score_frames/dagRuns")["dag_runs"]}
    page = logged_in(browser, full, "operator")
    page.goto(f"{airflow_url(full)}/dags/score_frames")
    page.get_by_role("button", name="Trigger Dag").click()
    form = page.get_by_role("dialog")
    for field in operator.said("/dags/score_frames/details")["params"].values():
        title = re.compile(rf"^{re.escape(field['schema']['title'])}\s*\*?$")  # a star: it must be filled in
        expect(form.get_by_text(title).first).to_be_visible()
        expect(form.get_by_text(field["description"] or field["schema"]["description"])).to_be_visible()
    form.locator("#element_cameras").fill("by-hand")
    shot(page, "score_frames-form", tmp_path)
    answer = pressed(page, "trigger-dag-submit", "POST", "/dagRuns")
    assert answer.status == 200, answer.text()
    found = operator.said("/dags/score_frames/dagRuns")["dag_runs"]  # the schedule's too: the form unpauses
    [started] = [run for run in found if run["run_type"] == "manual" and run["dag_run_id"] not in before]
    assert started["conf"]["cameras"] == ["by-hand"]
    run = Run(dag="score_frames", run_id=started["dag_run_id"])
    assert operator.wait(run, seconds=RUN_SECONDS) == "success", operator.tasks(run)
    page.goto(f"{airflow_url(full)}/dags/score_frames/runs/{run.run_id}")
    shot(page, "score_frames-run", tmp_path)


def test_a_viewer_starts_nothing_by_the_form(full: Settings, browser: Browser, tmp_path: Path) -> None:
    page = logged_in(browser, full, "viewer")
    page.goto(f"{airflow_url(full)}/dags/watch_connectors")
    page.get_by_role("button", name="Trigger Dag").click()
    assert pressed(page, "trigger-dag-submit", "POST", "/dagRuns").status == 403
    expect(page.get_by_role("dialog").get_by_text("403 Forbidden")).to_be_visible()
    shot(page, "viewer-trigger", tmp_path)
    assert visitor(full, "viewer").said("/dags/watch_connectors/dagRuns")["dag_runs"] == []


def test_a_viewer_reads_the_request_and_cannot_answer_it(
    full: Settings, browser: Browser, request_for_approval: Run, tmp_path: Path
) -> None:
    page = required_action(browser, full, "viewer", request_for_approval)
    with page.expect_response(is_answer("PATCH", "/hitlDetails")) as answer:
        page.get_by_role("button", name="Approve", exact=True).click()
    assert answer.value.status == 403
    shot(page, "viewer-approval", tmp_path)
    path = f"{request_for_approval.path}/taskInstances/approve/-1/hitlDetails"
    assert not visitor(full, "viewer").said(path)["response_received"]
    assert champion(full) == "1"


def test_an_approver_reads_the_table_and_approves(
    full: Settings, browser: Browser, request_for_approval: Run, tmp_path: Path
) -> None:
    run = request_for_approval
    page = required_action(browser, full, "approver", run)
    table = page.get_by_role("table").filter(has_text="calibration error")
    expect(table.get_by_role("row")).to_have_count(8)  # the head, six classes, all of them
    expect(table.get_by_role("row").last).to_contain_text("all")
    link = page.get_by_role("link", name="Version 2 in MLflow")
    assert link.get_attribute("href") == f"{full.mlflow.tracking_uri}/#/models/{full.mlflow.model_name}/versions/2"
    shot(page, "approval", tmp_path)
    with page.expect_response(is_answer("PATCH", "/hitlDetails")) as answer:
        page.get_by_role("button", name="Approve", exact=True).click()
    assert answer.value.status == 200, answer.value.text()
    viewer = visitor(full, "viewer")
    wait_for(lambda: viewer.tasks(run)["wait_until_served"], [["success"]], seconds=RUN_SECONDS)
    shot(page, "approved", tmp_path)
    newest = ledger(full)[0]
    assert (newest["version"], newest["approved_by_name"]) == ("2", "approver (by sightline-jobs)")


@pytest.mark.parametrize("name", DAGS)
def test_a_dags_page_shows_what_to_do(full: Settings, browser: Browser, name: str, tmp_path: Path) -> None:
    """Its docstring as a page, not as Markdown."""
    page = logged_in(browser, full, "viewer")
    page.goto(f"{airflow_url(full)}/dags/{name}")
    page.get_by_role("button", name="Dag Docs").click()
    shown = page.get_by_role("dialog")
    expect(shown.get_by_role("heading", name=f"{name}: ")).to_be_visible()
    text = shown.inner_text()
    assert "When it fails." in text
    assert not [mark for mark in ("**", "`", "# ", "| --") if mark in text]
    shot(page, f"doc-{name}", tmp_path)


def required_action(browser: Browser, settings: Settings, person: str, run: Run) -> Page:
    """The request's page, by way of the list of all that wait."""
    page = logged_in(browser, settings, person)
    page.goto(f"{airflow_url(settings)}/required_actions")
    request = page.get_by_role("link", name="Make version 2 the champion?")
    request.and_(page.locator(f'[href*="{run.run_id}"]')).click()
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_visible()
    return page


def pressed(page: Page, test_id: str, method: str, path: str) -> Response:
    with page.expect_response(is_answer(method, path)) as answer:
        page.get_by_test_id(test_id).click()
    return answer.value


def is_answer(method: str, path: str) -> Any:
    return lambda answer: answer.request.method == method and path in answer.url
