"""GET /healthz, /readyz, /metrics: for the cluster's network, without a token.

    /healthz   this process answers and its threads are well
    /readyz    a champion is loaded and warmed up, and the process is not draining
    /metrics   of all processes of this service

Stores are reported and not required: a store that is away must not take every replica out of service.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from inference.api import metrics
from inference.api.guard import GuardedRoute
from inference.api.parts import Parts

router = APIRouter(tags=["health"], route_class=GuardedRoute)


class Health(BaseModel):
    """Whether the process lives."""

    status: str = Field(description="ok | failing")
    reason: str | None = None


class ServingModel(BaseModel):
    """The champion of this process."""

    name: str
    version: str
    digest: str
    engine: str


class Readiness(BaseModel):
    """Whether requests should be sent here."""

    is_ready: bool
    is_draining: bool
    model: ServingModel | None = Field(description="null until the champion is loaded and warmed up")
    stores: dict[str, bool] = Field(description="whether each answers a connection; reported, not required")


@router.get("/healthz", summary="Lives", response_model=Health, responses={503: {"model": Health}})
async def healthz(request: Request) -> Response:
    """200 while this process can work."""
    parts: Parts = request.app.state.parts
    failure = parts.detector.ended_with()
    body = Health(status="ok") if failure is None else Health(status="failing", reason=failure.public)
    return _json(body, is_well=failure is None)


@router.get("/readyz", summary="Ready", response_model=Readiness, responses={503: {"model": Readiness}})
async def readyz(request: Request) -> Response:
    """200 while requests should be sent here."""
    parts: Parts = request.app.state.parts
    served = parts.detector.current
    is_ready = parts.detector.is_ready and not parts.draining.is_set()
    body = Readiness(
        is_ready=is_ready,
        is_draining=parts.draining.is_set(),
        model=None
        if served is None
        else ServingModel(
            name=served.version.name,
            version=served.version.version,
            digest=served.version.digest,
            engine=served.engine.name,
        ),
        stores=await parts.stores.answering(),
    )
    return _json(body, is_well=is_ready)


@router.get(
    "/metrics",
    summary="Metrics",
    response_class=Response,
    responses={200: {"description": "For Prometheus", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def page(request: Request) -> Response:
    """What Prometheus reads."""
    parts: Parts = request.app.state.parts
    return Response(await run_in_threadpool(parts.metrics.page), headers={"Content-Type": metrics.CONTENT_TYPE})


def _json(body: BaseModel, *, is_well: bool) -> Response:
    headers = {} if is_well else {"Retry-After": "1"}
    return Response(to_json(body), 200 if is_well else 503, headers, media_type="application/json")
