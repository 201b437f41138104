"""sightline login, token and auth doctor at a real Keycloak, as a person and as a script use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from connectors import access
from contracts.settings import LoginSettings, Settings, StackSettings
from inference.api.tokens import Verifier
from sightline.stack.home import Home, write_private
from tests.support.keycloak import KeycloakServer, a_browser, submit

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path, keycloak: KeycloakServer) -> Home:
    """As `sightline up --profile full` leaves it, as far as logins go."""
    home = Home(tmp_path / "home")
    home.make()
    write_private(home.logins_file, json.dumps({"people": keycloak.passwords, "accounts": keycloak.secrets}))
    lines = {
        "AUTH__ISSUER": keycloak.auth.issuer,
        "AUTH__JWKS_URL": keycloak.auth.jwks_url,
        "LOGIN__TOKEN_FILE": home.tokens_file,
    }
    write_private(home.settings_file, "".join(f"SIGHTLINE_{name}='{value}'\n" for name, value in lines.items()))
    return home


@pytest.fixture
def sightline(home: Home) -> Command:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sightline.cli", *arguments],
            env=kept | {"SIGHTLINE_STACK__HOME": str(home.folder)} | environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


def settings_of(home: Home, keycloak: KeycloakServer) -> Settings:
    return Settings(
        auth=keycloak.auth, login=LoginSettings(token_file=home.tokens_file), stack=StackSettings(home=home.folder)
    )


def test_a_script_gets_the_token_of_a_service_account(sightline: Command, keycloak: KeycloakServer):
    said = sightline(
        "token",
        SIGHTLINE_LOGIN__SERVICE_ID="sightline-jobs",
        SIGHTLINE_LOGIN__SERVICE_SECRET=keycloak.secrets["sightline-jobs"],
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert Verifier(keycloak.auth).verify(said.stdout.strip()).client == "sightline-jobs"
    wrong = sightline("token", SIGHTLINE_LOGIN__SERVICE_ID="sightline-jobs", SIGHTLINE_LOGIN__SERVICE_SECRET="not-it")
    assert wrong.returncode == 78
    assert "not-it" not in wrong.stdout + wrong.stderr


def test_a_demo_user_logs_in_has_a_token_and_logs_out(sightline: Command, keycloak: KeycloakServer, home: Home):
    nobody = sightline("token")
    assert nobody.returncode == 78
    assert "sightline login" in nobody.stderr
    assert "Logged in as scientist" in sightline("login", "--user", "scientist").stdout
    assert Verifier(keycloak.auth).verify(sightline("token").stdout.strip()).name == "scientist"
    assert Verifier(keycloak.auth).verify(sightline("token", "--user", "viewer").stdout.strip()).name == "viewer"
    refresh = json.loads(home.tokens_file.read_text())["refresh_token"]
    assert sightline("logout").stdout == "Logged out.\n"
    assert sightline("token").returncode == 78
    form = {"grant_type": "refresh_token", "client_id": "sightline-demo", "refresh_token": refresh}
    ended = httpx.post(f"{keycloak.auth.issuer}/protocol/openid-connect/token", data=form, trust_env=False)
    assert ended.json()["error"] == "invalid_grant"
    assert "there are viewer, operator" in sightline("token", "--user", "nobody").stderr


def test_a_person_logs_in_with_a_code_in_a_browser_and_stays_logged_in(keycloak: KeycloakServer, home: Home):
    settings = settings_of(home, keycloak)
    begun = access.begin_login(settings)
    approve(begun.whole_url, "reviewer", keycloak.passwords["reviewer"])
    kept = access.finish_login(settings, begun, sleep=lambda _: None)
    verifier = Verifier(keycloak.auth)
    assert verifier.verify(kept.access_token).name == "reviewer"
    assert verifier.verify(kept.access_token).client == "sightline-cli"
    stale = json.loads(home.tokens_file.read_text()) | {"until": 0}
    home.tokens_file.write_text(json.dumps(stale))
    renewed = access.access_token(settings)
    assert renewed != kept.access_token
    assert verifier.verify(renewed).name == "reviewer"


def approve(url: str, user: str, password: str) -> None:
    """What the person does in the browser."""
    with a_browser() as browser:
        asked = submit(browser, browser.get(url), username=user, password=password)
        page = submit(browser, asked, accept="Yes")
        assert page.status_code == 200
        assert "success" in page.text.lower(), page.text[:3000]


def test_an_account_of_a_service_keeps_its_token_while_it_is_good(keycloak: KeycloakServer, home: Home):
    login = LoginSettings(
        token_file=home.tokens_file,
        service_id="sightline-jobs",
        service_secret=SecretStr(keycloak.secrets["sightline-jobs"]),
    )
    one = access.Access(settings_of(home, keycloak).model_copy(update={"login": login}))
    assert one.token() == one.token()


@pytest.mark.parametrize(
    ("route", "code", "words"),
    [
        (None, 0, "The API believes it"),
        ("GET /v1/frames", 0, "The API believes it"),
        ("POST /v1/models/3/promote", 1, "asks for the role approver"),
    ],
)
def test_the_doctor_finds_a_good_token_good_and_names_the_role_that_is_missing(
    sightline: Command, keycloak: KeycloakServer, route: str | None, code: int, words: str
):
    said = sightline("auth", "doctor", keycloak.token("scientist"), *(["--route", route] if route else []))
    assert (said.returncode, said.stderr) == (code, "")
    assert words in said.stdout
    assert "of scientist, through sightline-demo; roles: scientist, viewer" in said.stdout


def test_the_doctor_explains_what_is_refused_and_never_prints_it(sightline: Command, keycloak: KeycloakServer):
    whole = keycloak.tokens("viewer")
    keycloak.new_realm("elsewhere")
    cases = {
        "not_an_access_token": whole["id_token"],
        "wrong_issuer": keycloak.token("viewer", realm="elsewhere"),
        "unknown_key": keycloak.token("viewer", realm="elsewhere"),
        "malformed": "Bearer x",
    }
    for code, token in cases.items():
        said = sightline("auth", "doctor", token, "--json")
        assert said.returncode == 1, said.stdout
        found = json.loads(said.stdout)
        assert code in {finding["code"] for finding in found["findings"]}
        assert not found["is_accepted"]
        assert token not in said.stdout + said.stderr
