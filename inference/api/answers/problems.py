"""The statuses that routes name in their documentation, each with the body of a problem."""

from __future__ import annotations

from typing import Any, Final

from inference.api.problems import MEDIA_TYPE, ProblemBody

Responses = dict[int | str, dict[str, Any]]

_MEANINGS: Final = {
    400: "The body cannot be read as text at all",
    401: "No token, or not one of ours",
    403: "The token's bearer lacks the role",
    404: "There is no such thing",
    409: "It does not fit to what is there",
    416: "The range lies outside the image; Content-Range tells its size",
    422: "The request does not fit; `errors` says where",
    503: "Something that is needed is away or busy; Retry-After says when to come again",
}


def problems(*statuses: int) -> Responses:
    """These statuses, and those that every route with a role may answer."""
    wanted = sorted({401, 403, 422, 503, *statuses})
    return {status: _described(status) for status in wanted}


def public_problems(*statuses: int) -> Responses:
    """These statuses only."""
    return {status: _described(status) for status in statuses}


def _described(status: int) -> dict[str, Any]:
    return {
        "description": _MEANINGS[status],
        "content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")}},
    }
