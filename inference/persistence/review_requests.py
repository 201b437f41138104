"""Frames that a job asks people to look at: first in the review queue, until somebody has reviewed them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from inference.persistence.database import Connection

_REQUEST: Final = """
    INSERT INTO review_requests (frame_id, camera_id, requested_by, reason)
    VALUES (%s::uuid, %s, %s, %s) ON CONFLICT (frame_id) DO NOTHING
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRequest:
    """A frame, who asks, and why."""

    frame_id: str
    camera_id: str
    requested_by: str  # the job
    reason: str


def request_reviews(connection: Connection, requests: Sequence[ReviewRequest]) -> int:
    """Asks for reviews; a frame that was asked for before stays as it was. Returns how many are new."""
    new = 0
    for one in requests:
        values = (one.frame_id, one.camera_id, one.requested_by, one.reason)
        new += connection.execute(_REQUEST, values).rowcount
    return new
