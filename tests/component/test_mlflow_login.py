"""A real MLflow behind a real Keycloak: nobody without a login, readers read, scientists write, two accounts promote."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from connectors import access
from contracts.errors import Misconfigured
from contracts.settings import Settings, StreamSettings
from inference.registry import bootstrap, resolve
from inference.registry.mlflow_client import connect, translated
from sightline.stack import bootstrap as stack_bootstrap
from sightline.stack.bootstrap import DEMO_MODEL
from tests.support.guarded_mlflow import as_account, as_person, mlflow_behind_login
from tests.support.keycloak import KeycloakServer, a_browser, submit

READERS = ("viewer", "operator", "reviewer", "approver")
API = "/api/2.0/mlflow"


@pytest.fixture(scope="module")
def url(keycloak: KeycloakServer) -> Iterator[str]:
    with mlflow_behind_login(keycloak) as url:
        registered = httpx.post(
            f"{url}{API}/registered-models/create",
            json={"name": "m"},
            headers=bearer(keycloak, "scientist"),
            trust_env=False,
        )
        assert registered.status_code == 200, registered.text
        made = create_version(url, bearer(keycloak, "scientist"))
        assert made.status_code == 200, made.text
        yield url


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(name, "")  # put back afterwards
        monkeypatch.delenv(name)


def bearer(keycloak: KeycloakServer, who: str) -> dict[str, str]:
    token = keycloak.account_token(who) if who.startswith("sightline-") else keycloak.token(who)
    return {"Authorization": f"Bearer {token}"}


def ask(url: str, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    return httpx.request(method, f"{url}{path}", headers=headers, timeout=60, trust_env=False, **more)


def create_version(url: str, headers: dict[str, str]) -> httpx.Response:
    """A version as `deliver` makes it: of a run's files."""
    run = ask(url, "POST", f"{API}/runs/create", headers, json={"experiment_id": "0"}).json()["run"]["info"]
    source = {"source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
    body = {"name": "m", "tags": [{"key": "digest", "value": "a" * 64}], **source}
    return ask(url, "POST", f"{API}/model-versions/create", headers, json=body)


ALIAS = {"name": "m", "alias": "champion", "version": "1"}
ALIAS_WRITES = [
    (method, f"{prefix}/mlflow/registered-models/alias")
    for method in ("POST", "DELETE")
    for prefix in ("/api/2.0", "/ajax-api/2.0", "/api/2.0/", "//api/2.0")
]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{API}/registered-models/search"),
        ("GET", "/ajax-api/2.0/mlflow/registered-models/get?name=m"),
        ("POST", f"{API}/runs/search"),
        ("POST", f"{API}/experiments/create"),
        ("POST", "/graphql"),
        ("GET", "/get-artifact?path=x&run_uuid=y"),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts?path=0"),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts/0/x/model.onnx"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/x/model.onnx"),
        ("PUT", "/ajax-api/2.0/mlflow-artifacts/artifacts/0/x/model.onnx"),
        ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/0/x/model.onnx"),
        ("POST", "/v1/traces"),
        ("GET", "/ajax-api/3.0/mlflow/server-info"),
        ("GET", "/static-files/index.html"),
        *ALIAS_WRITES,
    ],
)
def test_nobody_without_a_login_reads_or_writes(url: str, method: str, path: str):
    for headers in ({}, {"Authorization": "Bearer not.a.token"}, {"Authorization": "Basic bm9ib2R5OnNlY3JldA=="}):
        answer = ask(url, method, path, headers, json=ALIAS if method != "GET" else None)
        assert answer.status_code == 401, answer.text
        assert answer.json()["error_code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("who", [*READERS, "sightline-worker"])
def test_readers_read_and_write_nothing(keycloak: KeycloakServer, url: str, who: str):
    headers = bearer(keycloak, who)
    assert ask(url, "GET", f"{API}/registered-models/get?name=m", headers).status_code == 200
    assert ask(url, "POST", f"{API}/runs/search", headers, json={"experiment_ids": ["0"]}).status_code == 200
    assert ask(url, "POST", "/graphql", headers, json={"query": "{__typename}"}).status_code == 200
    for method, path in [
        ("POST", f"{API}/experiments/create"),
        ("POST", f"{API}/runs/create"),
        ("POST", f"{API}/model-versions/create"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/x/model.onnx"),
        *ALIAS_WRITES,
    ]:
        answer = ask(url, method, path, headers, json=ALIAS)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED"), (method, path)


def test_a_camera_has_nothing_to_do_here(keycloak: KeycloakServer, url: str):
    # Its token is not even for MLflow: no role of it, so not in the audience.
    assert (
        ask(url, "GET", f"{API}/registered-models/search", bearer(keycloak, "sightline-camera-demo")).status_code == 401
    )


@pytest.mark.parametrize("who", ["scientist", "admin", "sightline-jobs"])
def test_a_scientist_writes_versions_and_no_alias(keycloak: KeycloakServer, url: str, who: str):
    headers = bearer(keycloak, who)
    experiment = ask(url, "POST", f"{API}/experiments/create", headers, json={"name": f"e-{uuid.uuid4()}"})
    assert experiment.status_code == 200, experiment.text
    run = ask(url, "POST", f"{API}/runs/create", headers, json={"experiment_id": experiment.json()["experiment_id"]})
    assert run.status_code == 200, run.text
    assert create_version(url, headers).status_code == 200
    for method, path in [
        *ALIAS_WRITES,
        ("DELETE", f"{API}/model-versions/delete"),
        ("DELETE", f"{API}/registered-models/delete"),
        ("POST", f"{API}/registered-models/rename"),
        ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/0/x/model.onnx"),
        ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
    ]:
        answer = ask(url, method, path, headers, json={**ALIAS, "new_name": "n"})
        assert answer.status_code == 403, (method, path, answer.text)
    assert (
        ask(url, "GET", f"{API}/registered-models/get?name=m", headers).json()["registered_model"].get("aliases")
        is None
    )


def test_a_scientist_writes_notes_on_a_version_but_not_what_it_is(keycloak: KeycloakServer, url: str):
    headers = bearer(keycloak, "scientist")

    def tag(body: object) -> int:
        return ask(url, "POST", f"{API}/model-versions/set-tag", headers, json=body).status_code

    assert tag({"name": "m", "version": "1", "key": "note", "value": "sharp"}) == 200
    assert tag({"name": "m", "version": "1", "key": "digest", "value": "b" * 64}) == 403
    assert tag({"name": "m", "version": "1", "key": "gate.status", "value": "pass"}) == 403
    assert tag({"name": "m", "version": "1", "key": "promoted", "value": "7"}) == 403
    assert tag(["digest"]) == 400
    assert tag('{"name": "m", "version": "1", "key": "digest", "value": "b"}') == 400  # MLflow would decode it twice
    removed = ask(
        url, "DELETE", f"{API}/model-versions/delete-tag", headers, json={"name": "m", "version": "1", "key": "digest"}
    )
    assert removed.status_code == 403
    found = ask(url, "GET", f"{API}/model-versions/get?name=m&version=1", headers).json()["model_version"]["tags"]
    assert {tag["key"]: tag["value"] for tag in found} == {"digest": "a" * 64, "note": "sharp"}


@pytest.mark.parametrize("account", ["sightline-promoter", "sightline-bootstrap"])
def test_the_accounts_of_the_api_and_the_bootstrap_move_aliases(keycloak: KeycloakServer, url: str, account: str):
    basic = httpx.BasicAuth(account, keycloak.secrets[account])
    for headers, login in ((bearer(keycloak, account), None), ({}, basic)):
        for method in ("POST", "DELETE"):
            answer = ask(url, method, f"{API}/registered-models/alias", headers, json=ALIAS, auth=login)
            assert answer.status_code == 200, answer.text


def test_a_body_larger_than_a_tag_passes_where_it_is_no_tag(keycloak: KeycloakServer, url: str):
    headers = bearer(keycloak, "sightline-bootstrap")
    path = f"/api/2.0/mlflow-artifacts/artifacts/0/x/{uuid.uuid4()}"
    content = bytes(range(256)) * 4096
    assert ask(url, "PUT", path, headers, content=content).status_code == 200
    assert ask(url, "GET", path, bearer(keycloak, "viewer")).content == content


def test_a_persons_browser_logs_in_at_keycloak_reads_and_cannot_be_used_by_another_page(
    keycloak: KeycloakServer, url: str
):
    with a_browser() as browser:
        page = browser.get(f"{url}/?workspace=x", headers={"Accept": "text/html"})
        assert page.url.host == "127.0.0.1"
        assert page.url.port == keycloak.port
        answer = submit(browser, page, username="scientist", password=keycloak.passwords["scientist"])
        assert (answer.status_code, f"{answer.url.host}:{answer.url.port}") == (200, urlsplit(url).netloc)
        assert str(answer.url).endswith("/?workspace=x")
        assert browser.get(f"{url}{API}/registered-models/get?name=m").status_code == 200
        path, body = f"{url}{API}/experiments/create", {"name": f"e-{uuid.uuid4()}"}
        assert browser.post(path, json=body).status_code == 401
        assert browser.post(path, json=body, headers={"Origin": "http://127.0.0.1:1"}).status_code == 401
        assert browser.post(path, json=body, headers={"Origin": url}).status_code == 200
        assert (
            browser.post(f"{url}{API}/registered-models/alias", json=ALIAS, headers={"Origin": url}).status_code == 403
        )
        browser.get(f"{url}/logout")
        assert browser.get(f"{url}{API}/registered-models/get?name=m").status_code == 401


def test_a_login_that_did_not_begin_here_is_refused_and_leads_nowhere_else(url: str):
    assert ask(url, "GET", "/login/callback?code=x&state=y").status_code == 401
    away = ask(url, "GET", "/login?to=//evil.example/")
    assert away.status_code == 303
    assert "evil" not in away.headers["location"]


def with_ledger(keycloak: KeycloakServer, settings: Settings) -> Settings:
    """The same settings over a pipeline's database of its own: the first champion stands in its ledger."""
    return settings.model_copy(update={"postgres": keycloak.postgres.new_database(migrated=True).postgres})


def test_the_platform_does_its_work_with_its_accounts(keycloak: KeycloakServer, url: str, tmp_path: Path):
    settings = with_ledger(keycloak, as_account(keycloak, url, "sightline-bootstrap"))
    assert stack_bootstrap._champion(settings) == (None, None)
    changes = bootstrap.ensure_champion(settings, DEMO_MODEL)
    assert any("gave champion" in change for change in changes)
    version, tags = stack_bootstrap._champion(settings)
    assert version is not None
    assert tags is not None
    assert tags["source"] == "bootstrap"
    worker = as_account(keycloak, url, "sightline-worker").model_copy(
        update={"stream": StreamSettings(cache_folder=tmp_path)}
    )
    assert resolve.resolve(worker, "champion").is_whole()


def test_a_scientist_who_logged_in_delivers_with_the_token(keycloak: KeycloakServer, url: str, tmp_path: Path):
    settings = as_person(keycloak, url, tmp_path / "tokens.json")
    access.with_password(
        settings, client="sightline-demo", user="scientist", password=keycloak.passwords["scientist"], is_kept=True
    )
    client = connect(settings)
    with translated("delivering"):
        run = client.create_run("0")
        client.log_artifact(run.info.run_id, str(DEMO_MODEL / "model.json"), "model")
        version = client.create_model_version("m", source=f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    with pytest.raises(Misconfigured, match=r"PERMISSION_DENIED.*sightline model promote"), translated("promoting"):
        client.set_registered_model_alias("m", "champion", version.version)
    with pytest.raises(Misconfigured, match="PERMISSION_DENIED"), translated("promoting"):
        client.delete_model_version("m", "1")


def test_a_refused_login_is_a_persons_matter_and_names_no_secret(keycloak: KeycloakServer, url: str, tmp_path: Path):
    wrong = with_ledger(keycloak, as_account(keycloak, url, "sightline-worker", secret="not-its-secret"))
    with pytest.raises(Misconfigured, match=r"UNAUTHENTICATED.*SIGHTLINE_MLFLOW__USERNAME") as caught:
        bootstrap.ensure_champion(wrong, DEMO_MODEL)
    assert "not-its-secret" not in str(caught.value)
    with pytest.raises(Misconfigured, match="401"):
        stack_bootstrap._champion(wrong)
    reader = as_account(keycloak, url, "sightline-worker")
    client = connect(reader)
    with pytest.raises(Misconfigured, match="refused"), translated("uploading"):
        client.log_artifact(_some_run(keycloak, url), str(DEMO_MODEL / "model.json"))


def _some_run(keycloak: KeycloakServer, url: str) -> str:
    made = ask(url, "POST", f"{API}/runs/create", bearer(keycloak, "scientist"), json={"experiment_id": "0"})
    return str(made.json()["run"]["info"]["run_id"])
