"""What a client reads of a failure: what is away by name, never where it is or as whom we ask."""

from __future__ import annotations

import psycopg
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from contracts.errors import Misconfigured, PipelineError, Rejected, Transient
from contracts.settings import PostgresSettings
from inference.api import problems
from inference.persistence.database import translated

SECRETS = ("db.inside.example", "15432", "the_user", "/var/cache/models", "SIGHTLINE_")


def _postgres_away() -> None:
    with translated(PostgresSettings(host="db.inside.example", port=15432, user="the_user")):
        raise psycopg.OperationalError('connection to "db.inside.example", port 15432 failed for user "the_user"')


def _login_refused() -> None:
    with translated(PostgresSettings(host="db.inside.example", port=15432, user="the_user")):
        raise psycopg.OperationalError('password authentication failed for user "the_user"')


def _raise(error: PipelineError) -> None:
    raise error


@pytest.mark.parametrize(
    ("fail", "wanted"),
    [
        (_postgres_away, (503, "unavailable", "Postgres is away or busy: try again")),
        (_login_refused, (500, "misconfigured", "Postgres does not fit: the service's log says what to mend")),
        (
            lambda: _raise(Transient("cannot write to /var/cache/models")),
            (503, "unavailable", "something that the service needs is away or busy: try again"),
        ),
        (
            lambda: _raise(Misconfigured("set SIGHTLINE_STREAM__CACHE_FOLDER")),
            (
                500,
                "misconfigured",
                "a store or a setting of the service does not fit: the service's log says what to mend",
            ),
        ),
        (
            lambda: _raise(Transient("another promotion is under way", is_public=True)),
            (503, "unavailable", "another promotion is under way"),
        ),
        (
            lambda: _raise(Rejected("version 7 has no verdict", code="no_verdict")),
            (422, "no_verdict", "version 7 has no verdict"),
        ),
    ],
)
def test_a_client_learns_what_failed_and_the_log_where(fail, wanted, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    said: list[str] = []
    for level in ("warning", "error"):
        monkeypatch.setattr(problems._log, level, lambda _event, *, reason="", **_: said.append(reason))
    app = FastAPI()
    problems.install(app)
    app.get("/")(fail)
    answer = TestClient(app).get("/")
    body = answer.json()
    assert (answer.status_code, body["code"], body["detail"]) == wanted
    assert not [secret for secret in SECRETS if secret in answer.text]
    is_hidden = "is away or busy" in wanted[2] or "does not fit" in wanted[2]
    assert len(said) == is_hidden
    assert all(any(secret in line for secret in SECRETS) for line in said)
