"""The application: this module reads as its table of contents.

create_app(parts) ──► FastAPI, every route with its role, every error problem+json
"""

from __future__ import annotations

from fastapi import Depends, FastAPI

from inference.api import permissions, problems
from inference.api.authorise import authorise
from inference.api.parts import Parts
from inference.api.routes import (
    cameras,
    dead_letters,
    detections,
    frames,
    health,
    images,
    labels,
    models,
    pipeline,
    reviews,
    stored_frames,
)


def create_app(parts: Parts) -> FastAPI:
    """The service over its neighbours.

    Raises:
        Misconfigured: a route has no role.
    """
    auth = parts.settings.auth
    app = FastAPI(
        title="Sightline",
        summary="Images in, boxes out; what was stored, read back; people's reviews and decisions.",
        version="1",
        dependencies=[Depends(authorise)],
        redoc_url=None,
        swagger_ui_init_oauth={"clientId": auth.browser_client, "usePkceWithAuthorizationCodeGrant": True},
    )
    app.state.parts = parts
    for module in (
        detections,
        frames,
        stored_frames,
        images,
        cameras,
        reviews,
        labels,
        models,
        pipeline,
        dead_letters,
        health,
    ):
        app.include_router(module.router)
    problems.install(app)
    permissions.refuse_unlisted(app)
    return app
