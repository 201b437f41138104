"""What is wrong with a token, in plain words. The verdict is the API's own verifier's; this only explains it.

    token ─► the verifier's word ─┐
          ─► its claims, unread ──┴─► findings: what is wrong, what to do, all at once rather than one by one

Nothing of the token is repeated but names: issuer, audience, client, key id, roles.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

import jwt

from contracts.errors import Misconfigured
from contracts.settings import AuthSettings
from inference.api.identity import Identity
from inference.api.permissions import Role, roles_of, routes_at

_KINDS: Final = {"ID": "an ID token", "Refresh": "a refresh token", "Offline": "a refresh token"}
_PARTS: Final = 3  # header, claims, signature
_SHORTEST_SIGNATURE: Final = 342  # letters: of RS256 with 2048 bits, the least that is believed
_LOOPBACKS: Final = ("//localhost", "//127.0.0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    code: str  # the API's own
    what: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The whole answer."""

    is_accepted: bool
    findings: tuple[Finding, ...]
    name: str = ""
    client: str = ""
    roles: tuple[str, ...] = ()
    seconds_left: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a token is held against."""

    auth: AuthSettings
    now: float  # this machine's clock, seconds since 1970
    keys: Collection[str] | None = None  # ids of the realm's keys; None: they cannot be fetched
    server_clock: float | None = None  # Keycloak's


def diagnose(
    token: str,
    verdict: Identity | str,
    around: Circumstances,
    route: tuple[str, str] | None = None,
) -> Diagnosis:
    """Explains a verdict.

    Args:
        token: what was judged.
        verdict: whom the verifier found, or the code with which it refused.
        around: settings, clocks, keys.
        route: method and path that the token is meant for.
    """
    header, claims = _unread(token)
    if claims is None:
        findings = list(_form(token))
    else:
        findings = list(_signature(header, claims, around, verdict, is_cut=_is_cut(token)))
        findings += [*_sender(claims, around.auth), *_times(claims, around), *_meant_for(claims, around.auth)]
    if isinstance(verdict, str) and all(finding.code != verdict for finding in findings):
        findings.append(Finding(code=verdict, what=f"the API refuses it: {verdict}", advice="get another token"))
    roles = _roles(claims or {})
    if route is not None and claims is not None:
        findings += _missing_role(route, roles)
    left = claims.get("exp") if claims else None
    return Diagnosis(
        is_accepted=not isinstance(verdict, str) and not findings,
        findings=tuple(findings),
        name=str((claims or {}).get("preferred_username", "")),
        client=str((claims or {}).get("azp", "")),
        roles=tuple(sorted(set(roles) & {role.value for role in Role})),
        seconds_left=int(left - around.now) if isinstance(left, int | float) else None,
    )


def roles_at(method: str, path: str) -> tuple[str, tuple[Role, ...]]:
    """The route in the API's table, and the roles that open it; `path` may be of the table or a real one.

    Raises:
        Misconfigured: there is no such route.
    """
    for known, pattern in routes_at(path.partition("?")[0]):
        if known == method.upper():
            return pattern, roles_of((known, pattern))
    raise Misconfigured(f"the API has no route {method.upper()} {path}: /docs lists them")


def _unread(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """Header and claims as they stand there, believed by nobody; no claims where they cannot be read."""
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False, "verify_exp": False, "verify_aud": False})
    except (jwt.InvalidTokenError, ValueError):
        return {}, None
    return header, claims


def _form(token: str) -> Iterator[Finding]:
    parts = token.count(".") + 1
    if not token:
        what = "the token is empty"
    elif token.lower().startswith("bearer"):
        what = "this is no token: it begins with the word Bearer"
    elif parts != _PARTS:
        counted = "1 part" if parts == 1 else f"{parts} parts between dots"
        what = f"this is no token: it has {counted} where a token has {_PARTS}"
    elif _is_cut(token):
        what = "this is no whole token: its end is missing"
    else:
        what = "this is no token: its parts are not base64 of JSON"
    yield Finding(code="malformed", what=what, advice="`sightline token` prints one; take all of it")


def _is_cut(token: str) -> bool:
    """Whether a signature is shorter than any that RS256 makes, behind a header and claims that are whole."""
    begin, _, signature = token.rpartition(".")
    _, claims = _unread(f"{begin}.")
    return claims is not None and len(signature) < _SHORTEST_SIGNATURE


def _signature(
    header: Mapping[str, Any],
    claims: Mapping[str, Any],
    around: Circumstances,
    verdict: Identity | str,
    *,
    is_cut: bool,
) -> Iterator[Finding]:
    algorithm, key = str(header.get("alg", "")), header.get("kid")
    if algorithm.lower() == "none":
        yield Finding(
            code="wrong_algorithm",
            what="it is not signed (alg none): anybody can write it",
            advice="log in; never make tokens",
        )
    elif algorithm.startswith("HS"):
        yield Finding(
            code="wrong_algorithm",
            what=f"it is signed with a shared secret ({algorithm}), not with the realm's key (RS256)",
            advice="get it from Keycloak; whoever made it only knows the public key",
        )
    elif algorithm != "RS256":
        yield Finding(
            code="wrong_algorithm", what=f"it is signed with {algorithm}, not RS256", advice="get it from Keycloak"
        )
    elif around.keys is None:
        yield Finding(
            code="keys_away",
            what="Keycloak does not give its keys, so nothing can be said about the signature",
            advice="`sightline status` says whether it runs; SIGHTLINE_AUTH__JWKS_URL says where it is looked for",
        )
    elif key not in around.keys:
        is_ours = claims.get("iss") == around.auth.issuer
        yield Finding(
            code="unknown_key",
            what=f"the realm has no key {key}"
            + (": it was rotated away, or never the realm's" if is_ours else ", for another realm signed it"),
            advice="log in again: `sightline login`",
        )
    elif is_cut:
        yield Finding(code="bad_signature", what="its end is missing", advice="take all of it, or get another token")
    elif verdict == "bad_signature":
        yield Finding(
            code="bad_signature", what=f"key {key} did not sign this: it was changed, or forged", advice="log in again"
        )


def _sender(claims: Mapping[str, Any], auth: AuthSettings) -> Iterator[Finding]:
    kind, issuer, client = claims.get("typ"), claims.get("iss"), claims.get("azp")
    if kind != "Bearer":
        yield Finding(
            code="not_an_access_token",
            what=f"it is {_KINDS.get(str(kind), 'no access token')} (typ {kind})",
            advice="send the access token: the field access_token of Keycloak's answer",
        )
    if issuer != auth.issuer:
        hosts = (str(issuer), auth.issuer)
        hint = " (localhost and 127.0.0.1 are two names)" if _are_loopbacks(*hosts) else ""
        yield Finding(
            code="wrong_issuer",
            what=f"{issuer} issued it, the API believes {auth.issuer}{hint}",
            advice="log in to this installation; or correct SIGHTLINE_AUTH__ISSUER, letter by letter",
        )
    if client is not None and not any(fnmatchcase(str(client), pattern) for pattern in auth.clients):
        yield Finding(
            code="foreign_client",
            what=f"the client {client} got it; believed are {', '.join(auth.clients)}",
            advice="log in through a client of ours, or add it to SIGHTLINE_AUTH__CLIENTS",
        )


def _are_loopbacks(one: str, other: str) -> bool:
    return any(a in one and b in other for a in _LOOPBACKS for b in _LOOPBACKS if a != b)


def _meant_for(claims: Mapping[str, Any], auth: AuthSettings) -> Iterator[Finding]:
    given = claims.get("aud", [])
    audience = [given] if isinstance(given, str) else list(given)
    if auth.audience not in audience:
        yield Finding(
            code="wrong_audience" if audience else "claims_missing",
            what=f"it is for {', '.join(map(str, audience)) or 'nobody'}, not for {auth.audience}",
            advice=f"give the client the client scope {auth.audience} in Keycloak: it puts the API into the audience",
        )
    missing = [name for name in ("exp", "iat", "sub", "azp") if name not in claims]
    if missing:
        yield Finding(
            code="claims_missing",
            what=f"it lacks {', '.join(missing)}",
            advice="get it from Keycloak, of a client of ours",
        )


def _times(claims: Mapping[str, Any], around: Circumstances) -> Iterator[Finding]:
    leeway, now = around.auth.leeway_seconds, around.now
    ends, begins = claims.get("exp"), max(_number(claims.get("nbf")), _number(claims.get("iat")))
    skew = "" if around.server_clock is None else _skew(now - around.server_clock, leeway)
    if isinstance(ends, int | float) and now >= ends + leeway:
        yield Finding(
            code="expired",
            what=f"it ended {now - ends:.0f} s ago ({leeway} s are forgiven){skew}",
            advice="get another: `sightline token`",
        )
    if begins > now + leeway:
        yield Finding(
            code="not_yet_valid",
            what=f"it begins in {begins - now:.0f} s ({leeway} s are forgiven){skew}",
            advice="set the clocks of both machines by NTP",
        )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _skew(seconds: float, leeway: int) -> str:
    if abs(seconds) <= max(1, leeway / 2):
        return "; this clock and Keycloak's agree"
    return f"; this clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} Keycloak's"


def _roles(claims: Mapping[str, Any]) -> list[str]:
    access = claims.get("realm_access")
    roles = access.get("roles") if isinstance(access, Mapping) else None
    return [str(role) for role in roles] if isinstance(roles, list) else []


def _missing_role(route: tuple[str, str], roles: Collection[str]) -> Iterator[Finding]:
    pattern, opening = roles_at(*route)
    if not {Role.PUBLIC, Role.TICKET, *roles}.isdisjoint(opening):
        return
    yield Finding(
        code="role_missing",
        what=f"{route[0].upper()} {pattern} asks for the role {' or '.join(opening)}, which is not among its roles",
        advice="an administrator gives it in Keycloak; it counts from the next token on",
    )


def clock() -> float:
    """This machine's."""
    return time.time()
