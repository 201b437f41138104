"""An API of some routers for a test: real neighbours, a made-up way to tell who asks.

app = an_app(settings, models.router)
with TestClient(app) as client:
    client.get("/v1/models", headers=as_("viewer"))
"""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from contracts.settings import Settings
from inference.api.identity import Identity
from inference.api.problems import Problem
from tests.support import stored_api


class NamedByToken:
    """Believes a token that says who it is: subject/name/client/role,role."""

    def remembered(self, token: str) -> Identity | None:
        return None

    def verify(self, token: str) -> Identity:
        try:
            subject, name, client, roles = token.split("/")
        except ValueError:
            raise Problem(401, "bad_token", "no such token") from None
        return Identity(subject=subject, name=name, client=client, roles=frozenset(roles.split(",")))


def as_(*roles: str, subject: str = "7f3a", name: str = "ada", client: str = "sightline-cli") -> dict[str, str]:
    """The headers of who has these roles."""
    return {"Authorization": f"Bearer {subject}/{name}/{client}/{','.join(roles)}"}


def an_app(settings: Settings, *routers: APIRouter) -> FastAPI:
    return stored_api.an_app(stored_api.parts_for(settings, tokens=NamedByToken()), routers)
