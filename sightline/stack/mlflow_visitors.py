"""Who asks MLflow, and with which rights: three ways to say so, one judge (Keycloak).

    Authorization: Bearer <access token>           a person's or account's, from `sightline token`
    Authorization: Basic <account>:<its secret>    a service: the secret is shown to Keycloak, the answer kept a while
    a cookie                                       a browser that came back from Keycloak's login page

The rights are the token's roles of the client sightline-mlflow. Fails closed: Keycloak away and nothing kept: nobody.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import jwt

from contracts.errors import Transient
from contracts.settings import Settings
from inference.api.problems import Problem
from inference.api.tokens import Verifier
from sightline.stack.mlflow_rights import Right

_SECONDS: Final = 10.0
_MOST_KEPT: Final = 1000
_LOGIN_SECONDS: Final = 600  # for a person in front of the login page


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who asks."""

    name: str
    rights: frozenset[Right]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A browser that is logged in."""

    visitor: Visitor
    until: float  # monotonic: then the refresh token is shown
    refresh_token: str


class Visitors:
    """Tells visitors apart. Safe for several threads; sessions live as long as this process."""

    def __init__(self, settings: Settings, verifier: Verifier | None = None) -> None:
        self._client = settings.login.service_id
        self._secret = settings.login.service_secret.get_secret_value()
        self._server = settings.auth.jwks_url.removesuffix("/certs")  # as reached from here
        self._pages = f"{settings.auth.issuer}/protocol/openid-connect"  # as browsers reach it
        self._verifier = verifier or Verifier(settings.auth.model_copy(update={"audience": self._client}))
        self.url = settings.mlflow.tracking_uri
        self._accounts: OrderedDict[bytes, tuple[float, Visitor]] = OrderedDict()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._logins: OrderedDict[str, tuple[float, str, str]] = OrderedDict()  # state ─► until, PKCE verifier, page
        self._lock = threading.Lock()

    def of_header(self, header: str) -> Visitor:
        """Who sends this Authorization header.

        Raises:
            Problem: nobody whom Keycloak knows (401).
            Transient: Keycloak is away.
        """
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer":
            return self._of_token(value.strip())
        if scheme.lower() == "basic":
            return self._of_account(value.strip())
        raise Problem(401, "no_login", "send a token as Authorization: Bearer, or an account as Basic")

    def of_session(self, name: str) -> Visitor | None:
        """Whose browser this is; None when nobody's, or no longer."""
        with self._lock:
            session = self._sessions.get(name)
        if session is None or time.monotonic() < session.until:
            return None if session is None else session.visitor
        try:
            renewed = self._session({"grant_type": "refresh_token", "refresh_token": session.refresh_token})
        except Problem:
            self.end(name)
            return None
        self._keep(self._sessions, name, renewed)
        return renewed.visitor

    def login_page(self, back_to: str) -> str:
        """Where a browser goes to log in; it comes back with a code to `<url>/login/callback`."""
        state, proof = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
        self._keep(self._logins, state, (time.monotonic() + _LOGIN_SECONDS, proof, back_to))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(proof.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": self._client, "response_type": "code", "scope": "openid", "state": state,
            "redirect_uri": f"{self.url}/login/callback", "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        return f"{self._pages}/auth?{urlencode(query)}"

    def begin(self, code: str, state: str) -> tuple[str, str]:
        """The name of a new session, and the page that was asked for.

        Raises:
            Problem: the code is not of a login that began here.
            Transient: Keycloak is away.
        """
        with self._lock:
            until, proof, back_to = self._logins.pop(state, (0.0, "", ""))
        if time.monotonic() > until:
            raise Problem(401, "login_expired", "this login did not begin here, or took too long: open the page again")
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": proof}
        session = self._session({**form, "redirect_uri": f"{self.url}/login/callback"})
        name = secrets.token_urlsafe(32)
        self._keep(self._sessions, name, session)
        return name, back_to

    def end(self, name: str) -> None:
        """Forgets a browser."""
        with self._lock:
            self._sessions.pop(name, None)

    def _session(self, form: Mapping[str, str]) -> Session:
        said = self._ask({**form, "client_id": self._client, "client_secret": self._secret})
        visitor = self._of_token(said["access_token"])
        until = time.monotonic() + max(10, int(said["expires_in"]) - 15)
        return Session(visitor=visitor, until=until, refresh_token=said["refresh_token"])

    def _of_account(self, value: str) -> Visitor:
        digest = hashlib.sha256(value.encode()).digest()
        with self._lock:
            until, known = self._accounts.get(digest, (0.0, None))
        if known is not None and time.monotonic() < until:
            return known
        try:
            account, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, ValueError) as error:
            raise Problem(401, "malformed", "this is no account and secret") from error
        said = self._ask({"grant_type": "client_credentials", "client_id": account, "client_secret": secret})
        visitor = self._of_token(said["access_token"])
        self._keep(self._accounts, digest, (time.monotonic() + max(10, int(said["expires_in"]) - 15), visitor))
        return visitor

    def _of_token(self, token: str) -> Visitor:
        identity = self._verifier.verify(token)
        claims = jwt.decode(token, options={"verify_signature": False})  # it was verified in the line above
        roles = claims.get("resource_access", {}).get(self._client, {}).get("roles", [])
        rights = frozenset(right for right in (Right.READ, Right.WRITE, Right.ALIASES) if right in roles)
        return Visitor(name=identity.name, rights=rights)

    def _ask(self, form: Mapping[str, str]) -> dict[str, Any]:
        try:
            answer = httpx.post(f"{self._server}/token", data=dict(form), timeout=_SECONDS, trust_env=False)
        except httpx.HTTPError as error:
            raise Transient(f"Keycloak is away ({type(error).__name__}), so nobody can log in") from error
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Transient(f"Keycloak failed ({answer.status_code}), so nobody can log in")
        if answer.status_code != httpx.codes.OK:
            raise Problem(401, "refused", "Keycloak does not know this account, or its secret is another")
        said: dict[str, Any] = answer.json()
        return said

    def _keep(self, kept: OrderedDict[Any, Any], name: Any, value: Any) -> None:
        with self._lock:
            kept[name] = value
            while len(kept) > _MOST_KEPT:
                kept.popitem(last=False)
