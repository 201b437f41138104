"""A real MLflow behind its gate: a registered version's files stay as they are, and nobody says where files lie."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.guarded_mlflow import mlflow_behind_login
from tests.support.keycloak import KeycloakServer

API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
PARTS = "/api/2.0/mlflow-artifacts/mpu"
NAME = "boards"
GOOD, EVIL = b'{"good": 1}', b'{"evil": 1}'


@pytest.fixture(scope="module")
def url(keycloak: KeycloakServer) -> Iterator[str]:
    with mlflow_behind_login(keycloak) as url:
        made = ask(url, "POST", f"{API}/registered-models/create", scientist(keycloak), json={"name": NAME})
        assert made.status_code == 200, made.text
        yield url


def scientist(keycloak: KeycloakServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {keycloak.token('scientist')}"}


def ask(url: str, method: str, path: str, headers: dict[str, str], **more: Any) -> httpx.Response:
    return httpx.request(method, f"{url}{path}", headers=headers, timeout=60, trust_env=False, **more)


def a_run(url: str, headers: dict[str, str], experiment: str = "0") -> tuple[str, str]:
    """Its id, and where its files lie."""
    made = ask(url, "POST", f"{API}/runs/create", headers, json={"experiment_id": experiment}).json()["run"]["info"]
    return made["run_id"], made["artifact_uri"]


def a_version(url: str, headers: dict[str, str], **body: Any) -> httpx.Response:
    return ask(url, "POST", f"{API}/model-versions/create", headers, json={"name": NAME, **body})


def test_a_version_keeps_its_files_however_a_write_is_spelled(keycloak: KeycloakServer, url: str):
    headers = scientist(keycloak)
    run, uri = a_run(url, headers)
    folder = f"0/{run}/artifacts"
    champions = f"{FILES}/{folder}/model/model.json"
    assert ask(url, "PUT", champions, headers, content=EVIL).status_code == 200
    assert ask(url, "PUT", champions, headers, content=GOOD).status_code == 200  # not registered: it may be put right
    assert a_version(url, headers, source=f"{uri}/model", run_id=run).status_code == 200

    account = {"Authorization": f"Bearer {keycloak.account_token('sightline-bootstrap')}"}
    for who in (headers, account):
        answer = ask(url, "PUT", champions, who, content=EVIL)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED"), answer.text
        assert "hand over a new version" in answer.json()["message"]
    for method, path in [
        ("PUT", f"/ajax-api/2.0/mlflow-artifacts/artifacts/{folder}/model/model.json"),
        ("PUT", f"{FILES}/{folder}/model/golden/new.json"),
        ("PUT", f"{FILES}/{folder}%2Fmodel%2Fmodel.json"),
        ("PUT", f"{FILES}/{folder}/%256Dodel/model.json"),
        ("PUT", f"{FILES}/{folder}/model//model.json"),
        ("PUT", f"{FILES}/{folder}/./model/model.json"),
        ("PUT", f"{FILES}/{folder}/x/%2e%2e/model/model.json"),
        ("PUT", f"/{FILES}/{folder}/model/model.json"),
        ("PUT", f"{FILES}/{folder}"),
        ("POST", f"{PARTS}/create/{folder}/model"),
        ("POST", f"{PARTS}/create/{folder}"),  # the file's name stands in the body
        ("POST", f"{PARTS}/complete/{folder}/model"),
        ("POST", f"{PARTS}/abort/{folder}/model"),
        ("POST", f"{API}/upload-artifact?run_uuid={run}&path=model/model.json"),
        ("POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=model/model.json"),
        ("POST", f"{API}/artifacts/presigned-upload-url"),
    ]:
        answer = ask(url, method, path, headers, content=EVIL)
        assert answer.status_code == 403, (method, path, answer.status_code, answer.text)
    assert ask(url, "GET", champions, headers).content == GOOD
    # What is not the version's is its run's own.
    assert ask(url, "PUT", f"{FILES}/{folder}/evidence/later.json", headers, content=GOOD).status_code == 200
    other, _ = a_run(url, headers)
    assert ask(url, "PUT", f"{FILES}/0/{other}/artifacts/model/model.json", headers, content=GOOD).status_code == 200


def test_a_logged_model_keeps_its_files_once_it_is_a_version(keycloak: KeycloakServer, url: str):
    headers = scientist(keycloak)
    body = {"experiment_id": "0", "name": "onnx"}
    info = ask(url, "POST", f"{API}/logged-models", headers, json=body).json()["model"]["info"]
    folder = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    file = f"{FILES}/{folder}/model.json"
    assert ask(url, "PUT", file, headers, content=GOOD).status_code == 200
    made = a_version(url, headers, source=f"models:/{info['model_id']}", model_id=info["model_id"])
    assert made.status_code == 200, made.text
    assert ask(url, "PUT", file, headers, content=EVIL).status_code == 403
    assert ask(url, "DELETE", f"{API}/logged-models/{info['model_id']}", headers).status_code == 403
    assert ask(url, "GET", file, headers).content == GOOD


def test_an_upload_that_began_before_the_version_cannot_end_after_it(keycloak: KeycloakServer, url: str):
    headers = scientist(keycloak)
    run, uri = a_run(url, headers)
    file = f"{FILES}/0/{run}/artifacts/model/model.json"
    began, goes_on = threading.Event(), threading.Event()
    answers: list[httpx.Response] = []

    def slowly() -> Iterator[bytes]:
        yield GOOD
        began.set()
        assert goes_on.wait(60)
        yield b" "

    upload = threading.Thread(target=lambda: answers.append(ask(url, "PUT", file, headers, content=slowly())))
    upload.start()
    try:
        assert began.wait(60)
        time.sleep(1)  # its head is sent; the gate has it in an instant
        registered = a_version(url, headers, source=f"{uri}/model", run_id=run)
        assert (registered.status_code, registered.json()["error_code"]) == (409, "RESOURCE_CONFLICT"), registered.text
    finally:
        goes_on.set()
        upload.join()
    assert [answer.status_code for answer in answers] == [200]
    assert a_version(url, headers, source=f"{uri}/model", run_id=run).status_code == 200
    assert ask(url, "PUT", file, headers, content=EVIL).status_code == 403


@pytest.mark.parametrize(
    "location",
    ["/tmp/elsewhere", "file:///tmp/elsewhere", "s3://sightline-frames", "mlflow-artifacts:/x/../../y", "C:x", "x"],
)
def test_nobody_says_where_an_experiments_files_go(keycloak: KeycloakServer, url: str, location: str):
    headers = scientist(keycloak)
    for key in ("artifact_location", "artifactLocation"):
        for prefix in ("/api/2.0", "/ajax-api/2.0"):
            body = {"name": f"e-{uuid.uuid4()}", key: location}
            answer = ask(url, "POST", f"{prefix}/mlflow/experiments/create", headers, json=body)
            assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer.text
            assert "artifact_location" in answer.json()["message"]
            twice = httpx.Request("POST", url, json=str(httpx.Request("POST", url, json=body).content, "utf-8")).content
            answer = ask(url, "POST", f"{prefix}/mlflow/experiments/create", headers, content=twice)
            assert answer.status_code == 400, answer.text


def test_an_experiment_in_mlflows_own_place_works(keycloak: KeycloakServer, url: str):
    headers = scientist(keycloak)
    for location in ({}, {"artifact_location": ""}, {"artifact_location": f"mlflow-artifacts:/own-{uuid.uuid4()}"}):
        body = {"name": f"e-{uuid.uuid4()}", **location}
        made = ask(url, "POST", f"{API}/experiments/create", headers, json=body)
        assert made.status_code == 200, made.text
        run, uri = a_run(url, headers, made.json()["experiment_id"])
        file = f"{FILES}/{uri.removeprefix('mlflow-artifacts:/')}/model/model.json"
        assert ask(url, "PUT", file, headers, content=GOOD).status_code == 200
        assert a_version(url, headers, source=f"{uri}/model", run_id=run).status_code == 200
        assert ask(url, "PUT", file, headers, content=EVIL).status_code == 403


@pytest.mark.parametrize("source", ["s3://sightline-frames/2026", "/tmp", "runs:/{run}/model", "http://127.0.0.1:1/x"])
def test_a_version_does_not_lie_elsewhere(keycloak: KeycloakServer, url: str, source: str):
    headers = scientist(keycloak)
    run, _ = a_run(url, headers)
    answer = a_version(url, headers, source=source.format(run=run), run_id=run)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer.text


def test_a_version_is_not_made_with_the_marks_of_a_promotion(keycloak: KeycloakServer, url: str):
    headers = scientist(keycloak)
    run, uri = a_run(url, headers)
    for key in ("promoted", "approved_by", "gate.status"):
        tags = [{"key": "digest", "value": "a" * 64}, {"key": key, "value": "1"}]
        answer = a_version(url, headers, source=f"{uri}/model", run_id=run, tags=tags)
        assert answer.status_code == 403, answer.text


def test_a_body_that_names_a_place_is_bounded(keycloak: KeycloakServer, url: str):
    body = {"name": "e", "tags": [{"key": "x", "value": "y" * 2_000_000}]}
    answer = ask(url, "POST", f"{API}/experiments/create", scientist(keycloak), json=body)
    assert answer.status_code == 413, answer.text
