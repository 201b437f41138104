"""Every route with every kind of token of a real Keycloak: 401 or 403, and the right role gets past the door.

    somebody with every role ─► a token, and everything of it that must not get in ─► each route of the application

Behind the door nothing is there: what passes may fail in any other way. A token that is valid only from some later
moment (nbf) cannot be had from Keycloak: that one is in tests/unit/test_permissions.py, and so is what else can only be
forged.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi.testclient import TestClient

from contracts.settings import AuthSettings
from inference.api.app import create_app
from inference.api.metrics import Metrics
from inference.api.parts import Parts
from inference.api.permissions import Role, roles_of
from inference.api.tokens import Verifier
from sightline.stack import realm
from tests.support.keycloak import REALM, KeycloakServer
from tests.support.nowhere import NOWHERE
from tests.support.routes import GUARDED
from tests.support.tokens import a_key, signed_with_the_public_key, unsigned

OURS = [role.value for role in Role if role not in {Role.PUBLIC, Role.TICKET}]

EVERYBODY = "everybody"  # has every role: a token of theirs is refused for what it is, not for whom it names
CAMERA = "sightline-camera-demo"
# The service keeps fetched keys for so long; a token of theirs lives for so long and counts for no second more.
KEYS_SECONDS = 2
TOKEN_SECONDS = 1

# Written out, not read from the realm: what the realm gives is what is tried here.
ROLES = {
    "viewer": {"viewer"},
    "operator": {"viewer", "operator"},
    "reviewer": {"viewer", "reviewer"},
    "scientist": {"viewer", "scientist"},
    "approver": {"viewer", "approver"},
    "admin": {"viewer", "operator", "reviewer", "scientist", "approver", "admin"},
    CAMERA: {"camera"},
}

ROUTES = pytest.mark.parametrize("route", GUARDED, ids=" ".join)
# Kind of token ─► the code it is refused with.
REFUSED = {
    "expired": "expired",
    "wrong audience": "wrong_audience",
    "other realm": "unknown_key",
    "alg none": "wrong_algorithm",
    "HS256 with the public key": "wrong_algorithm",
    "other key": "bad_signature",
    "foreign client": "foreign_client",
    "ID token": "wrong_audience",
    "refresh token": "wrong_algorithm",
    "key rotated away": "unknown_key",
}


def a_client_of(auth: AuthSettings) -> TestClient:
    """The whole application, its own way to tell who asks, and nothing else."""
    nothing: Any = None
    made: dict[str, Any] = {"settings": NOWHERE, "tokens": Verifier(auth), "metrics": Metrics()}
    others = {name: cast("Any", nothing) for name in Parts.__dataclass_fields__ if name not in made}
    return TestClient(create_app(Parts(**made, **others)), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(keycloak: KeycloakServer) -> TestClient:
    return a_client_of(
        keycloak.auth_of(REALM, leeway_seconds=0, keys_seconds=KEYS_SECONDS, cooldown_seconds=KEYS_SECONDS)
    )


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a broker that is not there."""
    monkeypatch.setattr("connectors.dead_letters._PATIENCE_SECONDS", 0.1)


@dataclass(frozen=True, kw_only=True)
class Known:
    """Whom Keycloak has, and what it gave them."""

    of: Callable[[str], str]  # somebody's access token that is good
    bad: dict[str, str]  # every kind that must not get in, of somebody with every role


@pytest.fixture(scope="module")
def tokens(keycloak: KeycloakServer, client: TestClient) -> Known:
    keycloak.new_person(EVERYBODY, OURS)
    keycloak.new_client("sightline-brief", token_seconds=TOKEN_SECONDS)
    keycloak.new_client("sightline-deaf", has_audience=False)
    keycloak.new_client("somebody-elses-app")
    keycloak.new_realm("another")
    whole = keycloak.tokens(EVERYBODY)
    token = whole["access_token"]
    bad = {
        "expired": keycloak.token(EVERYBODY, client="sightline-brief"),
        "wrong audience": keycloak.token(EVERYBODY, client="sightline-deaf"),
        "other realm": keycloak.token("admin", realm="another"),
        "foreign client": keycloak.token(EVERYBODY, client="somebody-elses-app"),
        "ID token": whole["id_token"],
        "refresh token": whole["refresh_token"],
        "key rotated away": of_a_key_that_was_rotated_away(keycloak, client),
        **forged(keycloak, token),
    }
    time.sleep(TOKEN_SECONDS + 1)
    good = {name: keycloak.token(name) for name in [EVERYBODY, *realm.people()]}
    return Known(of=(good | {CAMERA: keycloak.account_token(CAMERA)}).__getitem__, bad=bad)


