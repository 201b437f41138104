"""A real Keycloak for tests: the cached build on a PostgreSQL of its own, free ports, our realm, gone afterwards.

    def test_something(keycloak: KeycloakServer): ...      one per session, started when first asked for
    with keycloak_server() as server: ...                  one of your own, to break

    server.auth                                  AuthSettings of our realm: issuer, keys, audience
    server.token("scientist")                    an access token of a demo user
    server.tokens("scientist")                   the whole answer: access, ID and refresh token
    server.account_token("sightline-jobs")       of a service account
    server.new_realm("other")                    the same people and clients in another realm; then realm="other"
    server.new_client("foreign-app")             a client that is not ours; has_audience: its tokens name our API all the same
    server.new_person("everybody", ["viewer"])   another person with these roles
    server.rotate_key() · server.remove_key(id)  signs with a new key from then on · forgets one

The first start makes two hundred tables: 20 to 40 s.
"""

from __future__ import annotations

import html
import re
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.settings import AuthSettings, Settings, StackSettings
from sightline.stack import install, realm
from sightline.stack import keycloak as program
from sightline.stack.keycloak_admin import KeycloakAdmin
from tests.support.postgres import PostgresServer, free_port, postgres_server

START_SECONDS = 180
REALM = "sightline"
ADMIN_SECRET = "setup-of-a-test-" + "0" * 16
API_URL, MLFLOW_URL, AIRFLOW_URL = "http://127.0.0.1:19060", "http://127.0.0.1:19050", "http://127.0.0.1:19087"


