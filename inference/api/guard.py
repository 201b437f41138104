"""The door of every route: the table says what it asks for, the token whether its bearer has it.

router = APIRouter(route_class=GuardedRoute)      before a body is read, and before anything else of the route runs

no token, or not ours      401 + WWW-Authenticate
the role is missing        403, the role named
the keys are away          503 + Retry-After: nobody gets in
NUL in the address         422: no store could be asked for it
an option it has not       422: a misspelt filter would filter nothing; public routes do not care
a body of JSON over 256 KiB 413, given up as soon as it is
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Message

from contracts.errors import Misconfigured
from inference.api.identity import Identity
from inference.api.options import declared, refuse_unknown
from inference.api.permissions import PERMISSIONS, Role, roles_of
from inference.api.problems import BodyProblem, Problem

# What FastAPI reads and parses in one go, and answers error by error: a review of a thousand boxes has some 200 KiB.
JSON_BYTES: Final = 256 * 1024
_OPEN: Final = frozenset({Role.PUBLIC, Role.TICKET})


class GuardedRoute(APIRoute):
    """A route that asks who is there before it does anything. As a dependency it would come after FastAPI had read and
    parsed the body of whoever sends one.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        handle = super().get_route_handler()
        takes_json = self.body_field is not None
        options = declared(self)

        async def guarded(request: Request) -> Response:
            await authorise(request)
            _check_address(request, options)
            return await handle(_bounded(request) if takes_json else request)

        return guarded


class OwnRoute(GuardedRoute):
    """A guarded route whose function takes the request alone and answers with a Response: nothing is left for FastAPI
    to read, check or convert, and looking for it would take a tenth of a request's time.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        endpoint = self.endpoint
        options = declared(self)

        async def guarded(request: Request) -> Response:
            await authorise(request)
            _check_address(request, options)
            response: Response = await endpoint(request)
            return response

        return guarded


def _check_address(request: Request, options: tuple[str, ...]) -> None:
    """NUL for every text at once: one that a route forgot to bound would fail in Postgres."""
    query: bytes = request.scope["query_string"]
    if "\0" in request.scope["path"] or b"%00" in query:
        raise Problem(422, "invalid_request", "the address holds the character NUL: leave it out")
    if query and PERMISSIONS[_route_of(request)] not in _OPEN:
        refuse_unknown(query, options)


def _bounded(request: Request) -> Request:
    """The request, whose body ends it where it is too large."""
    left = JSON_BYTES

    async def receive() -> Message:
        nonlocal left
        message = await request.receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise BodyProblem(413, "body_too_large", f"the body has more than {JSON_BYTES} bytes: send less at once")
        return message

    return Request(request.scope, receive)


async def authorise(request: Request) -> None:
    """Puts the bearer into request.state.identity.

    Raises:
        Problem: 401 or 403.
        Transient: nobody can be told apart from anybody.
    """
    route = _route_of(request)
    role = PERMISSIONS[route]
    if role in _OPEN:
        return
    tokens, token = request.app.state.parts.tokens, _bearer(request)
    # The way to another thread and back costs more than all else that is done for a request.
    identity = tokens.remembered(token) or await run_in_threadpool(tokens.verify, token)
    if role not in identity.roles and identity.roles.isdisjoint(roles_of(route)):
        raise Problem(
            403,
            "role_missing",
            f"{identity.name} lacks the role {' or '.join(roles_of(route))}: an administrator gives it in Keycloak",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{role}"'},
        )
    request.state.identity = identity


def _route_of(request: Request) -> tuple[str, str]:
    """As the table has it."""
    method = "GET" if request.method == "HEAD" else request.method
    return method, request.scope["route"].path


def bearer_of(request: Request) -> Identity:
    """Who asks. For routes, as `Depends(bearer_of)`; the guard was there before."""
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


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every (method, path) that the application answers. HEAD comes with GET and is not told apart."""
    yield from _walk(app.routes, "")


def _walk(routes: Sequence[BaseRoute], prefix: str) -> Iterator[tuple[str, str]]:
    for context in iter_route_contexts(routes):  # steps into included routers, which FastAPI keeps whole
        route = context.original_route
        if isinstance(route, APIRoute | Route):
            for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
                yield method, prefix + str(context.path)
        elif isinstance(route, Mount):
            yield from _walk(route.routes, prefix + route.path)
        else:
            yield "?", prefix + str(getattr(route, "path", route))


def refuse_unlisted(app: FastAPI) -> None:
    """Keeps a service from starting with a route that nobody gave a role, or a role that no route asks for.

    Raises:
        Misconfigured: the table and the routes differ; both sides are named.
    """
    there = set(routes_of(app))
    unguarded = [
        str(context.path)
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute) and not isinstance(context.original_route, GuardedRoute)
    ]
    if unguarded:
        raise Misconfigured(f"routes without a guard: {unguarded}; make their router with route_class=GuardedRoute")
    unlisted, absent = there - set(PERMISSIONS), set(PERMISSIONS) - there
    if unlisted or absent:
        raise Misconfigured(
            f"inference/api/permissions.py and the routes differ: without a role {sorted(unlisted)}, "
            f"without a route {sorted(absent)}"
        )
