"""The gate before MLflow: outermost of the application, so that every route lies behind it, whatever serves it.

    request ─► which right (mlflow_rights) ─► who asks (mlflow_visitors) ─► whose files (mlflow_files) ─► MLflow
                                               ├─ nobody: a page goes to the login, an API call is answered 401
                                               ├─ without the right, over a version's files: 403
                                               ├─ a place that is not MLflow's own (mlflow_places): 400
                                               └─ Keycloak or the database away: 503, Retry-After

Answers are in MLflow's own form, so that its clients show them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import ExitStack
from typing import Any, Final
from urllib.parse import quote

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.errors import Transient
from contracts.logs import get_logger
from inference.api.problems import Problem
from sightline.stack.mlflow_files import Files
from sightline.stack.mlflow_places import refused_location, refused_source, written_by
from sightline.stack.mlflow_rights import (
    Right,
    makes_a_version,
    makes_an_experiment,
    names_a_tag,
    right_of,
    right_of_new_version,
    right_of_tag,
)
from sightline.stack.mlflow_visitors import Visitor, Visitors

COOKIE: Final = "sightline_mlflow"
_LARGEST_BODY: Final = 1024 * 1024  # of what names a tag or a place; files are not read here
_LOGIN_PATHS: Final = ("/login", "/login/callback", "/logout")

_FIXED: Final = "these files belong to a registered version, which stays as it is: hand over a new version"

_log = get_logger(__name__)


class Gate:
    """An ASGI application around MLflow's."""

    def __init__(self, app: ASGIApp, visitors: Visitors, files: Files | None = None) -> None:
        self._app = app
        self._visitors = visitors
        self._files = files or Files()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            request = Request(scope, receive)
            with ExitStack() as announced:  # until MLflow has answered: then what it was to do is done
                answer, receive = await self._answer(request, receive, announced)
                await (answer or self._app)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(
        self, request: Request, receive: Receive, announced: ExitStack
    ) -> tuple[Response | None, Receive]:
        """What the gate itself answers, None where MLflow shall; and the body to read from."""
        method, path = request.method, request.scope["path"]
        try:
            if path in _LOGIN_PATHS and method == "GET":
                return await self._login(request, path), receive
            right = right_of(method, path)
            if right is Right.PUBLIC:
                return None, receive
            visitor = await self._visitor(request)
            if visitor is None:
                return _nobody(request), receive
            said: Mapping[str, object] = {}
            if right is Right.WRITE and _is_read(method, path):
                body, receive = await _peeked(receive)
                said = _document(body)
                right = _right_of_body(method, path, said)
            if right not in visitor.rights:
                _log.warning("mlflow_refused", visitor=visitor.name, right=right, method=method, path=path)
                return _refusal(403, "PERMISSION_DENIED", _lacking(visitor, right)), receive
            return await self._about_files(method, path, said, announced), receive
        except Problem as problem:
            code = "UNAUTHENTICATED" if problem.status == 401 else "INVALID_PARAMETER_VALUE"
            return _refusal(problem.status, code, problem.detail), receive
        except Transient as error:
            return _refusal(503, "TEMPORARILY_UNAVAILABLE", str(error), {"Retry-After": "2"}), receive

    async def _about_files(
        self, method: str, path: str, said: Mapping[str, object], announced: ExitStack
    ) -> Response | None:
        """What speaks against the places that a request names, None where nothing does."""
        if makes_an_experiment(method, path) and (why_not := refused_location(said)):
            return _refusal(400, "INVALID_PARAMETER_VALUE", why_not)
        if makes_a_version(method, path):
            if why_not := refused_source(said):
                return _refusal(400, "INVALID_PARAMETER_VALUE", why_not)
            place = await self._files.place_of_source(str(said["source"]))
            if place is not None:
                announced.enter_context(self._files.registering(place))
                if self._files.is_being_written(place):
                    return _refusal(409, "RESOURCE_CONFLICT", "a file of it is being uploaded: register it afterwards")
        place = written_by(method, path)
        if place is not None:
            announced.enter_context(self._files.writing(place))
            if await self._files.is_fixed(place):
                _log.warning("mlflow_files_kept", method=method, path=path)
                return _refusal(403, "PERMISSION_DENIED", _FIXED)
        return None

    async def _visitor(self, request: Request) -> Visitor | None:
        header = request.headers.get("authorization")
        if header:
            return await to_thread.run_sync(self._visitors.of_header, header)
        session = request.cookies.get(COOKIE)
        # Another program on this machine is the same site to a browser: what changes something must come from our pages.
        if not session or not (request.method in {"GET", "HEAD"} or self._is_own_page(request)):
            return None
        return await to_thread.run_sync(self._visitors.of_session, session)

    def _is_own_page(self, request: Request) -> bool:
        return request.headers.get("origin") == self._visitors.url or (
            request.headers.get("sec-fetch-site") == "same-origin"
        )

    async def _login(self, request: Request, path: str) -> Response:
        if path == "/logout":
            self._visitors.end(request.cookies.get(COOKIE, ""))
            gone = Response("You are logged out of MLflow.", media_type="text/plain")
            gone.delete_cookie(COOKIE)
            return gone
        if path == "/login":
            back_to = request.query_params.get("to", "/")
            is_here = back_to.startswith("/") and not back_to.startswith(("//", "/\\"))
            return RedirectResponse(self._visitors.login_page(back_to if is_here else "/"), 303)
        query = request.query_params
        begin: Callable[[], tuple[str, str]] = lambda: self._visitors.begin(  # noqa: E731 - runs in a thread
            query.get("code", ""), query.get("state", "")
        )
        session, back_to = await to_thread.run_sync(begin)
        answer = RedirectResponse(back_to, 303)
        answer.set_cookie(
            COOKIE, session, httponly=True, samesite="lax", secure=self._visitors.url.startswith("https:")
        )
        return answer


