"""The gate before MLflow: outermost of the application, so that every route lies behind it, whatever serves it.

    request ─► which right (mlflow_rights) ─► who asks (mlflow_visitors) ─► MLflow
                                               ├─ nobody: a page goes to the login, an API call is answered 401
                                               ├─ without the right: 403
                                               └─ Keycloak away: 503, Retry-After

Answers are in MLflow's own form, so that its clients show them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, MutableMapping
from typing import Any, Final
from urllib.parse import quote

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.errors import Transient
from contracts.logs import get_logger
from inference.api.problems import Problem
from sightline.stack.mlflow_rights import Right, names_a_tag, right_of, right_of_tag
from sightline.stack.mlflow_visitors import Visitor, Visitors

COOKIE: Final = "sightline_mlflow"
_LARGEST_TAG: Final = 64 * 1024
_LOGIN_PATHS: Final = ("/login", "/login/callback", "/logout")

_log = get_logger(__name__)


class Gate:
    """An ASGI application around MLflow's."""

    def __init__(self, app: ASGIApp, visitors: Visitors) -> None:
        self._app = app
        self._visitors = visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            request = Request(scope, receive)
            answer, receive = await self._answer(request, receive)
            await (answer or self._app)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, request: Request, receive: Receive) -> tuple[Response | None, Receive]:
        """What the gate itself answers, None where MLflow shall; and the body to read from."""
        method, path = request.method, request.scope["path"]
        try:
            if path in _LOGIN_PATHS and method == "GET":
                return await self._login(request, path), receive
            right = right_of(method, path)
            if right is Right.PUBLIC:
                return None, receive
            visitor = await self._visitor(request)
            if visitor is not None and right is Right.WRITE and names_a_tag(method, path):
                body, receive = await _peeked(receive)
                right = right_of_tag(_key(body))
        except Problem as problem:
            return _refusal(401, "UNAUTHENTICATED", problem.detail), receive
        except Transient as error:
            return _refusal(503, "TEMPORARILY_UNAVAILABLE", str(error), {"Retry-After": "2"}), receive
        if visitor is None:
            return _nobody(request), receive
        if right not in visitor.rights:
            _log.warning("mlflow_refused", visitor=visitor.name, right=right, method=method, path=path)
            return _refusal(403, "PERMISSION_DENIED", _lacking(visitor, right)), receive
        return None, receive

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


async def _peeked(receive: Receive) -> tuple[bytes, Receive]:
    """A small body, read; and a `receive` that gives it again."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _LARGEST_TAG:
            raise Problem(401, "too_large", "a tag's request is small")
        if not message.get("more_body"):
            break
    waiting: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return body, again


def _key(body: bytes) -> object:
    """The tag that a body names, as MLflow reads it; None where it names none."""
    try:
        said = json.loads(body)
    except ValueError:
        return None
    return said.get("key") if isinstance(said, dict) else None


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
