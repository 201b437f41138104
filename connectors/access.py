"""Who we are when we ask the API or MLflow: an access token, of a service account or of the person who logged in.

    login.service_id, service_secret ──client credentials──► token
    sightline login ──device flow──► token file (0600) ──refresh, when it is about to end──► token

Keycloak is asked where its keys lie (auth.jwks_url): inside a cluster that is another address than the issuer's. A
token is in no message and no log.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from contracts.errors import Misconfigured, Transient
from contracts.settings import Settings

_SECONDS: Final = 10.0
_SPARE_SECONDS: Final = 30.0  # a token that ends sooner is not given away any more
_SLOWER_SECONDS: Final = 5.0  # RFC 8628 3.5
_NOBODY: Final = (
    "nobody is logged in: run `sightline login`, or set SIGHTLINE_LOGIN__SERVICE_ID and SIGHTLINE_LOGIN__SERVICE_SECRET"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What the token file holds. Valid at one issuer."""

    issuer: str
    client: str  # that they were issued to
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    until: float  # seconds since 1970: when the access token ends


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLogin:
    """A login that has begun: a person opens `url` and enters `code`, or opens `whole_url`."""

    url: str
    code: str
    whole_url: str
    seconds: float  # then it is over
    pause: float  # between two questions
    device_code: str = field(repr=False)
    proof: str = field(repr=False)  # PKCE


