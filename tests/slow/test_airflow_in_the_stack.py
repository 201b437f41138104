"""Airflow in a real stack of profile full: who gets in, who may do what, a task that runs, and where its log lies."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import httpx
import psutil
import pytest

from contracts.settings import Settings
from inference.persistence.objects import make_client
from sightline.stack import airflow_permissions, install, logins, realm
from sightline.stack.airflow_services import LOGS_BUCKET
from sightline.stack.home import Home
from sightline.stack.ports import ports
from sightline.stack.supervision import Supervisor
from tests.support.airflow import Visitor, airflow_url, visitor, wait_for, wait_for_dags
from tests.support.command_line import succeed
from tests.support.keycloak import a_browser, submit
from tests.support.promotion_runs import READING
from tests.support.stack import running_stack
from tests.support.waiting import eventually

AIRFLOW = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")

DAGS = """
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, BaseHook, task

with DAG("say_hello", schedule=None, is_paused_upon_creation=False):
    @task
    def hello():
        import os

        from airflow.providers.postgres.hooks.postgres import PostgresHook

        print("a sentence to find again")
        print("password:", BaseHook.get_connection("sightline_s3").password)
        print("account:", os.environ["SIGHTLINE_LOGIN__SERVICE_ID"])
        try:
            PostgresHook("sightline_postgres").run("CREATE TABLE written_by_a_reader (id int)")
        except Exception as error:
            print("writing:", type(error).__name__)
        return PostgresHook("sightline_postgres").get_first("SELECT count(*) FROM frames")[0]

    hello()

with DAG("ask_somebody", schedule=None, is_paused_upon_creation=False):
    ApprovalOperator(task_id="ask", subject="may it?", assigned_users=ASSIGNED)
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("dags")
    approver = json.loads(realm.FILE.read_text())["people"]["approver"]["id"]
    (folder / "dags.py").write_text(DAGS.replace("ASSIGNED", repr([{"id": approver, "name": "approver"}])))
    with running_stack(profile="full", airflow=True, dags=folder) as settings:
        yield settings


@pytest.fixture(scope="module")
def url(jobs: Settings) -> str:
    return airflow_url(jobs)


def wait_for_ours(someone: Visitor) -> None:
    wait_for_dags(someone, {"say_hello", "ask_somebody"})


def test_up_shows_where_airflow_is_and_how_to_get_in(jobs: Settings, url: str):
    rows = {row["name"]: row for row in succeed(jobs, "status", "--json").answer["services"]}
    assert {rows[name]["state"] for name in AIRFLOW} == {"running"}
    assert (rows["airflow-api-server"]["url"], rows["airflow-api-server"]["login"]) == (url, "as at keycloak")
    print({name: rows[name]["memory_bytes"] >> 20 for name in AIRFLOW})
    assert succeed(jobs, "logs", "airflow", "-n", "1").out


def test_every_menu_and_resource_that_airflow_asks_for_is_in_our_permissions(jobs: Settings):
    """A stranger would be an error of Keycloak's, and so of every page."""
    asked = (
        "import json\n"
        "from airflow.api_fastapi.common.types import MenuItem\n"
        "from airflow.providers.keycloak.auth_manager.resources import KeycloakResource\n"
        "print(json.dumps([one.value for one in (*MenuItem, *KeycloakResource)]))"
    )
    python = install.binaries(jobs).airflow / "bin" / "python"
    said = subprocess.run([python, "-P", "-c", asked], capture_output=True, text=True, check=True).stdout
    ours = [one["name"] for one in airflow_permissions.authorization()["resources"]]
    assert sorted(json.loads(said.splitlines()[-1])) == sorted(ours)


def test_nobody_gets_nothing_and_a_wrong_password_no_token(jobs: Settings, url: str):
    assert Visitor(url).get("/dags").status_code == 401
    assert Visitor(url).trigger("say_hello").status_code == 401
    wrong = {"username": "viewer", "password": "guessed-guessed"}
    answer = httpx.post(f"{url}/auth/token", json=wrong, timeout=60, trust_env=False)
    # The provider expects Keycloak's refusal as a 401 and answers 403; this Keycloak's is a 400, and its answer a 500.
    assert answer.status_code in {403, 500}
    assert "access_token" not in answer.text


def test_a_viewer_reads_and_starts_nothing(jobs: Settings, url: str):
    viewer = visitor(jobs, "viewer")
    wait_for_ours(viewer)
    assert viewer.get("/pools").status_code == 200
    assert viewer.trigger("say_hello").status_code == 403
    assert viewer.ask("PATCH", "/dags/say_hello", {"is_paused": True}).status_code == 403
    for closed in ("/connections", "/variables"):
        assert viewer.get(closed).status_code == 403


