"""The one table: which role a route asks for. A route outside it keeps the service from starting.

    viewer     reads                    operator   asks for detections       camera    sends frames
    reviewer   labels                   scientist  hands over challengers    approver  promotes, rolls back
    admin      dead letters

Roles are realm roles in the access token. One does not imply another: Keycloak's composite roles do that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute, Mount, Route

from contracts.errors import Misconfigured


class Role(StrEnum):
    """A realm role in Keycloak, or one of two ways to ask without one."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    REVIEWER = "reviewer"
    SCIENTIST = "scientist"
    APPROVER = "approver"
    CAMERA = "camera"
    ADMIN = "admin"
    PUBLIC = "public"  # no token: health and metrics, for the cluster's network, and the API's own pages
    TICKET = "ticket"  # a signature in the path instead of a token


PERMISSIONS: Final[dict[tuple[str, str], Role]] = {
    ("POST", "/v1/detections"): Role.OPERATOR,
    ("POST", "/v1/frames"): Role.CAMERA,
    ("GET", "/v1/frames"): Role.VIEWER,
    ("GET", "/v1/frames/{frame_id}"): Role.VIEWER,
    ("GET", "/v1/frames/{frame_id}/image"): Role.VIEWER,
    ("GET", "/v1/frames/{frame_id}/trace"): Role.VIEWER,
    ("GET", "/v1/cameras"): Role.VIEWER,
    ("GET", "/v1/labels"): Role.REVIEWER,
    ("GET", "/v1/labels/export"): Role.REVIEWER,
    ("POST", "/v1/reviews/claim"): Role.REVIEWER,
    ("POST", "/v1/reviews"): Role.REVIEWER,
    ("POST", "/v1/reviews/{review_id}/undo"): Role.REVIEWER,
    ("GET", "/v1/reviews"): Role.REVIEWER,
    ("GET", "/v1/models"): Role.VIEWER,
    ("GET", "/v1/models/{version}"): Role.VIEWER,
    ("GET", "/v1/models/{version}/agreement"): Role.VIEWER,
    ("GET", "/v1/promotions"): Role.VIEWER,
    ("POST", "/v1/models/{version}/challenger"): Role.SCIENTIST,
    ("DELETE", "/v1/models/{version}/challenger"): Role.SCIENTIST,
    ("POST", "/v1/models/{version}/promote"): Role.APPROVER,
    ("POST", "/v1/models/{version}/rollback"): Role.APPROVER,
    ("GET", "/v1/pipeline"): Role.VIEWER,
    ("GET", "/v1/stats"): Role.VIEWER,
    ("GET", "/v1/audit"): Role.VIEWER,
    ("GET", "/v1/dead-letters"): Role.ADMIN,
    ("GET", "/v1/dead-letters/{letter_id}"): Role.ADMIN,
    ("POST", "/v1/dead-letters/{letter_id}/replay"): Role.ADMIN,
    ("GET", "/v1/images/{ticket}"): Role.TICKET,
    ("GET", "/healthz"): Role.PUBLIC,
    ("GET", "/readyz"): Role.PUBLIC,
    ("GET", "/metrics"): Role.PUBLIC,
    ("GET", "/openapi.json"): Role.PUBLIC,
    ("GET", "/docs"): Role.PUBLIC,
    ("GET", "/docs/oauth2-redirect"): Role.PUBLIC,
    ("GET", "/docs/assets/{name}"): Role.PUBLIC,
}


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
    unlisted, absent = there - set(PERMISSIONS), set(PERMISSIONS) - there
    if unlisted or absent:
        raise Misconfigured(
            f"inference/api/permissions.py and the routes differ: without a role {sorted(unlisted)}, "
            f"without a route {sorted(absent)}"
        )