class Access:
    """Gives tokens that are still good for a while; keeps the last one. For one thread, or behind a lock."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept = ("", 0.0)

    def token(self) -> str:
        """An access token.

        Raises:
            Misconfigured: nobody is logged in, the login has ended, or the account is refused.
            Transient: Keycloak is away.
        """
        token, until = self._kept
        if time.time() < until - _SPARE_SECONDS:
            return token
        login = self._settings.login
        self._kept = self._of_account() if login.service_id else self._of_person()
        return self._kept[0]

    def _of_account(self) -> tuple[str, float]:
        login = self._settings.login
        form = {"client_id": login.service_id, "client_secret": login.service_secret.get_secret_value()}
        said = _asked(self._settings, "token", {"grant_type": "client_credentials", **form})
        if "error" in said:
            raise Misconfigured(
                f"Keycloak refuses the account {login.service_id} ({said['error']}): "
                "correct SIGHTLINE_LOGIN__SERVICE_ID and SIGHTLINE_LOGIN__SERVICE_SECRET"
            )
        return said["access_token"], time.time() + said["expires_in"]

    def _of_person(self) -> tuple[str, float]:
        kept = read(self._settings)
        if kept is None:
            raise Misconfigured(_NOBODY)
        if time.time() >= kept.until - _SPARE_SECONDS:
            form = {"grant_type": "refresh_token", "client_id": kept.client, "refresh_token": kept.refresh_token}
            said = _asked(self._settings, "token", form)
            if "error" in said:
                raise Misconfigured(f"the login has ended ({said['error']}): run `sightline login` once more")
            kept = _save(self._settings, kept.client, said)
        return kept.access_token, kept.until


def access_token(settings: Settings) -> str:
    """One token. Who needs several holds an `Access`. Raises as `Access.token`."""
    return Access(settings).token()


def is_somebody(settings: Settings) -> bool:
    """Whether there is an account or a login that a token could come from. Asks nobody."""
    return bool(settings.login.service_id) or read(settings) is not None


def begin_login(settings: Settings) -> DeviceLogin:
    """Begins a login for a person who has a browser somewhere.

    Raises:
        Misconfigured: Keycloak refuses the client.
        Transient: it is away.
    """
    proof = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(proof.encode()).digest()).rstrip(b"=").decode()
    form = {"client_id": settings.login.client_id, "scope": "openid"}
    pkce = {"code_challenge": challenge, "code_challenge_method": "S256"}
    said = _asked(settings, "auth/device", {**form, **pkce})
    if "error" in said:
        raise Misconfigured(f"Keycloak refuses the client {settings.login.client_id} ({said['error']})")
    return DeviceLogin(
        url=said["verification_uri"],
        code=said["user_code"],
        whole_url=said["verification_uri_complete"],
        seconds=said["expires_in"],
        pause=said.get("interval", _SLOWER_SECONDS),
        device_code=said["device_code"],
        proof=proof,
    )


def finish_login(settings: Settings, login: DeviceLogin, *, sleep: Callable[[float], None] = time.sleep) -> Tokens:
    """Waits for the person, then keeps the tokens.

    Raises:
        Misconfigured: the person refused, or let the time pass.
        Transient: Keycloak is away.
    """
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "client_id": settings.login.client_id,
        "device_code": login.device_code,
        "code_verifier": login.proof,
    }
    pause = login.pause
    while True:
        sleep(pause)
        said = _asked(settings, "token", form)
        error = said.get("error")
        if error is None:
            return _save(settings, settings.login.client_id, said)
        if error == "slow_down":
            pause += _SLOWER_SECONDS
        elif error != "authorization_pending":
            raise Misconfigured(f"the login did not come about ({error}): run `sightline login` once more")


def with_password(settings: Settings, *, client: str, user: str, password: str, is_kept: bool) -> Tokens:
    """The tokens of a demo user of a local stack; an installation's clients take no passwords.

    Raises:
        Misconfigured: Keycloak refuses.
        Transient: it is away.
    """
    form = {"grant_type": "password", "client_id": client, "username": user, "password": password, "scope": "openid"}
    said = _asked(settings, "token", form)
    if "error" in said:
        raise Misconfigured(f"Keycloak refuses {user} ({said['error']}): was the password changed there?")
    return _save(settings, client, said) if is_kept else _tokens(settings, client, said)


def forget(settings: Settings) -> bool:
    """Ends the login, at Keycloak too where it answers. Returns whether there was one."""
    kept = read(settings)
    if kept is None:
        return False
    _file(settings).unlink(missing_ok=True)
    with suppress(Transient):  # it ends by itself
        _asked(settings, "logout", {"client_id": kept.client, "refresh_token": kept.refresh_token})
    return True


def read(settings: Settings) -> Tokens | None:
    """Who is logged in at this issuer; None when nobody is, or elsewhere."""
    try:
        found = Tokens(**json.loads(_file(settings).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.issuer == settings.auth.issuer else None


def _save(settings: Settings, client: str, said: Mapping[str, Any]) -> Tokens:
    tokens = _tokens(settings, client, said)
    file = _file(settings)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mkstemp makes it 0600
    with os.fdopen(handle, "w") as stream:
        json.dump(asdict(tokens), stream)
    Path(name).replace(file)
    return tokens


def _tokens(settings: Settings, client: str, said: Mapping[str, Any]) -> Tokens:
    return Tokens(
        issuer=settings.auth.issuer,
        client=client,
        access_token=said["access_token"],
        refresh_token=said["refresh_token"],
        until=time.time() + said["expires_in"],
    )


def _file(settings: Settings) -> Path:
    return settings.login.token_file.expanduser()


def _asked(settings: Settings, endpoint: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Keycloak's answer; a refusal has "error" in it.

    Raises:
        Transient: it is away, or failed.
        Misconfigured: what answers there is not it.
    """
    base = settings.auth.jwks_url.removesuffix("/certs")
    try:
        answer = httpx.post(f"{base}/{endpoint}", data=dict(form), timeout=_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        raise Transient(
            f"Keycloak is away ({type(error).__name__}); a local stack has one after `sightline up --profile full`"
        ) from error
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise Transient(f"Keycloak failed ({answer.status_code})")
    if answer.status_code == httpx.codes.NO_CONTENT:
        return {}
    try:
        said = answer.json()
    except ValueError:
        said = None
    if not isinstance(said, dict) or (answer.is_error and "error" not in said):
        raise Misconfigured("what answers at SIGHTLINE_AUTH__JWKS_URL is not Keycloak's realm: correct it")
    return said
