"""What the tests that run inside Airflow's environment share: settings of their own for each test, and a task to run in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sightline_airflow import jobs


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Sets SIGHTLINE_ variables and gives the tree that follows."""

    def set_them(**values: str) -> Any:
        for name, value in values.items():
            monkeypatch.setenv(f"SIGHTLINE_{name}", value)
        jobs.settings.cache_clear()
        return jobs.settings()

    for name in list(os.environ):
        if name.startswith("SIGHTLINE_"):
            monkeypatch.delenv(name)
    yield set_them
    jobs.settings.cache_clear()


class Task:
    """A task instance as far as an operator sees it: XComs."""

    task_id = "job"
    map_index = -1
    try_number = 1

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, **_: Any) -> Any:
        return self.xcoms.get("return_value")


@pytest.fixture
def context() -> dict[str, Any]:
    return {"ti": Task(), "run_id": "manual__1"}
