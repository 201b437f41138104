"""A small application out of some of the API's routers, with real stores and made-up people.

    client = a_client(settings, store, routers=[stored_frames.router])
    client.get("/v1/frames", headers=bearer("viewer"))          a token is the role's name; the subject too
    client.get("/v1/frames", headers=bearer("reviewer", who="ann"))

create_app itself refuses to start while a route of the table is missing; the tests of one subject need no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from contracts.settings import Settings
from inference.api import openapi, problems
from inference.api.identity import Identity
from inference.api.metrics import Metrics
from inference.api.parts import Parts
from inference.api.problems import Problem
from inference.api.stores import Stores
from inference.api.tickets import Tickets
from inference.persistence.objects import FrameStore
from inference.persistence.pool import Database

CLASSES = ("open", "short", "mousebite")


class FakeTokens:
    """Believes any token that reads <roles>@<subject>; knows nobody else."""

    def remembered(self, token: str) -> Identity | None:
        return None

    def verify(self, token: str) -> Identity:
        roles, _, subject = token.partition("@")
        if not subject:
            raise Problem(401, "token_invalid", "not one of ours", headers={"WWW-Authenticate": "Bearer"})
        return Identity(
            subject=subject, name=f"{subject} the person", roles=frozenset(roles.split("+")), client="tests"
        )


def bearer(*roles: str, who: str = "ann") -> dict[str, str]:
    return {"Authorization": f"Bearer {'+'.join(roles)}@{who}"}


def parts_for(settings: Settings, store: FrameStore | None = None, **changes: Any) -> Parts:
    given: dict[str, Any] = {
        "settings": settings,
        "tokens": FakeTokens(),
        "database": changes["database"] if "database" in changes else Database(settings),
        "frames": store,
        "detector": SimpleNamespace(),
        "ingest": SimpleNamespace(),
        "metrics": Metrics(),
        "stores": Stores(settings),
        "tickets": Tickets(settings.api),
        "classes": lambda: CLASSES,
    }
    return Parts(**(given | changes))


def an_app(parts: Parts, routers: Sequence[APIRouter]) -> FastAPI:
    app = FastAPI()
    app.state.parts = parts
    for router in routers:
        app.include_router(router)
    problems.install(app)
    openapi.install(app, parts.settings.auth)
    return app


def a_client(parts: Parts, routers: Sequence[APIRouter]) -> TestClient:
    return TestClient(an_app(parts, routers), raise_server_exceptions=False)
