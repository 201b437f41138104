"""The platform's REST API as commands and jobs ask it: with a token, one call a request, failures as ours.

    Api(settings).post("/v1/models/7/challenger") ──► the answer's JSON

no connection, 502, 503, 504     Transient, with the API's own Retry-After
401, 403                         Misconfigured: who asks may not
other 4xx                        Rejected, in the API's own words and with its code
500                              Misconfigured: the API itself must be looked at
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib import import_module
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from contracts.errors import Misconfigured, PipelineError, Rejected, Transient
from contracts.settings import Settings

_TIMEOUT_SECONDS: Final = 30.0
_AWAY: Final = frozenset({502, 503, 504})
_MAY_NOT: Final = frozenset({401, 403})


class Api:
    """One client; close it, or use it in a with."""

    def __init__(
        self,
        settings: Settings,
        *,
        token: Callable[[Settings], str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Asks nobody yet.

        Args:
            settings: where the API is, and who we are.
            token: gives the access token; without it, the login or the service account of the settings.
            transport: instead of the network, for tests.
        """
        self._settings = settings
        self._token = token or _access_token
        self._client = httpx.Client(base_url=settings.api.url, timeout=_TIMEOUT_SECONDS, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def get(self, path: str, **params: str | int) -> Any:
        """Reads. Raises as the module says."""
        return self._ask("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Has something done. Raises as the module says."""
        return self._ask("POST", path, json=body)

    def delete(self, path: str) -> Any:
        """Has something taken away. Raises as the module says."""
        return self._ask("DELETE", path)

    def _ask(self, method: str, path: str, **rest: Any) -> Any:
        headers = {"Authorization": f"Bearer {self._token(self._settings)}"}
        try:
            answer = self._client.request(method, path, headers=headers, **rest)
        except httpx.HTTPError as error:
            raise Transient(
                f"the API at {self._settings.api.url} does not answer ({type(error).__name__}): start it with "
                "`sightline up --profile full`, or set SIGHTLINE_API__URL"
            ) from error
        if answer.is_success:
            return answer.json() if answer.content else None
        raise _translated(answer, f"{method} {path}")


def quoted(part: str) -> str:
    """A piece of a path that came from outside."""
    return quote(part, safe="")


def _access_token(settings: Settings) -> str:
    # Late: only who asks the API needs the login.
    token: str = import_module("connectors.access").access_token(settings)
    return token


def _translated(answer: httpx.Response, what: str) -> PipelineError:
    problem = _problem(answer)
    code, detail = str(problem.get("code", "refused")), str(problem.get("detail", answer.reason_phrase))
    words = f"{what}: {detail} ({answer.status_code} {code})"
    if answer.status_code in _AWAY:
        seconds = answer.headers.get("Retry-After", "1")
        return Transient(words, retry_after=timedelta(seconds=int(seconds) if seconds.isdigit() else 1))
    if answer.status_code in _MAY_NOT:
        return Misconfigured(f"{words}; `sightline auth doctor` explains the token")
    if answer.status_code >= 500:
        return Misconfigured(f"{words}; the API's log says why")
    return Rejected(words, code=code)


def _problem(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
