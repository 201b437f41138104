"""GET /v1/images/{ticket}: one frame's image by a signed, short-lived ticket."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from inference.api import stored_image
from inference.api.guard import GuardedRoute
from inference.api.inputs import Neighbours
from inference.api.openapi import problems
from inference.api.problems import not_found
from inference.persistence import frames

router = APIRouter(tags=["frames"], route_class=GuardedRoute)


@router.get(
    "/v1/images/{ticket}",
    response_class=Response,
    responses=problems(403, 404, 416) | stored_image.RESPONSES,
)
def show_image(
    ticket: Annotated[str, Path(max_length=200, description="From the answer about a frame, good for a minute")],
    request: Request,
    parts: Neighbours,
) -> Response:
    """A frame's image for a browser, which has no token at hand. 403: the ticket is too old, or not ours."""
    frame_id = parts.tickets.frame_of(ticket)
    with parts.database.connection() as connection:
        row = frames.find(connection, frame_id)
    if row is None:
        raise not_found(f"frame {frame_id}")
    return stored_image.answer(request, parts.frames, row)
