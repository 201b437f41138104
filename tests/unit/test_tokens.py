"""Which tokens are believed. The matrix over all routes is in tests/unit/test_permissions.py, with a real Keycloak in
tests/component/test_keycloak_tokens.py."""

from __future__ import annotations

import time

import pytest

from contracts.errors import Transient
from contracts.settings import AuthSettings
from inference.api.problems import Problem
from inference.api.tokens import Verifier
from tests.support.tokens import ISSUER, Realm, a_key

CODES = {
    "expired": "expired",
    "future nbf": "not_yet_valid",
    "wrong audience": "wrong_audience",
    "no audience": "claims_missing",
    "wrong issuer": "wrong_issuer",
    "other realm": "bad_signature",  # another realm's key under the same name
    "alg none": "wrong_algorithm",
    "HS256 with the public key": "wrong_algorithm",
    "other key": "bad_signature",
    "foreign client": "foreign_client",
    "ID token": "not_an_access_token",
    "refresh token": "not_an_access_token",
    "key rotated away": "unknown_key",
    "no key id": "unknown_key",
    "garbage": "malformed",
    "empty parts": "malformed",
}


@pytest.fixture
def realm() -> Realm:
    return Realm()


def a_verifier(realm: Realm, **settings: object) -> Verifier:
    return Verifier(AuthSettings.model_validate({"issuer": ISSUER, **settings}), fetch=realm.jwks)


def code_of(verifier: Verifier, token: str) -> str:
    with pytest.raises(Problem) as refused:
        verifier.verify(token)
    assert refused.value.status == 401
    assert token not in str(refused.value)
    assert "WWW-Authenticate" in refused.value.headers
    return refused.value.code


def test_a_good_token_tells_who_asks(realm: Realm) -> None:
    identity = a_verifier(realm).verify(realm.token(roles=["viewer", "reviewer"], azp="sightline-dashboard"))
    assert identity.name == "somebody"
    assert identity.roles == {"viewer", "reviewer"}
    assert identity.client == "sightline-dashboard"
    assert identity.cameras is None


@pytest.mark.parametrize(
    ("claim", "cameras"),
    [
        (["line-3.*", "gate"], ("line-3.*", "gate")),
        ("gate", ("gate",)),
        ([], ()),
        ([7, "gate"], ("gate",)),
        ({"not": "understood"}, ()),
    ],
)
def test_a_token_tells_as_which_cameras_its_bearer_sends(realm: Realm, claim: object, cameras: tuple[str, ...]) -> None:
    assert a_verifier(realm).verify(realm.token(roles=["camera"], cameras=claim)).cameras == cameras


def test_every_kind_of_forgery_is_in_the_list(realm: Realm) -> None:
    assert set(realm.forgeries("viewer")) == set(CODES)


@pytest.mark.parametrize("kind", CODES)
def test_a_forged_token_is_refused_for_its_reason(realm: Realm, kind: str) -> None:
    verifier = a_verifier(realm)
    verifier.verify(realm.token(roles=["viewer"]))  # the good one first: nothing of it may rub off
    assert code_of(verifier, realm.forgeries("viewer")[kind]()) == CODES[kind]


@pytest.mark.parametrize("claim", ["exp", "iat", "sub", "azp"])
def test_a_token_without_a_claim_is_refused(realm: Realm, claim: str) -> None:
    assert code_of(a_verifier(realm), realm.token(**{claim: None})) == "claims_missing"


def test_clocks_may_differ_by_the_leeway_and_no_more(realm: Realm) -> None:
    verifier, now = a_verifier(realm, leeway_seconds=30), int(time.time())
    verifier.verify(realm.token(exp=now - 10))
    verifier.verify(realm.token(nbf=now + 10))
    assert code_of(verifier, realm.token(exp=now - 50)) == "expired"


def test_a_remembered_token_expires_all_the_same(realm: Realm) -> None:
    now = [time.time()]
    verifier = Verifier(AuthSettings(issuer=ISSUER, leeway_seconds=0), fetch=realm.jwks, clock=lambda: now[0])
    token = realm.token(exp=int(now[0]) + 2)
    verifier.verify(token)
    time.sleep(2.1)  # PyJWT asks the machine's clock
    now[0] += 2.1
    assert code_of(verifier, token) == "expired"


def test_a_token_is_known_once_it_was_verified_and_as_long_as_it_counts(realm: Realm) -> None:
    now = [time.time()]
    verifier = Verifier(AuthSettings(issuer=ISSUER, leeway_seconds=0), fetch=realm.jwks, clock=lambda: now[0])
    token = realm.token(roles=["viewer"])
    assert verifier.remembered(token) is None
    identity = verifier.verify(token)
    assert verifier.remembered(token) == identity
    assert verifier.remembered(realm.token(roles=["admin"])) is None
    now[0] += 301
    assert verifier.remembered(token) is None


class Ticks:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_new_key_is_fetched_once_and_an_unknown_one_does_not_hammer_keycloak(realm: Realm) -> None:
    ticks, strange = Ticks(), a_key("strange")
    verifier = Verifier(AuthSettings(issuer=ISSUER, cooldown_seconds=30), fetch=realm.jwks, ticks=ticks)
    verifier.verify(realm.token())
    realm.keys["key-2"] = a_key("key-2")
    ticks.now += 31
    verifier.verify(realm.token(key_id="key-2"))
    assert realm.fetches == 2
    for _ in range(20):
        ticks.now += 1
        assert code_of(verifier, realm.token(key=strange, key_id="nobody's")) == "unknown_key"
    assert realm.fetches == 2
    ticks.now += 10
    assert code_of(verifier, realm.token(key=strange, key_id="nobody's")) == "unknown_key"
    assert realm.fetches == 3


def test_a_key_that_was_rotated_away_stops_counting_even_for_a_remembered_token(realm: Realm) -> None:
    ticks = Ticks()
    verifier = Verifier(AuthSettings(issuer=ISSUER, keys_seconds=300), fetch=realm.jwks, ticks=ticks)
    token = realm.token()
    verifier.verify(token)
    realm.keys = {"key-2": a_key("key-2")}
    ticks.now += 299
    verifier.verify(token)
    ticks.now += 1
    assert code_of(verifier, token) == "unknown_key"


def test_without_keys_nobody_gets_in(realm: Realm) -> None:
    realm.is_away = True
    with pytest.raises(Transient, match="no token can be checked"):
        a_verifier(realm).verify(realm.token(roles=["viewer"]))


def test_keys_that_were_fetched_serve_on_while_keycloak_is_away_and_not_for_ever(realm: Realm) -> None:
    ticks = Ticks()
    settings = AuthSettings(issuer=ISSUER, keys_seconds=300, keys_grace_seconds=200)
    verifier = Verifier(settings, fetch=realm.jwks, ticks=ticks)
    verifier.verify(realm.token())
    realm.is_away = True
    for later in (299, 1, 1, 198):  # the keys are due; asked at most every few seconds; the grace is nearly over
        ticks.now += later
        verifier.verify(realm.token(roles=["viewer"]))
    assert realm.fetches == 3
    ticks.now += 10
    with pytest.raises(Transient):
        verifier.verify(realm.token(roles=["viewer"]))
    fetches, realm.is_away = realm.fetches, False
    with pytest.raises(Transient, match="a moment ago"):
        verifier.verify(realm.token(roles=["viewer"]))
    assert realm.fetches == fetches
    ticks.now += 5
    verifier.verify(realm.token(roles=["viewer"]))
