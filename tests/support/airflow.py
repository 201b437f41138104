"""Airflow of a real stack, asked by REST as one person: runs started, waited for, their tasks and logs read.

operator = visitor(settings, "operator")
run = operator.start("score_frames", {"model": "2"})
operator.wait(run)                               # its end state
operator.tasks(run)["score"]                     # [state of each mapped task]
operator.log(run, "score")
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from contracts.settings import Settings
from sightline.stack import logins
from sightline.stack.home import Home
from sightline.stack.ports import ports

RUN_SECONDS: Final = 180.0
_TOKEN_SECONDS: Final = 240.0  # good for five minutes
_ENDED: Final = {"success", "failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a DAG."""

    dag: str
    run_id: str

    @property
    def path(self) -> str:
        """Of its documents."""
        return f"/dags/{self.dag}/dagRuns/{self.run_id}"


class Visitor:
    """Airflow's REST API as one person, or as nobody."""

    def __init__(self, url: str, login: Callable[[], str] | None = None) -> None:
        """`login()` gives a token; it is called again before that one is too old."""
        self._base = f"{url}/api/v2"
        self._login = login
        self._token = login() if login else ""
        self._since = time.monotonic()

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        if self._login and time.monotonic() - self._since > _TOKEN_SECONDS:
            self._token, self._since = self._login(), time.monotonic()
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return httpx.request(method, f"{self._base}{path}", json=body, headers=headers, timeout=60, trust_env=False)

    def get(self, path: str) -> httpx.Response:
        return self.ask("GET", path)

    def said(self, path: str) -> Any:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def trigger(self, dag: str, form: Mapping[str, Any] | None = None) -> httpx.Response:
        return self.ask("POST", f"/dags/{dag}/dagRuns", {"logical_date": None, "conf": dict(form or {})})

    def start(self, dag: str, form: Mapping[str, Any] | None = None) -> Run:
        """As the form would."""
        answer = self.trigger(dag, form)
        assert answer.status_code == 200, answer.text
        return Run(dag=dag, run_id=answer.json()["dag_run_id"])

    def unpause(self, *dags: str) -> None:
        for dag in dags:
            answer = self.ask("PATCH", f"/dags/{dag}", {"is_paused": False})
            assert answer.status_code == 200, answer.text

    def state(self, run: Run) -> str:
        return str(self.said(run.path)["state"])

    def wait(self, run: Run, *, seconds: float = RUN_SECONDS) -> str:
        """Its end state."""
        return str(wait_for(lambda: self.state(run), _ENDED, seconds=seconds))

    def tasks(self, run: Run) -> dict[str, list[str | None]]:
        """The states of each task's instances, by map index."""
        found: dict[str, list[str | None]] = defaultdict(list)
        instances = self.said(f"{run.path}/taskInstances?limit=500")["task_instances"]
        for one in sorted(instances, key=lambda one: int(one["map_index"])):
            found[one["task_id"]].append(one["state"])
        return dict(found)

    def instance(self, run: Run, task: str, *, index: int = -1) -> dict[str, Any]:
        """One task instance: state, try_number and all else."""
        mapped = "" if index < 0 else f"/{index}"
        answer: dict[str, Any] = self.said(f"{run.path}/taskInstances/{task}{mapped}")
        return answer

    def xcom(self, run: Run, task: str, *, index: int = -1) -> Any:
        """What the task returned."""
        return self.said(
            f"{run.path}/taskInstances/{task}/xcomEntries/return_value?map_index={index}&deserialize=true"
        )["value"]

    def log(self, run: Run, task: str, *, attempt: int = 1, index: int = -1) -> str:
        """What the page shows."""
        answer = self.get(f"{run.path}/taskInstances/{task}/logs/{attempt}?map_index={index}")
        assert answer.status_code == 200, answer.text
        return answer.text

    def whole_log(self, run: Run, task: str, *, attempt: int = 1, index: int = -1) -> str:
        """The log of a try that is over: it comes into the store a moment after its end."""

        def is_there() -> bool:
            return "Post Execute" in self.log(run, task, attempt=attempt, index=index)

        wait_for(is_there, {True})
        return self.log(run, task, attempt=attempt, index=index)

    def clear(self, run: Run, *tasks: str) -> None:
        """Has tasks, and what comes after them, run again."""
        body = {"dry_run": False, "dag_run_id": run.run_id, "task_ids": list(tasks), "include_downstream": True}
        answer = self.ask("POST", f"/dags/{run.dag}/clearTaskInstances", body | {"only_failed": False})
        assert answer.status_code == 200, answer.text

    def answer(self, run: Run, task: str, option: str) -> httpx.Response:
        """Answers what waits for a person: Approve or Reject."""
        path = f"{run.path}/taskInstances/{task}/-1/hitlDetails"
        return self.ask("PATCH", path, {"chosen_options": [option], "params_input": {}})


def airflow_url(settings: Settings) -> str:
    return f"http://127.0.0.1:{ports(settings.stack)['airflow']}"


def visitor(settings: Settings, person: str) -> Visitor:
    """One of the demo people."""
    url = airflow_url(settings)

    def login() -> str:
        password = logins.read(Home(settings.stack.home)).people[person]
        said = {"username": person, "password": password}
        answer = httpx.post(f"{url}/auth/token", json=said, timeout=60, trust_env=False)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["access_token"])

    return Visitor(url, login)


def wait_for_dags(someone: Visitor, wanted: Iterable[str], *, seconds: float = RUN_SECONDS) -> None:
    """Until Airflow has read these."""
    names = set(wanted)
    wait_for(
        lambda: names <= {dag["dag_id"] for dag in someone.said("/dags?limit=100")["dags"]}, {True}, seconds=seconds
    )


def wait_for(ask: Callable[[], Any], wanted: Iterable[Any], *, seconds: float = RUN_SECONDS) -> Any:
    """The first of the wanted answers."""
    allowed, deadline, found = list(wanted), time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        if (found := ask()) in allowed:
            return found
        time.sleep(1)
    raise AssertionError(f"{found}, none of {allowed}, after {seconds:g} s")