def test_an_operator_starts_a_run_whose_log_is_in_the_store_and_in_the_page(jobs: Settings, url: str):
    operator = visitor(jobs, "operator")
    wait_for_ours(operator)
    started = operator.trigger("say_hello")
    assert started.status_code == 200, started.text
    run = f"/dags/say_hello/dagRuns/{started.json()['dag_run_id']}"
    wait_for(lambda: operator.said(run)["state"], {"success"})

    shown = operator.get(f"{run}/taskInstances/hello/logs/1").text
    assert "a sentence to find again" in shown
    assert "account: sightline-jobs" in shown
    assert "writing: InsufficientPrivilege" in shown
    secret = jobs.s3.secret_key.get_secret_value()
    assert "password: ***" in shown
    with closing(make_client(jobs.s3)) as s3:
        # A task's log is stored when its process ends, which is after its state.
        logs = [one["Key"] for one in eventually(lambda: s3.list_objects_v2(Bucket=LOGS_BUCKET).get("Contents", []))]
        texts = [s3.get_object(Bucket=LOGS_BUCKET, Key=key)["Body"].read().decode() for key in logs]
    assert [text for text in texts if "a sentence to find again" in text]
    assert not [text for text in texts if secret in text]

    cleared = operator.ask("POST", f"{run}/clear", {"dry_run": False})
    assert cleared.status_code == 200, cleared.text
    wait_for(lambda: operator.said(run)["state"], {"success"})
    for closed in ("/connections", "/variables"):
        assert operator.get(closed).status_code == 403
    assert operator.ask("DELETE", "/dags/say_hello").status_code == 403


def test_only_the_approver_answers_what_waits_for_one(jobs: Settings, url: str):
    operator, approver = visitor(jobs, "operator"), visitor(jobs, "approver")
    wait_for_ours(approver)
    assert approver.trigger("ask_somebody").status_code == 403
    started = operator.trigger("ask_somebody")
    assert started.status_code == 200, started.text
    run = f"/dags/ask_somebody/dagRuns/{started.json()['dag_run_id']}"
    answer = f"{run}/taskInstances/ask/-1/hitlDetails"
    wait_for(lambda: approver.get(answer).status_code, {200})
    asked_at = datetime.fromisoformat(approver.said(answer)["created_at"])
    eventually(lambda: datetime.now(UTC) - asked_at > READING)  # answered at once, Airflow 3.3 may ask again
    body = {"chosen_options": ["Approve"], "params_input": {}}
    assert operator.ask("PATCH", answer, body).status_code == 403
    assert visitor(jobs, "viewer").ask("PATCH", answer, body).status_code == 403
    given = approver.ask("PATCH", answer, body)
    assert given.status_code == 200, given.text
    assert given.json()["responded_by"]["name"] == "approver"
    wait_for(lambda: operator.said(run)["state"], {"success"})


def test_an_admin_sees_connections_and_pools_and_a_deferred_job_keeps_its_slot(jobs: Settings, url: str):
    admin = visitor(jobs, "admin")
    assert admin.get("/connections").status_code == 200
    assert admin.said(f"/pools/{jobs.jobs.pool}")["include_deferred"] is True


def test_a_script_gets_in_with_airflows_own_account_and_with_no_other(jobs: Settings, url: str):
    def token(account: str) -> httpx.Response:
        secret = logins.read(Home(jobs.stack.home)).accounts[account]
        body = {"grant_type": "client_credentials", "client_id": account, "client_secret": secret}
        return httpx.post(f"{url}/auth/token", json=body, timeout=60, trust_env=False)

    own = token("sightline-airflow")
    assert own.status_code == 201
    assert Visitor(url, lambda: own.json()["access_token"]).get("/dags").status_code == 200
    assert token("sightline-camera-demo").status_code == 403


def test_a_person_logs_in_with_a_browser(jobs: Settings, url: str):
    with a_browser() as browser:
        page = browser.get(f"{url}/auth/login")
        password = logins.read(Home(jobs.stack.home)).people["viewer"]
        landed = submit(browser, page, username="viewer", password=password)
        assert (landed.status_code, str(landed.url).rstrip("/")) == (200, url)
        menus = browser.get(f"{url}/ui/auth/menus").json()["authorized_menu_items"]
        assert "Dags" in menus
        assert "Connections" not in menus


def test_every_process_of_airflow_is_known_as_this_homes(jobs: Settings):
    """Asked again while one starts in between: the processes of DAGs come and go."""
    supervisor = Supervisor(Home(jobs.stack.home))

    def are_known() -> bool:
        ours = {process.pid for process in supervisor.leftovers()}
        for name in AIRFLOW:
            parent = psutil.Process(supervisor.processes()[name].pid)
            assert {parent.pid, *(child.pid for child in parent.children(recursive=True))} <= ours
        return True

    eventually(are_known, seconds=30)


def test_everything_listens_on_loopback_alone(jobs: Settings):
    ours = {process.pid for process in Supervisor(Home(jobs.stack.home)).leftovers()}
    listening = [c.laddr for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN and c.pid in ours]
    assert ports(jobs.stack)["airflow"] in {address.port for address in listening}
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_no_key_stands_on_a_command_line_or_in_a_log(jobs: Settings):
    home = Home(jobs.stack.home)
    made = logins.read(home)
    secrets = [*made.keys.values(), *made.accounts.values(), jobs.postgres.password.get_secret_value()]
    texts = [" ".join(process.cmdline()) for process in Supervisor(home).leftovers()]
    texts += [file.read_text(errors="replace") for file in home.logs.glob("airflow*.log")]
    assert len(texts) > len(AIRFLOW)
    assert not [text for text in texts for secret in secrets if secret in text]
