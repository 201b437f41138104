"""Access tokens: an account's or a person's, kept while they are good, renewed in silence, never shown."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from pydantic import SecretStr

from connectors import access
from contracts.errors import Misconfigured, Transient
from contracts.settings import LoginSettings, Settings


class Server:
    """Answers like Keycloak's endpoints, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answers: list[tuple[int, Any]] = []

    def post(self, url: str, data: dict[str, str], **_: Any) -> httpx.Response:
        self.asked.append((url.rpartition("openid-connect/")[2], data))
        status, body = self.answers.pop(0)
        if isinstance(body, Exception):
            raise body
        return httpx.Response(status, content=b"" if body is None else json.dumps(body).encode())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.setattr(access.httpx, "post", made.post)
    yield made
    assert made.answers == []


def tokens(name: str, seconds: int = 300) -> tuple[int, Any]:
    return 200, {"access_token": f"access-{name}", "refresh_token": f"refresh-{name}", "expires_in": seconds}


def settings(tmp_path: Path, **login: Any) -> Settings:
    return Settings(login=LoginSettings(token_file=tmp_path / "folder" / "tokens.json", **login))


def test_an_accounts_token_is_asked_for_once_while_it_is_good(server: Server, tmp_path: Path):
    server.answers = [tokens("a"), tokens("b", seconds=20), tokens("c")]
    one = access.Access(settings(tmp_path, service_id="sightline-jobs", service_secret=SecretStr("its-secret")))
    assert [one.token(), one.token()] == ["access-a", "access-a"]
    one._kept = ("access-a", time.time() + 29)
    assert [one.token(), one.token()] == ["access-b", "access-c"]  # b would have ended in 20 s
    assert server.asked[0] == (
        "token",
        {"grant_type": "client_credentials", "client_id": "sightline-jobs", "client_secret": "its-secret"},
    )


def test_a_refused_account_is_a_persons_matter_and_its_secret_stays_hidden(server: Server, tmp_path: Path):
    server.answers = [(401, {"error": "unauthorized_client"})]
    with pytest.raises(Misconfigured, match="refuses the account sightline-jobs") as caught:
        access.access_token(settings(tmp_path, service_id="sightline-jobs", service_secret=SecretStr("its-secret")))
    assert "its-secret" not in str(caught.value)


def test_nobody_is_told_to_log_in(tmp_path: Path):
    with pytest.raises(Misconfigured, match="sightline login"):
        access.access_token(settings(tmp_path))
    assert not access.is_somebody(settings(tmp_path))


def device(**changes: Any) -> tuple[int, Any]:
    return 200, {
        "device_code": "d", "user_code": "ABCD-EFGH", "verification_uri": "http://k/device",
        "verification_uri_complete": "http://k/device?user_code=ABCD-EFGH", "expires_in": 600, "interval": 2, **changes,
    }  # fmt: skip


def test_a_person_logs_in_by_a_code_and_is_waited_for_with_patience(server: Server, tmp_path: Path):
    server.answers = [
        device(), (400, {"error": "authorization_pending"}), (400, {"error": "slow_down"}), tokens("p"),
    ]  # fmt: skip
    given, slept = settings(tmp_path), []
    begun = access.begin_login(given)
    assert (begun.code, begun.url) == ("ABCD-EFGH", "http://k/device")
    kept = access.finish_login(given, begun, sleep=slept.append)
    assert slept == [2, 2, 7]
    assert kept.access_token == access.access_token(given) == "access-p"
    begin, poll = server.asked[0][1], server.asked[1][1]
    assert begin["code_challenge_method"] == "S256"
    assert poll["code_verifier"] not in begin.values()
    file = given.login.token_file
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0
    assert "access-p" not in repr(kept)
    assert "refresh-p" not in repr(kept)


@pytest.mark.parametrize("error", ["access_denied", "expired_token"])
def test_a_login_that_is_refused_or_forgotten_ends(server: Server, tmp_path: Path, error: str):
    server.answers = [device(), (400, {"error": error})]
    begun = access.begin_login(settings(tmp_path))
    with pytest.raises(Misconfigured, match=error):
        access.finish_login(settings(tmp_path), begun, sleep=lambda _: None)


def logged_in(server: Server, given: Settings, seconds: int = 300) -> None:
    server.answers.insert(0, tokens("p", seconds))
    access.with_password(given, client="sightline-demo", user="viewer", password="pw", is_kept=True)
    server.asked.clear()


def test_a_token_about_to_end_is_renewed_with_the_client_that_got_it_and_kept(server: Server, tmp_path: Path):
    given = settings(tmp_path)
    logged_in(server, given, seconds=10)
    server.answers = [tokens("q")]
    assert access.access_token(given) == access.access_token(given) == "access-q"
    assert server.asked == [
        ("token", {"grant_type": "refresh_token", "client_id": "sightline-demo", "refresh_token": "refresh-p"})
    ]


def test_a_login_that_has_ended_says_so_and_an_outage_says_another_thing(server: Server, tmp_path: Path):
    given = settings(tmp_path)
    logged_in(server, given, seconds=10)
    server.answers = [(400, {"error": "invalid_grant"}), (0, httpx.ConnectError("away")), (502, None)]
    with pytest.raises(Misconfigured, match="the login has ended"):
        access.access_token(given)
    with pytest.raises(Transient, match="Keycloak is away"):
        access.access_token(given)
    with pytest.raises(Transient, match="502"):
        access.access_token(given)


def test_a_login_elsewhere_does_not_count_here(server: Server, tmp_path: Path):
    given = settings(tmp_path)
    logged_in(server, given)
    auth = given.auth.model_copy(update={"issuer": "https://other/realms/sightline"})
    assert access.read(given.model_copy(update={"auth": auth})) is None
    assert access.is_somebody(given)


def test_logging_out_forgets_at_once_even_without_keycloak(server: Server, tmp_path: Path):
    given = settings(tmp_path)
    logged_in(server, given)
    server.answers = [(0, httpx.ConnectError("away"))]
    assert access.forget(given)
    assert server.asked[0][0] == "logout"
    assert not given.login.token_file.exists()
    assert not access.forget(given)


def test_another_server_there_is_a_wrong_setting(server: Server, tmp_path: Path):
    server.answers = [(404, ["no"])]
    with pytest.raises(Misconfigured, match="SIGHTLINE_AUTH__JWKS_URL"):
        access.begin_login(settings(tmp_path))


def test_the_query_is_a_form_and_no_secret_is_in_an_address(server: Server, tmp_path: Path):
    server.answers = [tokens("a")]
    access.access_token(settings(tmp_path, service_id="a", service_secret=SecretStr("its-secret")))
    assert parse_qs(server.asked[0][0].partition("?")[2]) == {}
