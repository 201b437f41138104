"""The routes of models over a real MLflow server and a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from contracts.settings import Settings
from inference.api.guard import routes_of
from inference.api.permissions import PERMISSIONS
from inference.api.routes import models
from inference.persistence import connect, ledger
from inference.registry import mlflow_client
from inference.registry.catalogue import KEPT_SECONDS, Catalogue
from tests.support.api import an_app, as_
from tests.support.mlflow_server import MlflowServer
from tests.support.models import a_version, aliases, champion, digest_of, judged

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn

JOBS = {"name": "service-account-sightline-jobs", "client": "sightline-jobs", "subject": "5e55"}
WHY = {"reason": "finds 4 % more shorts"}


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return an_app(settings, models.router)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def problem(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def a_heartbeat(settings: Settings, instance: str, version: str, *, age: float = 0.0) -> None:
    with connect(settings) as connection:
        connection.execute(
            "INSERT INTO serving (instance, kind, model, version, state, warmed_version, engine, started_at, updated_at)"
            " VALUES (%s, 'stream', %s, %s, 'serving', NULL, 'fake', now() AT TIME ZONE 'UTC',"
            " (now() AT TIME ZONE 'UTC') - make_interval(secs => %s))",
            (instance, settings.mlflow.model_name, version, age),
        )


def test_the_list_says_of_each_version_what_every_store_knows(settings: Settings, client: TestClient) -> None:
    mlflow = mlflow_client.connect(settings)
    run = mlflow.create_run(mlflow.create_experiment(settings.mlflow.model_name))
    mlflow.log_metric(run.info.run_id, "ap50", 0.91)
    mlflow.log_metric(run.info.run_id, "ece", float("nan"))
    mlflow.create_model_version(
        settings.mlflow.model_name, source="s3://models/one", run_id=run.info.run_id, tags={"source": "deliver"}
    )
    judged(settings, "2", verdict="hold", reasons=("recall of open 0.71 < 0.80",), figures={"ap50": 0.71})
    a_heartbeat(settings, "stream-0", "1")
    a_heartbeat(settings, "gone", "1", age=60)
    answer = client.get("/v1/models", headers=as_("viewer"))
    assert answer.status_code == 200
    said = answer.json()
    assert (said["model"], said["champion"]) == (settings.mlflow.model_name, "1")
    assert [one["version"] for one in said["items"]] == ["4", "3", "2", "1"]
    four, three, two, one = said["items"]
    assert (four["source"], four["digest"], four["licence"]) == ("deliver", "", "unknown")
    assert (four["run_id"], four["metrics"]) == (run.info.run_id, {"ap50": 0.91})
    assert (three["digest"], three["licence"], three["metrics"]) == (digest_of("3"), "Apache-2.0", {})
    assert three["verdict"]["verdict"] == "pass"
    assert (two["verdict"]["verdict"], two["verdict"]["figures"]) == ("hold", {"ap50": 0.71})
    assert two["verdict"]["reasons"] == ["recall of open 0.71 < 0.80"]
    assert (one["is_champion"], one["aliases"], one["verdict"]) == (True, ["champion"], None)
    assert [replica["instance"] for replica in one["replicas"]] == ["stream-0"]
    created = datetime.fromisoformat(one["created_at"])
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=10)
    assert client.get("/v1/models/2", headers=as_("viewer")).json() == two


def test_metrics_of_a_run_that_goes_on_are_read_again(settings: Settings) -> None:
    mlflow = mlflow_client.connect(settings)
    run = mlflow.create_run(mlflow.create_experiment(settings.mlflow.model_name))
    mlflow.create_model_version(settings.mlflow.model_name, source="s3://models/one", run_id=run.info.run_id)
    now = [0.0]
    catalogue = Catalogue(clock=lambda: now[0])

    def metrics() -> object:
        now[0] += KEPT_SECONDS
        return catalogue.versions(settings)[0].metrics

    assert metrics() == {}
    mlflow.log_metric(run.info.run_id, "ap50", 0.5)
    assert metrics() == {"ap50": 0.5}
    mlflow.set_terminated(run.info.run_id)
    assert metrics() == {"ap50": 0.5}
    mlflow.delete_run(run.info.run_id)
    assert metrics() == {"ap50": 0.5}
    assert Catalogue().versions(settings)[0].metrics == {}


def test_the_list_is_asked_of_mlflow_once_in_two_seconds(settings: Settings) -> None:
    now = [100.0]
    catalogue = Catalogue(clock=lambda: now[0])
    assert len(catalogue.versions(settings)) == 3
    a_version(settings, "4")
    assert len(catalogue.versions(settings)) == 3
    now[0] += KEPT_SECONDS
    assert len(catalogue.versions(settings)) == 4
    a_version(settings, "5")
    catalogue.forget()
    assert len(catalogue.versions(settings)) == 5


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/9"),
        ("GET", "/v1/models/champion"),
        ("GET", "/v1/models/9/agreement"),
        ("POST", "/v1/models/9/challenger"),
        ("POST", "/v1/models/9/promote"),
        ("POST", "/v1/models/two/promote"),
    ],
)
def test_a_version_that_there_is_not_is_404(client: TestClient, method: str, path: str) -> None:
    body = WHY if path.endswith("promote") else None
    answer = client.request(method, path, json=body, headers=as_("viewer", "scientist", "approver"))
    assert problem(answer) == (404, "not_found")


def test_a_promotion_is_answered_with_its_row_and_shown_at_once(settings: Settings, client: TestClient) -> None:
    client.get("/v1/models", headers=as_("viewer"))  # fills what is kept for 2 s
    answer = client.post("/v1/models/2/promote", json=WHY, headers=as_("approver"))
    assert answer.status_code == 200, answer.text
    row = answer.json()
    assert (row["version"], row["previous_version"], row["state"]) == ("2", "1", "done")
    assert (row["approved_by"], row["approved_by_name"], row["reason"]) == ("7f3a", "ada", WHY["reason"])
    assert aliases(settings) == {"champion": "2", "previous_champion": "1"}
    listed = client.get("/v1/models", headers=as_("viewer")).json()
    assert listed["champion"] == "2"
    assert [one["aliases"] for one in listed["items"]] == [[], ["champion"], ["previous_champion"]]
    back = client.post("/v1/models/2/rollback", json=WHY, headers=as_("approver"))
    assert (back.status_code, back.json()["version"], champion(settings)) == (200, "1", "1")


@pytest.mark.parametrize(
    ("path", "verdict", "code"),
    [
        ("/v1/models/1/promote", {}, "already_champion"),
        ("/v1/models/2/promote", {"verdict": "hold", "reasons": ("ap50 0.71 < 0.80",)}, "gate_not_passed"),
        ("/v1/models/2/promote", {"champion_version": "3"}, "gate_not_passed"),
        ("/v1/models/2/promote", {"gate_digest": "0" * 64}, "gate_not_passed"),
        ("/v1/models/2/promote", {"figures": {"gate_set": "simulated"}}, "gate_not_passed"),
        ("/v1/models/2/promote", {"figures": {}}, "gate_not_passed"),
        ("/v1/models/2/rollback", {}, "not_champion"),
        ("/v1/models/1/rollback", {}, "no_previous_champion"),
        ("/v1/models/1/challenger", {}, "already_champion"),
    ],
)
def test_what_does_not_fit_is_409_with_its_code(
    settings: Settings, client: TestClient, path: str, verdict: dict[str, Any], code: str
) -> None:
    judged(settings, "2", **verdict)
    body = None if path.endswith("challenger") else WHY
    answer = client.post(path, json=body, headers=as_("approver", "scientist"))
    assert problem(answer) == (409, code)
    assert champion(settings) == "1"
    if verdict.get("reasons"):
        assert "ap50 0.71 < 0.80" in answer.json()["detail"]


def test_a_promotion_while_another_is_under_way_is_409(
    settings: Settings, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.registry.promotion.PATIENCE", timedelta(seconds=0.2))
    with connect(settings, autocommit=True) as another:
        assert ledger.try_lock(another)
        answer = client.post("/v1/models/2/promote", json=WHY, headers=as_("approver"))
        assert problem(answer) == (409, "promotion_under_way")
    assert client.post("/v1/models/2/promote", json=WHY, headers=as_("approver")).status_code == 200


def test_a_challenger_comes_and_goes(settings: Settings, client: TestClient) -> None:
    answer = client.post("/v1/models/3/challenger", headers=as_("scientist"))
    assert (answer.status_code, answer.json()) == (200, {"challenger": "3"})
    assert aliases(settings)["challenger"] == "3"
    assert problem(client.delete("/v1/models/2/challenger", headers=as_("scientist"))) == (409, "not_challenger")
    answer = client.delete("/v1/models/3/challenger", headers=as_("scientist"))
    assert (answer.status_code, answer.json()) == (200, {"challenger": None})
    assert "challenger" not in aliases(settings)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": "x" * 501},
        {"reason": "nul \u0000"},
        {"reason": "ok", "approved_by": "me"},
        {"reason": "ok", "on_behalf_of": {"id": "1"}},
        {"reason": "ok", "on_behalf_of": {"id": "", "name": "ada"}},
    ],
)
def test_a_decision_without_a_proper_reason_is_422(settings: Settings, client: TestClient, body: object) -> None:
    for act in ("promote", "rollback"):
        answer = client.post(f"/v1/models/2/{act}", json=body, headers=as_("approver"))
        assert problem(answer) == (422, "invalid_request")
    assert champion(settings) == "1"


def test_a_job_names_the_person_who_approved(settings: Settings, client: TestClient) -> None:
    body = WHY | {"on_behalf_of": {"id": "7f3a", "name": "ada"}}
    answer = client.post("/v1/models/2/promote", json=body, headers=as_("approver", **JOBS))
    assert answer.status_code == 200
    assert answer.json()["approved_by"] == "7f3a"
    assert answer.json()["approved_by_name"] == "ada (by sightline-jobs)"


@pytest.mark.parametrize("act", ["promote", "rollback"])
def test_a_job_that_names_nobody_decides_nothing(settings: Settings, client: TestClient, act: str) -> None:
    answer = client.post(f"/v1/models/2/{act}", json=WHY, headers=as_("approver", **JOBS))
    assert problem(answer) == (422, "names_nobody")
    assert "on_behalf_of" in answer.json()["detail"]
    assert champion(settings) == "1"


def test_the_watch_window_takes_a_champion_back_and_the_ledger_names_it(settings: Settings, client: TestClient) -> None:
    assert client.post("/v1/models/2/promote", json=WHY, headers=as_("approver")).status_code == 200
    body = WHY | {"on_behalf_of": {"id": "watch_window", "name": "watch_window"}}
    assert problem(client.post("/v1/models/2/rollback", json=body, headers=as_("approver")))[1] == "not_for_others"
    answer = client.post("/v1/models/2/rollback", json=body, headers=as_("approver", **JOBS))
    assert answer.status_code == 200
    assert (answer.json()["approved_by"], answer.json()["approved_by_name"]) == ("watch_window", None)
    assert champion(settings) == "1"


@pytest.mark.parametrize(
    ("act", "word"), [("promote", "watch_window"), ("promote", "bootstrap"), ("rollback", "bootstrap")]
)
def test_no_word_of_the_ledgers_own_approves_in_a_persons_place(
    settings: Settings, client: TestClient, act: str, word: str
) -> None:
    body = WHY | {"on_behalf_of": {"id": word, "name": "ada"}}
    answer = client.post(f"/v1/models/2/{act}", json=body, headers=as_("approver", **JOBS))
    assert problem(answer) == (422, "no_person")
    assert champion(settings) == "1"


@pytest.mark.parametrize(
    "somebody",
    [
        {},
        {"client": "sightline-jobs"},
        {"name": "service-account-sightline-jobs"},
        {"name": "service-account-cameras", "client": "cameras"},
    ],
)
def test_nobody_else_decides_for_others(settings: Settings, client: TestClient, somebody: dict[str, str]) -> None:
    body = WHY | {"on_behalf_of": {"id": "1", "name": "the boss"}}
    answer = client.post("/v1/models/2/promote", json=body, headers=as_("approver", **somebody))
    assert problem(answer) == (403, "not_for_others")
    assert champion(settings) == "1"


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [(method, path, role) for (method, path), role in PERMISSIONS.items() if "models" in path or "promotions" in path],
)
def test_every_route_asks_for_the_role_of_the_table(
    settings: Settings, client: TestClient, method: str, path: str, role: str
) -> None:
    others = {"viewer", "operator", "reviewer", "scientist", "approver", "camera", "admin"} - {role}
    where = path.replace("{version}", "2")
    assert problem(client.request(method, where, json=WHY, headers=as_(*others))) == (403, "role_missing")
    assert problem(client.request(method, where, json=WHY)) == (401, "no_token")
    assert (champion(settings), aliases(settings)) == ("1", {"champion": "1"})


def test_the_routes_are_those_of_the_table(app: FastAPI) -> None:
    ours = {(method, path) for method, path in PERMISSIONS if "models" in path or "promotions" in path}
    assert {(method, path) for method, path in routes_of(app) if path.startswith("/v1")} == ours


def test_the_ledger_is_read_page_by_page(settings: Settings, client: TestClient) -> None:
    for act, version in (("promote", "2"), ("rollback", "2"), ("rollback", "1"), ("rollback", "2")):
        assert client.post(f"/v1/models/{version}/{act}", json=WHY, headers=as_("approver")).status_code == 200
    read: list[str] = []
    cursor = None
    for size in (2, 2, 1):
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/promotions", params=query, headers=as_("viewer")).json()
        assert len(page["items"]) == size
        read += [row["version"] for row in page["items"]]
        cursor = page["next"]
    assert (read, cursor) == (["1", "2", "1", "2", "1"], None)
    assert problem(client.get("/v1/promotions", params={"cursor": "x"}, headers=as_("viewer")))[0] == 422
    assert problem(client.get("/v1/promotions", params={"limit": 0}, headers=as_("viewer")))[0] == 422


def test_without_mlflow_lists_and_decisions_are_503_and_the_ledger_is_read_on(
    client: TestClient, mlflow: MlflowServer
) -> None:
    mlflow.stop()
    try:
        for method, path, body in (
            ("GET", "/v1/models", None),
            ("GET", "/v1/models/1", None),
            ("POST", "/v1/models/2/promote", WHY),
            ("POST", "/v1/models/2/challenger", None),
        ):
            answer = client.request(method, path, json=body, headers=as_("viewer", "approver", "scientist"))
            assert problem(answer) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        answer = client.get("/v1/promotions", headers=as_("viewer"))
        assert (answer.status_code, len(answer.json()["items"])) == (200, 1)
    finally:
        mlflow.start()


def test_agreement_compares_with_the_champion_unless_asked_otherwise(settings: Settings, client: TestClient) -> None:
    def asked(version: str, **query: str) -> Any:
        return client.get(f"/v1/models/{version}/agreement", params=query, headers=as_("viewer"))

    assert problem(asked("1")) == (409, "nothing_to_compare")
    assert problem(asked("2", against="9")) == (404, "not_found")
    assert problem(asked("2", since="0001-01-01T00:00:00"))[0] == 422
    said = asked("2").json()
    assert (said["version"], said["against"], said["frames"], said["share"]) == ("2", "1", 0, None)
    assert datetime.fromisoformat(said["until"]) - datetime.fromisoformat(said["since"]) == timedelta(days=1)
    assert asked("2", against="3").json()["against"] == "3"
    client.post("/v1/models/2/promote", json=WHY, headers=as_("approver"))
    assert asked("2").json()["against"] == "1"
    assert asked("3").json()["against"] == "2"


def test_every_status_is_documented_with_its_body(app: FastAPI) -> None:
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            documented = set(operation["responses"])
            assert {"200", "401", "403", "422", "503"} <= documented, (method, path)
            assert ("404" in documented) == ("{version}" in path and method != "delete"), (method, path)
            for status, response in operation["responses"].items():
                kind = "application/json" if status == "200" else "application/problem+json"
                assert kind in response["content"], (method, path, status)
