"""Every error as problem+json (RFC 9457). The edges only translate.

Problem        404 409 413 415 401 403 …   raised by routes, says what to do
Transient      503 + Retry-After, what is away by name; the log has the address and the reason
Rejected       422, its code
Misconfigured  500, what does not fit by name; the log has what to mend
anything else  500, nothing of it leaves the process; the log has it
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from contracts.errors import Misconfigured, PipelineError, Rejected, Transient
from contracts.logs import get_logger
from inference.api.permissions import routes_at

MEDIA_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:sightline:problem:"
_MOST_ERRORS: Final = 100  # of one request: a body of thousands of wrong boxes is wrong enough
_OWN_WORDS: Final = "Value error, "  # what pydantic puts before the text of a validator of ours
_LONGEST_TEXT: Final = 200  # characters of where and what: a name in a body may be as long as the body

_log = get_logger(__name__)


class ProblemBody(BaseModel):
    """What a client reads when something is wrong."""

    type: str = Field(description="urn:sightline:problem:<code>, the same code for the same cause")
    title: str = Field(description="The status in words")
    status: int
    code: str
    detail: str = Field(description="What happened and what to do next")
    errors: list[dict[str, Any]] | None = Field(
        default=None, max_length=_MOST_ERRORS, description="Where the input does not fit, one by one: the first 100"
    )


class Problem(Exception):  # noqa: N818 - the field's own word
    """An answer that is no success, raised by a route."""

    def __init__(self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


class BodyProblem(HTTPException):
    """A Problem that arises while a body is read: FastAPI lets nothing but its own kind of exception through there."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(status, detail)
        self.code = code


def not_found(what: str) -> Problem:
    """404: there is no such thing."""
    return Problem(404, "not_found", f"there is no {what}")


def response(
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: list[dict[str, Any]] | None = None,
) -> JSONResponse:
    """The answer itself."""
    body = ProblemBody(
        type=_TYPE_PREFIX + code,
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        errors=errors,
    )
    return JSONResponse(
        body.model_dump(exclude_none=True), status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def install(app: FastAPI) -> None:
    """Has every exception of a route become problem+json."""
    app.add_exception_handler(Problem, _of_problem)  # type: ignore[arg-type]
    app.add_exception_handler(PipelineError, _of_pipeline_error)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _of_validation)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _of_http)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _of_anything)


async def _of_problem(_request: Request, error: Problem) -> JSONResponse:
    return response(error.status, error.code, error.detail, headers=error.headers)


async def _of_pipeline_error(_request: Request, error: PipelineError) -> JSONResponse:
    if isinstance(error, Transient):
        seconds = max(1, math.ceil(error.retry_after.total_seconds()))
        if not error.is_public:
            _log.warning("request_unavailable", reason=str(error))
        return response(503, "unavailable", error.public, headers={"Retry-After": str(seconds)})
    if isinstance(error, Rejected):
        return response(error.http_status, error.code, error.public)
    code = "misconfigured" if isinstance(error, Misconfigured) else "failed"
    _log.error("request_failed", code=code, reason=str(error))
    return response(500, code, error.public)


async def _of_validation(_request: Request, error: RequestValidationError) -> JSONResponse:
    errors = [
        {
            "where": _short(".".join(str(part) for part in problem["loc"])),
            "what": _short(problem["msg"].removeprefix(_OWN_WORDS)),
        }
        for problem in error.errors()[:_MOST_ERRORS]
    ]
    first = errors[0] if errors else {"where": "the request", "what": "does not fit"}
    return response(422, "invalid_request", f"{first['where']}: {first['what']}", errors=errors)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} …"


async def _of_http(request: Request, error: HTTPException) -> JSONResponse:
    phrase = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    if isinstance(error, BodyProblem):
        return response(error.status_code, error.code, error.detail, headers=error.headers)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return response(404, phrase, "there is no such route: GET /docs lists them", headers=error.headers)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework knows the methods of the first route at a path, not those of its neighbours.
        allowed = ", ".join(sorted({method for method, _ in routes_at(request.scope["path"])}))
        detail = f"{_short(request.method)} is not answered here: ask with {allowed or 'another method'}"
        return response(405, phrase, detail, headers={"Allow": allowed} if allowed else error.headers)
    return response(error.status_code, phrase, str(error.detail), headers=error.headers)


async def _of_anything(request: Request, error: Exception) -> JSONResponse:
    _log.error("request_failed", code="internal", method=request.method, route=request.url.path, exc_info=error)
    return response(500, "internal", "the service failed; its log says why")
