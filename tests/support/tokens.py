"""A realm of a test's own: keys, a key set that can be fetched, and tokens of every kind, good and bad.

realm = a_realm()
realm.token(roles=["viewer"])              as Keycloak makes them
realm.forgeries("viewer")                  name → a token that must be refused
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = "http://127.0.0.1:1/realms/sightline"
AUDIENCE = "sightline-api"


@cache
def a_key(name: str) -> rsa.RSAPrivateKey:
    """The key of that name, made once per process: making one takes longer than everything else a test does."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(kw_only=True)
class Realm:
    """Signs like Keycloak."""

    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=lambda: {"key-1": a_key("key-1")})
    issuer: str = ISSUER
    fetches: int = 0
    is_away: bool = False

    def jwks(self, _url: str = "") -> Mapping[str, Any]:
        self.fetches += 1
        if self.is_away:
            import httpx

            raise httpx.ConnectError("away")
        entries = []
        for key_id, key in self.keys.items():
            entry = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
            entries.append({**entry, "kid": key_id, "use": "sig", "alg": "RS256"})
        return {"keys": entries}

    def claims(self, *, roles: list[str] | None = None, **changed: Any) -> dict[str, Any]:
        """`name=None` takes a claim away."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": [AUDIENCE, "account"],
            "sub": "6b1f7c1e-0000-4000-8000-000000000001",
            "azp": "sightline-cli",
            "typ": "Bearer",
            "iat": now - 1,
            "exp": now + 300,
            "preferred_username": "somebody",
            "realm_access": {"roles": roles or []},
        }
        claims.update(changed)
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, roles: list[str] | None = None, key: Any = None, key_id: str = "", **changed: Any) -> str:
        key_id = key_id or next(iter(self.keys))
        signing = key or self.keys[key_id]
        return jwt.encode(self.claims(roles=roles, **changed), signing, algorithm="RS256", headers={"kid": key_id})

    def forgeries(self, role: str) -> dict[str, Callable[[], str]]:
        """Every token of the matrix that carries the right role and must not get in for it."""
        now = int(time.time())
        other_realm = Realm(keys={"key-1": a_key("other realm")}, issuer=ISSUER.replace("sightline", "other"))
        return {
            "expired": lambda: self.token(roles=[role], iat=now - 900, exp=now - 600),
            "future nbf": lambda: self.token(roles=[role], nbf=now + 600),
            "wrong audience": lambda: self.token(roles=[role], aud="account"),
            "no audience": lambda: self.token(roles=[role], aud=None),
            "wrong issuer": lambda: self.token(roles=[role], iss="https://login.example/realms/sightline"),
            "other realm": lambda: other_realm.token(roles=[role]),
            "alg none": lambda: self.unsigned(role),
            "HS256 with the public key": lambda: self.signed_with_the_public_key(role),
            "other key": lambda: self.token(roles=[role], key=a_key("other")),
            "foreign client": lambda: self.token(roles=[role], azp="somebody-elses-app"),
            "ID token": lambda: self.token(roles=[role], typ="ID"),
            "refresh token": lambda: self.token(roles=[role], typ="Refresh"),
            "key rotated away": lambda: self.token(roles=[role], key=a_key("last year"), key_id="key-of-last-year"),
            "no key id": lambda: jwt.encode(
                self.claims(roles=[role]), next(iter(self.keys.values())), algorithm="RS256"
            ),
            "garbage": lambda: "not.a.token",
            "empty parts": lambda: "..",
        }

    def unsigned(self, role: str) -> str:
        return unsigned(self.claims(roles=[role]), key_id=next(iter(self.keys)))

    def signed_with_the_public_key(self, role: str) -> str:
        key_id, key = next(iter(self.keys.items()))
        return signed_with_the_public_key(self.claims(roles=[role]), key_id=key_id, public_key=key.public_key())


def unsigned(claims: Mapping[str, Any], *, key_id: str) -> str:
    """alg none."""
    return f"{_part({'alg': 'none', 'kid': key_id})}.{_part(claims)}."


def signed_with_the_public_key(claims: Mapping[str, Any], *, key_id: str, public_key: rsa.RSAPublicKey) -> str:
    """The classic: the public key taken as the secret of a symmetric signature. By hand: libraries refuse to."""
    secret = public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    body = f"{_part({'alg': 'HS256', 'kid': key_id})}.{_part(claims)}"
    signature = hmac.new(secret, body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _part(content: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