@dataclass(kw_only=True)
class KeycloakServer:
    """One running server. stop() and start() let a test take it away for a while."""

    binaries: install.Binaries
    postgres: PostgresServer
    database: str
    port: int
    management_port: int
    folder: Path
    passwords: dict[str, str] = field(
        default_factory=lambda: {name: f"a-password-of-{name}" for name in realm.people()}
    )
    secrets: dict[str, str] = field(default_factory=lambda: {name: f"a-secret-of-{name}" for name in realm.accounts()})
    mlflow_url: str = MLFLOW_URL
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def auth(self) -> AuthSettings:
        return self.auth_of(REALM)

    def auth_of(self, name: str, **changes: Any) -> AuthSettings:
        base = f"{self.url}/realms/{name}"
        return AuthSettings(issuer=base, jwks_url=f"{base}/protocol/openid-connect/certs", **changes)

    def token(self, person: str, *, client: str = "sightline-demo", realm: str = REALM) -> str:
        return str(self.tokens(person, client=client, realm=realm)["access_token"])

    def tokens(self, person: str, *, client: str = "sightline-demo", realm: str = REALM) -> dict[str, Any]:
        form = {"grant_type": "password", "username": person, "password": self.passwords[person]}
        return self._ask_token({**form, "client_id": client, "scope": "openid"}, realm)

    def account_token(self, account: str, *, realm: str = REALM) -> str:
        form = {"grant_type": "client_credentials", "client_id": account, "client_secret": self.secrets[account]}
        return str(self._ask_token(form, realm)["access_token"])

    def _ask_token(self, form: dict[str, str], realm: str) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.url}/realms/{realm}/protocol/openid-connect/token", data=form, timeout=30, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def admin(self) -> KeycloakAdmin:
        return KeycloakAdmin(self.url, ADMIN_SECRET)

    def wanted(self, name: str = REALM) -> dict[str, Any]:
        """The file, filled in, for a realm of this name."""
        wanted = realm.load(
            realm.filling(api_url=API_URL, mlflow_url=self.mlflow_url, airflow_url=AIRFLOW_URL, secrets=self.secrets)
        )
        wanted["realm"]["realm"] = name
        if name != REALM:  # an id is one person's, whatever the realm
            wanted["people"] = {person: {**said, "id": str(uuid.uuid4())} for person, said in wanted["people"].items()}
        return wanted

    def ensure_realm(self, name: str = REALM) -> list[str]:
        with self.admin() as admin:
            return realm.ensure(admin, self.wanted(name), self.passwords)

    def new_realm(self, name: str) -> AuthSettings:
        self.ensure_realm(name)
        return self.auth_of(name)

    def new_client(self, name: str, *, has_audience: bool = True, token_seconds: int | None = None) -> None:
        """A public client that a person may log in to with a password."""
        scopes = ["basic", "profile", "roles", *(["sightline-api"] if has_audience else [])]
        client: dict[str, Any] = {"clientId": name, "publicClient": True, "directAccessGrantsEnabled": True}
        if token_seconds is not None:
            client["attributes"] = {"access.token.lifespan": str(token_seconds)}
        with self.admin() as admin:
            admin.post(f"/admin/realms/{REALM}/clients", {**client, "defaultClientScopes": scopes})

    def new_person(self, name: str, roles: list[str]) -> None:
        """Somebody who may log in with a password and has these realm roles."""
        self.passwords[name] = f"a-password-of-{name}"
        wanted = self.wanted()
        with self.admin() as admin:
            realm.ensure(admin, wanted | {"people": {**wanted["people"], name: {"roles": roles}}}, self.passwords)

    def rotate_key(self) -> str:
        """From now on tokens are signed with a new key; the old one is still published. Returns the new key's id."""
        with self.admin() as admin:
            before = self._signing_keys(admin)
            realm_id = admin.get(f"/admin/realms/{REALM}")["id"]
            admin.post(
                f"/admin/realms/{REALM}/components",
                {
                    "name": f"rsa-{time.time_ns()}",
                    "providerId": "rsa-generated",
                    "providerType": "org.keycloak.keys.KeyProvider",
                    "parentId": realm_id,
                    "config": {"priority": [str(time.time_ns() // 1_000_000)], "algorithm": ["RS256"]},
                },
            )
            (new,) = set(self._signing_keys(admin)) - set(before)
        return new

    def key_of_today(self) -> str:
        """The id of the key that signs."""
        with self.admin() as admin:
            return str(admin.get(f"/admin/realms/{REALM}/keys")["active"]["RS256"])

    def remove_key(self, key: str) -> None:
        """The realm forgets a key: its tokens are worth nothing once the keys are fetched anew."""
        with self.admin() as admin:
            provider = self._signing_keys(admin)[key]
            admin.delete(f"/admin/realms/{REALM}/components/{provider}")

    def _signing_keys(self, admin: KeycloakAdmin) -> dict[str, str]:
        keys = admin.get(f"/admin/realms/{REALM}/keys")["keys"]
        return {key["kid"]: key["providerId"] for key in keys if key.get("algorithm") == "RS256"}

    def start(self) -> None:
        assert self.binaries.keycloak is not None
        given = program.environment(
            url=self.url,
            host="127.0.0.1",
            port=self.port,
            management_port=self.management_port,
            jdbc_url=f"jdbc:postgresql://127.0.0.1:{self.postgres.port}/{self.database}",
            user="sightline",
            password="test",
            admin_secret=ADMIN_SECRET,
        )
        command = program.command(
            self.binaries.java, self.binaries.keycloak, *program.START, java_archive=self.binaries.java_archive
        )
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=given)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError((self.folder / "log").read_text()[-6000:])
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.management_port}/health/ready", timeout=5, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None


class _Loopback(httpx.HTTPTransport):
    """Keycloak marks its cookies Secure on loopback too, where browsers take them and httpx does not."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        answer.headers = httpx.Headers(
            [(name, re.sub(rb"(?i);\s*secure", b"", value)) for name, value in answer.headers.raw]
        )
        return answer


def a_browser() -> httpx.Client:
    """Follows redirects and keeps cookies, as a person's browser does."""
    return httpx.Client(follow_redirects=True, timeout=60, trust_env=False, transport=_Loopback())


def submit(browser: httpx.Client, page: httpx.Response, **fields: str) -> httpx.Response:
    """Fills in the form of a page."""
    form = re.search(r'<form[^>]*action="([^"]+)"', page.text)
    assert form is not None, re.sub(r"\s+", " ", page.text)[-3000:]
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    return browser.post(str(page.url.join(html.unescape(form.group(1)))), data={**hidden, **fields})


@pytest.fixture(scope="session")
def keycloak() -> Iterator[KeycloakServer]:
    """The Keycloak that all tests of a session share: do not stop it, and leave its own keys alone."""
    with keycloak_server() as server:
        yield server


@contextmanager
def keycloak_server(*, mlflow_url: str = MLFLOW_URL) -> Iterator[KeycloakServer]:
    settings = Settings.load()
    full = StackSettings.model_validate({**settings.stack.model_dump(exclude_unset=True), "profile": "full"})
    binaries = install.ensure(settings.model_copy(update={"stack": full}))
    with postgres_server() as postgres, tempfile.TemporaryDirectory(prefix="sightline-keycloak-") as folder:
        server = KeycloakServer(
            binaries=binaries,
            postgres=postgres,
            database=postgres.new_database().postgres.database,
            port=free_port(),
            management_port=free_port(),
            folder=Path(folder),
            mlflow_url=mlflow_url,
        )
        try:
            server.start()
            server.ensure_realm()
            yield server
        finally:
            server.stop()
