"""Keycloak's Admin API as one account of ours sees it: a few verbs on JSON, a token that renews itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

from contracts.errors import Misconfigured, Transient
from sightline.stack.keycloak import ADMIN_CLIENT

_SECONDS: Final = 30.0
_RAISE: Final = object()


class KeycloakAdmin:
    """A session of the bootstrap's account in the realm master. Knows nothing of what our realm should be."""

    def __init__(self, url: str, secret: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=_SECONDS, trust_env=False)
        self._secret = secret
        self._token = ""
        self._until = 0.0

    def __enter__(self) -> Self:
        """For `with`."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the connections."""
        self._http.close()

    def get(self, path: str, *, missing: Any = _RAISE, **query: str) -> Any:
        """The JSON there; `missing` where there is nothing, if given.

        Raises:
            Transient: Keycloak is away.
            Misconfigured: it refuses, or has no such thing.
        """
        answer = self._ask("GET", path, query=query, accepted=(404,) if missing is not _RAISE else ())
        return missing if answer.status_code == httpx.codes.NOT_FOUND else answer.json()

    def post(self, path: str, body: Any) -> None:
        """Makes something. Raises as `get`."""
        self._ask("POST", path, body=body)

    def put(self, path: str, body: Any) -> None:
        """Changes something. Raises as `get`."""
        self._ask("PUT", path, body=body)

    def delete(self, path: str, body: Any = None) -> None:
        """Takes something away. Raises as `get`."""
        self._ask("DELETE", path, body=body)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        accepted: tuple[int, ...] = (),
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._bearer()}"}
        try:
            answer = self._http.request(method, path, json=body, params=query, headers=headers)
        except httpx.HTTPError as error:
            raise Transient(f"Keycloak is away ({type(error).__name__}): {method} {path}") from error
        if answer.is_success or answer.status_code in accepted:
            return answer
        raise _refusal(f"{method} {path}", answer)

    def _bearer(self) -> str:
        if time.monotonic() < self._until:
            return self._token
        form = {"grant_type": "client_credentials", "client_id": ADMIN_CLIENT, "client_secret": self._secret}
        try:
            answer = self._http.post("/realms/master/protocol/openid-connect/token", data=form)
        except httpx.HTTPError as error:
            raise Transient(f"Keycloak is away ({type(error).__name__})") from error
        if answer.status_code in {400, 401}:
            raise Misconfigured(
                f"Keycloak does not know the account {ADMIN_CLIENT} with its secret in logins.json: the file is not of "
                "this database. Restore it, or start over with sightline down --delete-data"
            )
        if not answer.is_success:
            raise _refusal("asking for a token", answer)
        said = answer.json()
        self._token, self._until = said["access_token"], time.monotonic() + said["expires_in"] - 15
        return self._token


def _refusal(doing: str, answer: httpx.Response) -> Transient | Misconfigured:
    """Keycloak's own words, which name fields and never values."""
    try:
        said = answer.json()
        words = said.get("errorMessage") or said.get("error_description") or said.get("error") or ""
    except (ValueError, AttributeError):
        words = ""
    message = f"Keycloak answered {answer.status_code} to {doing}: {words or 'nothing more'}"
    return Transient(message) if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR else Misconfigured(message)
