"""The OpenAPI description: what FastAPI knows of the routes, and what only we know.

permissions ─► security of each operation, and its 401 and 403
problems    ─► every error as application/problem+json, 503 with Retry-After
settings    ─► where to log in: Keycloak's URLs, from the issuer
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from contracts.settings import AuthSettings
from inference.api.permissions import PERMISSIONS, Role, roles_of
from inference.api.problems import MEDIA_TYPE, ProblemBody

Responses = dict[int | str, dict[str, Any]]

_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
_OPEN: Final = frozenset({Role.PUBLIC, Role.TICKET})
_LOGIN: Final = "keycloak"
_TOKEN: Final = "token"  # noqa: S105 - the scheme's name

_EXAMPLES: Final[dict[int, tuple[str, str]]] = {
    400: ("bad_request", "the request cannot be read"),
    401: ("token_expired", "the token has expired: log in again"),
    403: ("role_missing", "inspector lacks the role operator: an administrator gives it in Keycloak"),
    404: ("not_found", "there is no such thing"),
    405: ("method_not_allowed", "PUT is not answered here: ask with GET, POST"),
    408: ("slow_request", "the body was not whole after 10 s: send it faster"),
    409: ("conflict", "somebody else was quicker"),
    413: ("body_too_large", "the body has more than 16777216 bytes: send a smaller image"),
    415: ("unsupported_image", "GIF is not served: send JPEG or PNG"),
    416: ("range_outside", "the image has 48213 bytes: ask for bytes among them, or leave Range out"),
    422: ("undecodable", "not a whole JPEG or PNG: it is cut short, damaged, or something else"),
    500: ("internal", "the service failed; its log says why"),
    503: ("queue_full", "8 images wait already: try again"),
}
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
IMAGE_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": _BINARY,
            "image/png": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
"""A body that is an image, or a form with one in its field `image`."""


def as_parameters(options: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of a model as parameters of the query, for a route that reads them itself."""
    return [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": schema.pop("description", "")}
        for name, schema in options.model_json_schema()["properties"].items()
    ]


def problems(*statuses: int) -> Responses:
    """The answers of a route that are no success, for `responses=`; 500 and 503 come by themselves, and 401, 403 and
    422 where a role is asked for, and 400, 408 and 413 where a body is.
    """
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    code, detail = _EXAMPLES[status]
    title = HTTPStatus(status).phrase
    example = {"type": f"urn:sightline:problem:{code}", "title": title, "status": status, "code": code,
               "detail": detail}  # fmt: skip
    answer: dict[str, Any] = {
        "description": title,
        "content": {MEDIA_TYPE: {"schema": _PROBLEM, "example": example}},
    }
    return answer | ({"headers": _RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else {})


def install(app: FastAPI, auth: AuthSettings) -> None:
    """Has the application describe itself so."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(app, auth)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(app: FastAPI, auth: AuthSettings) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = ProblemBody.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = _schemes(auth)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            route = (method.upper(), path)
            _describe(operation, roles_of(route) if route in PERMISSIONS else (Role.ADMIN,))
    return document


def _describe(operation: dict[str, Any], roles: Sequence[Role]) -> None:
    role = roles[0]
    answers = operation.setdefault("responses", {})
    expected = {500, 503} | (set() if role in _OPEN else {401, 403, 422})
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]  # FastAPI's own, which no answer of ours looks like
        expected.add(422)
    if operation.get("requestBody"):
        expected |= {400, 408, 413}
    for status in sorted(expected):
        answers.setdefault(str(status), _problem(status))
    if role not in _OPEN:
        operation["security"] = [{_LOGIN: []}, {_TOKEN: []}]
        operation["description"] = (
            f"{operation.get('description', '')}\n\nRole: {' or '.join(f'**{role}**' for role in roles)}".strip()
        )


def _schemes(auth: AuthSettings) -> dict[str, Any]:
    endpoint = f"{auth.issuer}/protocol/openid-connect"
    return {
        _LOGIN: {
            "type": "oauth2",
            "description": "Log in with Keycloak (authorization code with PKCE)",
            "flows": {
                "authorizationCode": {
                    "authorizationUrl": f"{endpoint}/auth",
                    "tokenUrl": f"{endpoint}/token",
                    "scopes": {},
                }
            },
        },
        _TOKEN: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token, as `sightline token` prints it",
        },
    }
