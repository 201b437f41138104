"""An API of some routers for a test: real neighbours, a made-up way to tell who asks.

app = an_app(settings, models.router)
with TestClient(app) as client:
    client.get("/v1/models", headers=as_("viewer"))
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from fastapi import APIRouter, Depends, FastAPI

from contracts.settings import Settings
from inference.api import problems
from inference.api.authorise import authorise
from inference.api.identity import Identity
from inference.api.parts import Parts
from inference.api.problems import Problem
from inference.persistence import connect
from inference.persistence.database import Connection


class NamedByToken:
    """Believes a token that says who it is: subject/name/client/role,role."""

    def known(self, token: str) -> Identity | None:
        return None

    def verify(self, token: str) -> Identity:
        try:
            subject, name, client, roles = token.split("/")
        except ValueError:
            raise Problem(401, "bad_token", "no such token") from None
        return Identity(subject=subject, name=name, client=client, roles=frozenset(roles.split(",")))


class OneByOne:
    """A connection for each request; the service has a pool."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        with connect(self._settings) as connection:
            yield connection


def as_(*roles: str, subject: str = "7f3a", name: str = "ada", client: str = "sightline-cli") -> dict[str, str]:
    """The headers of who has these roles."""
    return {"Authorization": f"Bearer {subject}/{name}/{client}/{','.join(roles)}"}


def an_app(settings: Settings, *routers: APIRouter) -> FastAPI:
    app = FastAPI(dependencies=[Depends(authorise)])
    app.state.parts = Parts(
        settings=settings,
        tokens=NamedByToken(),
        database=cast("Any", OneByOne(settings)),
        frames=cast("Any", None),
        detector=cast("Any", None),
        ingest=cast("Any", None),
    )
    for router in routers:
        app.include_router(router)
    problems.install(app)
    return app
