"""GET /v1/cameras: who sends."""

from __future__ import annotations

from fastapi import APIRouter

from inference.api.answers.frames import CameraAnswer, CamerasAnswer
from inference.api.guard import GuardedRoute
from inference.api.inputs import Neighbours
from inference.persistence import cameras

router = APIRouter(tags=["frames"], route_class=GuardedRoute)


@router.get("/v1/cameras")
def list_cameras(parts: Neighbours) -> CamerasAnswer:
    """All cameras: the last frame, the rate of the last minute, the open session."""
    with parts.database.connection() as connection:
        found = cameras.cameras(connection)
    return CamerasAnswer(
        cameras=[
            CameraAnswer.of(camera, camera.last_frame_id and parts.tickets.url(camera.last_frame_id))
            for camera in found
        ]
    )
