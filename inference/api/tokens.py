"""Is this token ours, and what may its bearer do? Fails closed.

    token ─► header: RS256, a key id ─► key (kept; fetched once more for an unknown id) ─► signature
          ─► issuer, audience, times ─► an access token, not an ID or a refresh token ─► a client of ours ─► Identity

A verified token is remembered by its digest until it expires: access tokens live five minutes, and a signature costs
as much as everything else the service does for a request. A key that is taken away stops counting when the kept keys
are fetched anew, after `keys_seconds`. While Keycloak is away they count for `keys_grace_seconds` longer: no token
lives longer than that, so an outage takes nobody's token before its time. Then nobody gets in.

    no_token · malformed · wrong_algorithm · unknown_key · bad_signature · wrong_issuer · wrong_audience · expired
    not_yet_valid · not_an_access_token · foreign_client · claims_missing     401, the code says which
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import httpx
import jwt
from jwt import PyJWK, PyJWKSet

from contracts.errors import Transient
from contracts.logs import get_logger
from contracts.settings import AuthSettings
from inference.api.identity import Identity
from inference.api.problems import Problem

ALGORITHM: Final = "RS256"  # Keycloak's default; named here and never taken from the token
_REQUIRED: Final = ("exp", "iat", "iss", "aud", "sub", "azp")
_ACCESS_TOKEN: Final = "Bearer"  # noqa: S105 - the claim `typ` of Keycloak's access tokens; ID, Refresh, Offline are others
CAMERAS_CLAIM: Final = "cameras"  # of accounts with the role camera: the ids that they may send as
_FETCH_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 5.0  # between two tries while none succeeds
_MOST_REMEMBERED: Final = 4096
_LONGEST_TOKEN: Final = 16 * 1024

_UNREADABLE: Final = "this is no token that can be read: `sightline token` prints one, `sightline auth doctor` says what is wrong with it"

_log = get_logger(__name__)

# What PyJWT raises ─► our code, and what to do. The first that fits counts.
_REASONS: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (jwt.ExpiredSignatureError, "expired", "the token has expired: get another (`sightline token`)"),
    (jwt.ImmatureSignatureError, "not_yet_valid", "the token is not valid yet: compare the clocks of the machines"),
    (jwt.InvalidIssuedAtError, "not_yet_valid", "the token was issued in the future: compare the clocks"),
    (jwt.InvalidIssuerError, "wrong_issuer", "another issuer made this token: log in to this installation's realm"),
    (jwt.InvalidAudienceError, "wrong_audience", "the token is for another service: its audience lacks this API"),
    (jwt.MissingRequiredClaimError, "claims_missing", "the token lacks a claim that an access token has"),
    (jwt.InvalidAlgorithmError, "wrong_algorithm", f"only {ALGORITHM} is believed"),
    (jwt.InvalidSignatureError, "bad_signature", "the signature does not fit: the token was changed or made elsewhere"),
)


class Verifier:
    """Verifies tokens by the realm's keys. Safe for several threads."""

    def __init__(
        self,
        settings: AuthSettings,
        *,
        fetch: Callable[[str], Mapping[str, Any]] | None = None,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._keys = _Keys(settings, fetch or _fetch, ticks)
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[float, str, Identity]] = OrderedDict()
        self._lock = threading.Lock()

    def remembered(self, token: str) -> Identity | None:
        """See TokenVerifier."""
        return self._recall(_digest(token))

    def verify(self, token: str) -> Identity:
        """See TokenVerifier."""
        digest = _digest(token)
        if (known := self._recall(digest)) is not None:
            return known
        if len(token) > _LONGEST_TOKEN:
            raise refused("malformed", "this is no access token, it is far too long: `sightline token` prints one")
        key_id = _key_id(token)
        claims = self._claims(token, self._keys.find(key_id))
        identity = _identity(claims)
        with self._lock:
            self._remembered[digest] = (claims["exp"] + self._settings.leeway_seconds, key_id, identity)
            while len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return identity

    def _recall(self, digest: bytes) -> Identity | None:
        with self._lock:
            found = self._remembered.get(digest)
        if found is None or found[0] <= self._clock() or not self._keys.is_trusted(found[1]):
            return None
        return found[2]

    def _claims(self, token: str, key: PyJWK) -> dict[str, Any]:
        settings = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,  # the bare key: the algorithm is ours to name, not the key set's
                algorithms=[ALGORITHM],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": list(_REQUIRED), "enforce_minimum_key_length": True},
            )
        except jwt.InvalidTokenError as error:
            code, advice = next(
                ((code, advice) for kind, code, advice in _REASONS if isinstance(error, kind)),
                ("malformed", _UNREADABLE),
            )
            raise refused(code, advice) from error
        if claims.get("typ") != _ACCESS_TOKEN:
            raise refused("not_an_access_token", "send the access token, not the ID or refresh token")
        if not any(fnmatchcase(str(claims["azp"]), pattern) for pattern in settings.clients):
            raise refused("foreign_client", "the token was issued to a client that this service does not know")
        return claims


