"""Every route with every kind of token: 401 or 403, and the right role gets past the door.

Behind the door nothing is there: what passes may fail in any other way. With a real Keycloak the same is done in
tests/component/test_keycloak_tokens.py.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, cast

import pytest
from fastapi import APIRouter, FastAPI
from starlette.testclient import TestClient

from contracts.errors import Misconfigured
from contracts.settings import AuthSettings
from inference.api.app import create_app
from inference.api.guard import refuse_unlisted, routes_of
from inference.api.metrics import Metrics
from inference.api.parts import Parts
from inference.api.permissions import PERMISSIONS, Role, roles_of
from inference.api.tokens import Verifier
from tests.support.nowhere import NOWHERE
from tests.support.routes import GUARDED, PUBLIC, TICKET
from tests.support.tokens import ISSUER, Realm

REALM = Realm()
MADE = {"settings", "tokens", "metrics"}


@pytest.fixture(scope="module")
def app() -> FastAPI:
    nothing: Any = None
    tokens = Verifier(AuthSettings(issuer=ISSUER), fetch=REALM.jwks)
    parts = Parts(
        settings=NOWHERE,
        tokens=tokens,
        metrics=Metrics(),
        **{name: cast("Any", nothing) for name in Parts.__dataclass_fields__ if name not in MADE},
    )
    return create_app(parts)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


@cache
def forgery(role: Role, kind: str) -> str:
    """One and the same for every route: signing takes as long as being refused."""
    return REALM.forgeries(role)[kind]()


def ask(client: TestClient, route: tuple[str, str], token: str | None) -> tuple[int, dict[str, Any]]:
    method, path = route
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = client.request(method, re.sub(r"{\w+}", "1", path), headers=headers)
    is_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    return answer.status_code, answer.json() if is_problem else {}


def test_the_public_list_is_this_and_no_longer() -> None:
    open_ = {route for route, role in PERMISSIONS.items() if role is Role.PUBLIC}
    assert open_ == PUBLIC
    assert {route for route, role in PERMISSIONS.items() if role is Role.TICKET} == TICKET


def test_every_route_is_in_the_permission_table(app: FastAPI) -> None:
    assert set(routes_of(app)) == set(PERMISSIONS)


def test_a_service_with_a_route_outside_the_table_does_not_start(app: FastAPI) -> None:
    other = FastAPI(openapi_url=None)
    other.router.routes.extend(app.routes)
    stranger = APIRouter()
    stranger.add_api_route("/v1/secrets", lambda: "everything", methods=["GET"])
    other.include_router(stranger)
    with pytest.raises(Misconfigured, match="/v1/secrets"):
        refuse_unlisted(other)


def test_a_slash_too_much_sends_nobody_to_the_host_that_a_request_names(client: TestClient) -> None:
    for path in ("/v1/frames/", "/v1/models/", "/docs/"):
        answer = client.get(path, headers={"Host": "elsewhere.example"}, follow_redirects=False)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/v1/frames", "GET, POST"), ("/v1/models/7/challenger", "DELETE, POST"), ("/healthz", "GET")],
)
def test_a_wrong_method_is_told_every_right_one(client: TestClient, path: str, methods: str) -> None:
    answer = client.request("PUT", path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, methods)
    assert answer.json()["detail"] == f"PUT is not answered here: ask with {methods}"


def test_who_sends_what_cannot_be_read_is_told_where_tokens_are(client: TestClient) -> None:
    answer = client.get("/v1/cameras", headers={"Authorization": "Bearer garbage"})
    assert answer.json()["code"] == "malformed"
    assert "`sightline token`" in answer.json()["detail"]
    assert "`sightline auth doctor`" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("frame_id", "why"),
    [
        ("foo", "this is no frame's id: they are UUIDs of version 7, in small letters"),
        (
            "0198A5C2-7e10-7d3c-8f4e-1a2b3c4d5e6f",
            "this is no frame's id: they are UUIDs of version 7, in small letters",
        ),
        ("ffffffff-ffff-7d3c-8f4e-1a2b3c4d5e6f", "this is no frame's id: its time lies after 2200"),
    ],
)
def test_what_is_no_frames_id_is_told_in_our_own_words(client: TestClient, frame_id: str, why: str) -> None:
    answer = client.get(f"/v1/frames/{frame_id}", headers={"Authorization": f"Bearer {REALM.token(roles=['viewer'])}"})
    assert (answer.status_code, answer.json()["detail"]) == (422, f"path.frame_id: {why}")


@pytest.mark.parametrize("route", GUARDED, ids=" ".join)
def test_without_a_token_nobody_gets_in(client: TestClient, route: tuple[str, str]) -> None:
    status, problem = ask(client, route, None)
    assert (status, problem["code"]) == (401, "no_token")


@pytest.mark.parametrize("kind", REALM.forgeries("viewer"))
@pytest.mark.parametrize("route", GUARDED, ids=" ".join)
def test_a_forged_token_gets_nobody_in(client: TestClient, route: tuple[str, str], kind: str) -> None:
    forged = forgery(PERMISSIONS[route], kind)
    status, problem = ask(client, route, forged)
    assert status == 401, problem
    assert forged not in str(problem)


@pytest.mark.parametrize("route", GUARDED, ids=" ".join)
def test_every_other_role_together_is_not_the_right_one(client: TestClient, route: tuple[str, str]) -> None:
    wrong = set(Role) - set(roles_of(route))
    status, problem = ask(client, route, REALM.token(roles=[str(role) for role in wrong]))
    assert (status, problem["code"]) == (403, "role_missing")
    assert PERMISSIONS[route] in problem["detail"]


@pytest.mark.parametrize("route", GUARDED, ids=" ".join)
def test_the_right_role_gets_past_the_door(
    client: TestClient, route: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.dead_letters._PATIENCE_SECONDS", 0.1)
    status, problem = ask(client, route, REALM.token(roles=[PERMISSIONS[route]]))
    assert status not in {401, 403}, problem


@pytest.mark.parametrize("role", ["reviewer", "scientist"])
def test_reviewer_and_scientist_may_export_labels(client: TestClient, role: str) -> None:
    status, problem = ask(client, ("GET", "/v1/labels/export"), REALM.token(roles=[role]))
    assert status not in {401, 403}, problem


def test_a_scientist_reviews_nothing(client: TestClient) -> None:
    token = REALM.token(roles=["scientist", "viewer"])
    reviewing = [route for route in GUARDED if "reviews" in route[1]]
    assert [ask(client, route, token)[0] for route in reviewing] == [403] * 4


def test_who_may_not_export_is_told_of_both_roles(client: TestClient) -> None:
    _, problem = ask(client, ("GET", "/v1/labels/export"), REALM.token(roles=["viewer"]))
    assert "the role reviewer or scientist" in problem["detail"]


@pytest.mark.parametrize("header", ["Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "token abc", ""])
def test_something_else_than_a_bearer_token_gets_nobody_in(client: TestClient, header: str) -> None:
    answer = client.get("/v1/cameras", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_in_the_query_is_no_token(client: TestClient) -> None:
    token = REALM.token(roles=["viewer"])
    assert client.get(f"/v1/cameras?access_token={token}").status_code == 401


@pytest.mark.parametrize("route", [route for route in GUARDED if route[0] == "POST"], ids=" ".join)
def test_nobodys_body_is_read_before_the_door_opens(client: TestClient, route: tuple[str, str]) -> None:
    method, path = route
    headers = {"Content-Type": "application/json"}
    answer = client.request(method, re.sub(r"{\w+}", "1", path), headers=headers, content=b"{not json")
    assert (answer.status_code, answer.json()["code"]) == (401, "no_token")


@pytest.mark.parametrize("route", GUARDED, ids=" ".join)
def test_an_option_that_a_route_has_not_is_refused_and_those_it_has_are_named(
    app: FastAPI, client: TestClient, route: tuple[str, str]
) -> None:
    method, path = route
    headers = {"Authorization": f"Bearer {REALM.token(roles=[PERMISSIONS[route]])}"}
    answer = client.request(method, re.sub(r"{\w+}", "1", path) + "?no%20such=1", headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_request")
    assert problem["errors"] == [{"where": "query.no such", "what": problem["detail"].partition(": ")[2]}]
    operation = app.openapi()["paths"][path][method.lower()]
    options = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
    _, _, named = problem["detail"].partition("the route has ")
    assert set(named.split(", ")) == (options or {"none"})
    assert "422" in operation["responses"]


@pytest.mark.parametrize(
    ("role", "method", "path", "first"),
    [
        ("operator", "POST", "/v1/detections?min_confidense=0.5", "min_confidence"),
        ("viewer", "GET", "/v1/frames?cam=x", "camera"),
        ("viewer", "GET", "/v1/frames?camera=x&Limit=5", "limit"),
        ("camera", "POST", "/v1/frames?camera=x", "camera_id"),
    ],
)
def test_a_misspelt_option_is_told_the_nearest_first(
    client: TestClient, role: str, method: str, path: str, first: str
) -> None:
    headers = {"Authorization": f"Bearer {REALM.token(roles=[role])}"}
    answer = client.request(method, path, headers=headers)
    assert answer.status_code == 422
    assert f"the route has {first}, " in answer.json()["detail"]


@pytest.mark.parametrize("query", ["", "?", "?&", "?lim%69t=1&&", "?limit=1&since=1970-01-01"])
def test_an_option_is_known_however_it_is_written(client: TestClient, query: str) -> None:
    headers = {"Authorization": f"Bearer {REALM.token(roles=['viewer'])}"}
    answer = client.get(f"/v1/frames{query}", headers=headers)
    assert answer.status_code != 422, answer.text


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/docs", "/openapi.json", "/v1/images/1"])
def test_who_needs_no_token_may_send_any_option(client: TestClient, path: str) -> None:
    assert client.get(f"{path}?at=1").status_code == client.get(path).status_code != 422


def test_an_option_as_long_as_an_address_may_be_makes_no_long_answer(client: TestClient) -> None:
    headers = {"Authorization": f"Bearer {REALM.token(roles=['viewer'])}"}
    options = "&".join(f"{n}{'x' * 300}=1" for n in range(200))
    answer = client.get(f"/v1/frames?{options}", headers=headers)
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 10)
    assert len(answer.content) < 8000
