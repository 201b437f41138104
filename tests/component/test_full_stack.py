"""Profile full, started as a person starts it: everything of core, and logins, the API, the shadow."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psutil
import pytest

from contracts.settings import Settings
from sightline.stack import logins
from sightline.stack.home import Home
from sightline.stack.supervision import Supervisor
from tests.support.command_line import succeed
from tests.support.stack import running_stack, sightline

FULL = {"postgres", "kafka", "s3", "registry", "connect", "mlflow", "stream-0", "watchdog", "keycloak", "api", "shadow"}
MEMORY_LIMIT = 3 * 2**30


@pytest.fixture(scope="module")
def full() -> Iterator[Settings]:
    with running_stack(profile="full") as settings:
        yield settings


def test_everything_runs_in_three_gigabytes(full: Settings):
    rows = succeed(full, "status", "--json").answer["services"]
    assert {row["name"]: row["state"] for row in rows} == dict.fromkeys(FULL, "running")
    assert sum(row["memory_bytes"] for row in rows) < MEMORY_LIMIT


def test_the_shadows_lag_is_shown_beside_the_champions(full: Settings):
    answer = succeed(full, "status", "--json").answer
    groups = [lag["group"] for lag in answer["flow"]["lags"]]
    assert groups[:2] == [full.stream.group, full.stream.challenger_group]
    assert answer["resting"] == [full.stream.challenger_group]


def test_the_profile_is_remembered_and_another_needs_a_stop_first(full: Settings):
    said = sightline(full.stack.home, "up")
    assert "logins.json" in said
    assert "sightline down first" in sightline(full.stack.home, "up", "--profile", "core", code=78)


def test_a_token_of_a_script_opens_the_api_and_none_does_not(full: Settings):
    models = f"{full.api.url}/v1/models"
    assert httpx.get(models, trust_env=False).status_code == 401
    token = succeed(full, "token", "--user", "viewer").out.strip()
    assert httpx.get(models, headers={"Authorization": f"Bearer {token}"}, trust_env=False).status_code == 200
    succeed(full, "auth", "doctor", token, "--route", "GET /v1/models")


def test_mlflow_has_a_champion_and_asks_for_a_login(full: Settings):
    alias = f"{full.mlflow.tracking_uri}/api/2.0/mlflow/registered-models/alias"
    query = {"name": full.mlflow.model_name, "alias": full.mlflow.alias}
    assert httpx.get(alias, params=query, trust_env=False).status_code == 401
    account = ("sightline-worker", logins.read(Home(full.stack.home)).accounts["sightline-worker"])
    assert httpx.get(alias, params=query, auth=account, trust_env=False).status_code == 200


def test_no_password_stands_on_a_command_line_or_in_a_log(full: Settings):
    home = Home(full.stack.home)
    made = logins.read(home)
    secrets = [*made.people.values(), *made.accounts.values(), full.api.ticket_key.get_secret_value()]
    assert all(len(secret) >= 20 for secret in secrets)
    texts = [" ".join(process.cmdline()) for process in Supervisor(home).leftovers()]
    texts += [file.read_text(errors="replace") for file in home.logs.glob("*.log")]
    assert not [text for text in texts for secret in secrets if secret in text]


def test_everything_listens_on_loopback_alone(full: Settings):
    ours = {process.pid for process in Supervisor(Home(full.stack.home)).leftovers()}
    listening = [c.laddr for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN and c.pid in ours]
    assert len(listening) >= len(FULL)
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
