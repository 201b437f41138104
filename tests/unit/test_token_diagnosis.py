"""What is wrong with a token, in words: each cause is named with what to do, all causes at once, the token never."""

from __future__ import annotations

import time

import pytest
from typer.testing import CliRunner

from contracts.errors import Misconfigured
from contracts.settings import AuthSettings
from inference.api.permissions import PERMISSIONS, Role, roles_of
from inference.api.problems import Problem
from inference.api.tokens import Verifier
from sightline.cli import app
from sightline.token_diagnosis import Circumstances, Diagnosis, diagnose, roles_at
from tests.support.tokens import ISSUER, Realm

SETTINGS = AuthSettings(issuer=ISSUER)


@pytest.fixture
def realm() -> Realm:
    return Realm()


def examined(
    realm: Realm, token: str, *, route: tuple[str, str] | None = None, server_clock: float | None = None
) -> Diagnosis:
    try:
        verdict = Verifier(SETTINGS, fetch=realm.jwks).verify(token)
    except Problem as problem:
        verdict = problem.code
    around = Circumstances(auth=SETTINGS, now=time.time(), keys=set(realm.keys), server_clock=server_clock)
    found = diagnose(token, verdict, around, route)
    said = repr(found)
    assert token not in said
    assert not [part for part in token.split(".") if len(part) > 20 and part in said]
    return found


def said(found: Diagnosis) -> str:
    return " | ".join(f"{finding.code}: {finding.what}. {finding.advice}" for finding in found.findings)


def test_a_good_token_is_accepted_with_whose_it_is_and_how_long(realm: Realm):
    found = examined(realm, realm.token(roles=["viewer", "offline_access"]), route=("GET", "/v1/frames"))
    assert found.is_accepted
    assert found.findings == ()
    assert (found.name, found.client, found.roles) == ("somebody", "sightline-cli", ("viewer",))
    assert 290 <= (found.seconds_left or 0) <= 300


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("expired", "expired", r"ended 60\d s ago \(30 s are forgiven\)"),
        ("future nbf", "not_yet_valid", r"begins in (59\d|600) s .*clocks of both machines"),
        ("wrong audience", "wrong_audience", r"for account, not for sightline-api.*client scope"),
        ("no audience", "claims_missing", r"for nobody, not for sightline-api"),
        (
            "wrong issuer",
            "wrong_issuer",
            rf"https://login.example/realms/sightline issued it, the API believes {ISSUER}",
        ),
        ("other realm", "wrong_issuer", r"realms/other issued it"),
        ("alg none", "wrong_algorithm", r"not signed \(alg none\)"),
        ("HS256 with the public key", "wrong_algorithm", r"shared secret \(HS256\)"),
        ("other key", "bad_signature", r"did not sign this"),
        ("foreign client", "foreign_client", r"client somebody-elses-app got it; believed are sightline-\*"),
        ("ID token", "not_an_access_token", r"an ID token .*send the access token"),
        ("refresh token", "not_an_access_token", r"a refresh token"),
        ("key rotated away", "unknown_key", r"no key key-of-last-year: it was rotated away.*sightline login"),
        ("garbage", "malformed", r"not base64 of JSON"),
        ("empty parts", "malformed", r"not base64 of JSON"),
    ],
)
def test_each_cause_is_named_with_what_to_do(realm: Realm, name: str, code: str, words: str):
    import re

    found = examined(realm, realm.forgeries("viewer")[name](), route=("GET", "/v1/frames"))
    assert not found.is_accepted
    assert code in {finding.code for finding in found.findings}
    assert re.search(words, said(found)), said(found)
    assert all(finding.advice for finding in found.findings)


def test_every_forgery_is_explained(realm: Realm):
    for name, make in realm.forgeries("viewer").items():
        found = examined(realm, make())
        assert not found.is_accepted, name
        assert found.findings, name


def test_all_causes_are_told_at_once(realm: Realm):
    token = realm.token(typ="ID", aud="account", exp=int(time.time()) - 100, azp="other")
    codes = {finding.code for finding in examined(realm, token, route=("GET", "/v1/frames")).findings}
    assert codes >= {"expired", "wrong_audience", "not_an_access_token", "foreign_client", "role_missing"}


def test_a_missing_role_is_named_for_the_route(realm: Realm):
    found = examined(realm, realm.token(roles=["viewer"]), route=("post", "/v1/models/7/promote"))
    assert not found.is_accepted
    assert "POST /v1/models/{version}/promote asks for the role approver" in said(found)


def test_a_word_before_the_token_and_a_cut_one_are_told_apart(realm: Realm):
    good = realm.token()
    assert "begins with the word Bearer" in said(examined(realm, f"Bearer {good}"))
    assert "2 parts between dots where a token has 3" in said(examined(realm, good.rpartition(".")[0]))
    assert "it has 1 part where a token has 3" in said(examined(realm, "garbage"))


@pytest.mark.parametrize("letters", [1, 2, 3, 4, 100, 342])
def test_a_token_whose_end_was_not_copied_is_told_so(realm: Realm, letters: int):
    found = examined(realm, realm.token()[:-letters])
    assert "its end is missing" in said(found)
    assert "take all of it" in said(found)
    assert not [finding for finding in found.findings if "forged" in finding.what or "base64" in finding.what]


@pytest.mark.parametrize(("given", "stdin"), [("", None), (" ", None), ("-", ""), ("-", "\n")])
def test_an_empty_token_is_refused_and_not_taken_for_ones_own(
    given: str, stdin: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("connectors.access.access_token", lambda _: pytest.fail("one's own was looked at"))
    monkeypatch.setenv("SIGHTLINE_AUTH__JWKS_URL", "http://127.0.0.1:1/keys")
    ended = CliRunner().invoke(app, ["auth", "doctor", given], input=stdin)
    assert ended.exit_code == 1, ended.output
    assert "the token is empty" in ended.output


def test_a_clock_that_is_wrong_is_told(realm: Realm):
    now = time.time()
    ahead = examined(realm, realm.token(exp=int(now) - 100), server_clock=now - 200)
    assert "this clock is 200 s ahead of Keycloak's" in said(ahead)
    even = examined(realm, realm.token(exp=int(now) - 100), server_clock=now)
    assert "this clock and Keycloak's agree" in said(even)


def test_without_keys_nothing_is_accepted(realm: Realm):
    around = Circumstances(auth=SETTINGS, now=time.time(), keys=None)
    found = diagnose(realm.token(), "keys_away", around)
    assert not found.is_accepted
    assert "Keycloak does not give its keys" in said(found)


def test_localhost_and_its_number_are_two_issuers(realm: Realm):
    assert "two names" in said(examined(realm, realm.token(iss=ISSUER.replace("127.0.0.1", "localhost"))))


def test_every_route_of_the_table_is_found_by_itself_and_an_unknown_one_is_refused():
    for method, pattern in PERMISSIONS:
        assert roles_at(method, pattern) == (pattern, roles_of((method, pattern)))
    assert roles_at("GET", "/v1/frames/0199?x=1") == ("/v1/frames/{frame_id}", (Role.VIEWER,))
    assert roles_at("GET", "/v1/labels/export") == ("/v1/labels/export", (Role.REVIEWER, Role.SCIENTIST))
    with pytest.raises(Misconfigured, match="no route GET /v2/frames"):
        roles_at("GET", "/v2/frames")