def of_a_key_that_was_rotated_away(keycloak: KeycloakServer, client: TestClient) -> str:
    """A token that was good, and no longer is once the keys are fetched anew."""
    key = keycloak.rotate_key()
    time.sleep(KEYS_SECONDS)
    token = keycloak.token(EVERYBODY)
    assert jwt.get_unverified_header(token)["kid"] == key
    assert ask(client, ("GET", "/v1/cameras"), token)[0] not in {401, 403}
    keycloak.remove_key(key)
    time.sleep(KEYS_SECONDS)
    return token


def forged(keycloak: KeycloakServer, token: str) -> dict[str, str]:
    """What somebody makes who has a good token and the realm's public keys."""
    claims = jwt.decode(token, options={"verify_signature": False})
    key_id = str(jwt.get_unverified_header(token)["kid"])
    keys = httpx.get(keycloak.auth.jwks_url, trust_env=False).json()["keys"]
    [published] = [jwt.algorithms.RSAAlgorithm.from_jwk(key) for key in keys if key["kid"] == key_id]
    assert isinstance(published, rsa.RSAPublicKey)
    return {
        "alg none": unsigned(claims, key_id=key_id),
        "HS256 with the public key": signed_with_the_public_key(claims, key_id=key_id, public_key=published),
        "other key": jwt.encode(claims, a_key("a stranger's"), algorithm="RS256", headers={"kid": key_id}),
    }


def ask(client: TestClient, route: tuple[str, str], token: str | None) -> tuple[int, dict[str, Any]]:
    method, path = route
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = client.request(method, re.sub(r"{\w+}", "1", path), headers=headers)
    is_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    return answer.status_code, answer.json() if is_problem else {}


def test_every_kind_of_token_has_its_refusal(tokens: Known) -> None:
    assert set(tokens.bad) == set(REFUSED)


@ROUTES
def test_without_a_token_nobody_gets_in(client: TestClient, route: tuple[str, str]) -> None:
    status, problem = ask(client, route, None)
    assert (status, problem["code"]) == (401, "no_token")


@pytest.mark.parametrize("kind", REFUSED)
@ROUTES
def test_a_token_that_is_not_a_good_one_gets_nobody_in(
    client: TestClient, tokens: Known, route: tuple[str, str], kind: str
) -> None:
    status, problem = ask(client, route, tokens.bad[kind])
    assert (status, problem["code"]) == (401, REFUSED[kind])
    assert tokens.bad[kind] not in str(problem)


@ROUTES
def test_a_good_token_of_another_issuer_gets_nobody_in(
    elsewhere: TestClient, tokens: Known, route: tuple[str, str]
) -> None:
    status, problem = ask(elsewhere, route, tokens.of(EVERYBODY))
    assert (status, problem["code"]) == (401, "wrong_issuer")


@pytest.fixture(scope="module")
def elsewhere(keycloak: KeycloakServer) -> TestClient:
    """An installation that believes the same keys and expects another name of their realm."""
    auth = keycloak.auth
    return a_client_of(auth.model_copy(update={"issuer": f"{auth.issuer}-elsewhere"}))


@ROUTES
def test_the_right_role_gets_past_the_door(client: TestClient, tokens: Known, route: tuple[str, str]) -> None:
    status, problem = ask(client, route, tokens.of(EVERYBODY))
    assert status not in {401, 403}, problem


@pytest.mark.parametrize("person", ROLES)
@ROUTES
def test_everybody_gets_in_where_their_role_says_so_and_nowhere_else(
    client: TestClient, tokens: Known, route: tuple[str, str], person: str
) -> None:
    opening = roles_of(route)
    status, problem = ask(client, route, tokens.of(person))
    if not ROLES[person].isdisjoint(opening):
        assert status not in {401, 403}, problem
    else:
        assert (status, problem["code"]) == (403, "role_missing")
        assert opening[0] in problem["detail"]