def _is_read(method: str, path: str) -> bool:
    """Whether the body has to be looked into."""
    return any(asks(method, path) for asks in (names_a_tag, makes_a_version, makes_an_experiment))


def _right_of_body(method: str, path: str, said: Mapping[str, object]) -> Right:
    if names_a_tag(method, path):
        return right_of_tag(said.get("key"))
    return right_of_new_version(said.get("tags")) if makes_a_version(method, path) else Right.WRITE


async def _peeked(receive: Receive) -> tuple[bytes, Receive]:
    """A small body, read; and a `receive` that gives it again."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _LARGEST_BODY:
            raise Problem(413, "too_large", f"such a request has at most {_LARGEST_BODY // 1024} KiB")
        if not message.get("more_body"):
            break
    waiting: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return body, again


def _document(body: bytes) -> Mapping[str, object]:
    """What a body says, as MLflow reads it. (It would also decode a string in a string: nobody needs that.)"""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Problem(400, "no_object", "send a JSON object")
    return said


def _nobody(request: Request) -> Response:
    """A person's browser goes to the login page; a program is told what to send."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"/login?to={quote(request.scope['path'] + query)}", 303)
    return _refusal(401, "UNAUTHENTICATED", "MLflow asks for a login here: sightline login, or an account's secret")


def _lacking(visitor: Visitor, right: Right) -> str:
    if right is Right.ALIASES:
        return f"{visitor.name} may not do this: a champion is changed by promotion (sightline model promote)"
    if right is Right.NOBODY:
        return "this part of MLflow is not offered here"
    return f"{visitor.name} lacks the right to {right}: an administrator gives the role in Keycloak"


def _refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    # Bearer alone: a browser that is offered Basic asks for a password, which nobody has for it.
    told = {"WWW-Authenticate": 'Bearer realm="mlflow"'} if status == 401 else {}
    return JSONResponse({"error_code": code, "message": message}, status, headers=told | (headers or {}))
