"""The application: this module reads as its table of contents.

create_app(parts) ──► FastAPI, every route with its role, every error problem+json
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from inference.api import guard, openapi, problems
from inference.api.edge import Edge
from inference.api.parts import Parts
from inference.api.routes import (
    cameras,
    dead_letters,
    detections,
    docs,
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

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await parts.start()
        yield
        await parts.close()

    app = FastAPI(
        title="Sightline",
        summary="Images in, boxes out; what was stored, read back; people's reviews and decisions.",
        version="1",
        docs_url=None,  # routes/docs.py, from files of our own
        redoc_url=None,
        redirect_slashes=False,  # it would send whoever asks to the host that a request names, with 307
        lifespan=lifespan,
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
        docs,
    ):
        app.include_router(module.router)
    api = parts.settings.api
    app.add_middleware(Edge, metrics=parts.metrics, body_bytes=api.max_body_bytes, read_seconds=api.read_seconds)
    problems.install(app)
    openapi.install(app, parts.settings.auth)
    guard.refuse_unlisted(app)
    return app