class _Keys:
    """The realm's public keys, kept for a while, fetched at most once per cooldown for an id that is unknown."""

    def __init__(
        self, settings: AuthSettings, fetch: Callable[[str], Mapping[str, Any]], ticks: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._fetch = fetch
        self._ticks = ticks
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at = -float("inf")
        self._tried_at = -float("inf")
        self._failed_at = -float("inf")
        self._lock = threading.Lock()

    def is_trusted(self, key_id: str) -> bool:
        """Whether a key that verified a token once still counts. Asked for each request: no fetch unless one is due."""
        if self._ticks() - self._fetched_at < self._settings.keys_seconds:
            return key_id in self._keys
        return False  # kept too long: the token is verified anew, by keys fetched anew

    def find(self, key_id: str) -> PyJWK:
        """The key of that id.

        Raises:
            Problem: the realm has no such key (401).
            Transient: the keys cannot be fetched and none is known that is young enough.
        """
        with self._lock:
            now = self._ticks()
            is_stale = now - self._fetched_at >= self._settings.keys_seconds
            may_ask = now - self._tried_at >= self._settings.cooldown_seconds or self._fetched_at == -float("inf")
            if is_stale or (key_id not in self._keys and may_ask):
                self._refresh(now)
            found = self._keys.get(key_id)
        if found is None:
            raise refused("unknown_key", "the realm has no such key: it was rotated away, or another realm signed this")
        return found

    def _refresh(self, now: float) -> None:
        is_in_grace = now - self._fetched_at < self._settings.keys_seconds + self._settings.keys_grace_seconds
        if now - self._failed_at < _PATIENCE_SECONDS:  # a Keycloak that does not answer must not hold up every request
            if is_in_grace:
                return
            raise self._away("asked a moment ago")
        self._tried_at = now
        try:
            keys = PyJWKSet.from_dict(dict(self._fetch(self._settings.jwks_url))).keys
        except (httpx.HTTPError, jwt.PyJWKError, ValueError, TypeError) as error:
            self._failed_at = now
            if is_in_grace:
                _log.warning("keys_not_fetched", reason=type(error).__name__, next="going on with those that are known")
                return
            raise self._away(type(error).__name__) from error
        usable = (key for key in keys if key.key_id and key.key_type == "RSA" and key.public_key_use in {None, "sig"})
        self._keys = {str(key.key_id): key for key in usable}
        self._fetched_at = now

    @staticmethod
    def _away(why: str) -> Transient:
        return Transient(
            f"Keycloak's keys cannot be fetched ({why}), so no token can be checked: `sightline status` says whether "
            "it runs",
            is_public=True,
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _fetch(url: str) -> Mapping[str, Any]:
    answer = httpx.get(url, timeout=_FETCH_SECONDS, trust_env=False)
    answer.raise_for_status()
    found: Mapping[str, Any] = answer.json()
    return found


def _key_id(token: str) -> str:
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError as error:
        raise refused("malformed", _UNREADABLE) from error
    if header.get("alg") != ALGORITHM:
        raise refused("wrong_algorithm", f"only {ALGORITHM} is believed")
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise refused("unknown_key", "the token names no key")
    return key_id


def _identity(claims: Mapping[str, Any]) -> Identity:
    access = claims.get("realm_access")
    roles = access.get("roles", []) if isinstance(access, Mapping) else []
    return Identity(
        subject=str(claims["sub"]),
        name=str(claims.get("preferred_username") or claims["sub"]),
        roles=frozenset(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else frozenset(),
        client=str(claims["azp"]),
        cameras=_cameras(claims.get(CAMERAS_CLAIM)),
    )


def _cameras(claim: object) -> tuple[str, ...] | None:
    """One id or a list of them. What cannot be understood allows nothing: it was meant to restrict."""
    if claim is None:
        return None
    named = claim if isinstance(claim, list) else [claim]
    return tuple(name for name in named if isinstance(name, str))


def refused(code: str, detail: str) -> Problem:
    """401. The token itself is in no message."""
    return Problem(
        401, code, detail, headers={"WWW-Authenticate": f'Bearer error="invalid_token", error_description="{code}"'}
    )
