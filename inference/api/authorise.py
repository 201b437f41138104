"""One dependency of every route: the table says what it asks for, the token whether its bearer has it.

no token, or not ours      401 + WWW-Authenticate
the role is missing        403, the role named
the keys are away          503 + Retry-After: nobody gets in
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from inference.api.identity import Identity
from inference.api.permissions import PERMISSIONS, Role
from inference.api.problems import Problem

_OPEN: Final = frozenset({Role.PUBLIC, Role.TICKET})


async def authorise(request: Request) -> None:
    """Runs before the route and before its body is read; puts the bearer into request.state.identity.

    Raises:
        Problem: 401 or 403.
        Transient: nobody can be told apart from anybody.
    """
    method = "GET" if request.method == "HEAD" else request.method
    role = PERMISSIONS[(method, request.scope["route"].path)]
    if role in _OPEN:
        return
    tokens, token = request.app.state.parts.tokens, _bearer(request)
    # A thread costs as much as all the rest of the request: only a token that is new gets one.
    identity = tokens.known(token) or await run_in_threadpool(tokens.verify, token)
    if role not in identity.roles:
        raise Problem(
            403,
            "role_missing",
            f"{identity.name} lacks the role {role}: an administrator gives it in Keycloak",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{role}"'},
        )
    request.state.identity = identity


class GuardedRoute(APIRoute):
    """A route that authorises by itself and calls its function with the request alone, for the one route where every
    microsecond counts: FastAPI's dependencies cost a sixth of a request without an engine. All others have the
    dependency from the application.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        answer: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint

        async def guarded(request: Request) -> Response:
            await authorise(request)
            return await answer(request)

        return guarded


def bearer_of(request: Request) -> Identity:
    """Who asks. For routes, as `Depends(bearer_of)`; authorise ran before."""
    identity: Identity = request.state.identity
    return identity


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Problem(
            401,
            "no_token",
            "send an access token as Authorization: Bearer …; `sightline token` prints one",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return token.strip()
