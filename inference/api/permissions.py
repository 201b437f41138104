"""The one table: which role a route asks for. A route outside it keeps the service from starting.

    viewer     reads                    operator   asks for detections       camera    sends frames*
    reviewer   labels                   scientist  hands over challengers,   approver  promotes, rolls back
                                                   exports labels
    admin      dead letters

* as the cameras of the token's claim `cameras`: see routes/frames.py

Roles are realm roles in the access token. One does not imply another: Keycloak's composite roles do that.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final


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

# Who else may, without the route's own role: a scientist trains on the labels and gives none.
_ALSO: Final[dict[tuple[str, str], tuple[Role, ...]]] = {("GET", "/v1/labels/export"): (Role.SCIENTIST,)}


def roles_of(route: tuple[str, str]) -> tuple[Role, ...]:
    """The roles that open a route, any one of them; the table's own first.

    Raises:
        KeyError: the table has no such route.
    """
    return (PERMISSIONS[route], *_ALSO.get(route, ()))


def routes_at(path: str) -> Iterator[tuple[str, str]]:
    """The routes of a path, one a method; `path` may be of the table or a real one."""
    parts = path.split("/")
    return (route for route in PERMISSIONS if _fits(route[1].split("/"), parts))


def _fits(pattern: list[str], parts: list[str]) -> bool:
    return len(pattern) == len(parts) and all(
        wanted == part or (wanted.startswith("{") and part) for wanted, part in zip(pattern, parts, strict=True)
    )
