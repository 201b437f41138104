"""A running API for tests: real processes on a port of their own.

with running_api(engine="fake", processes=2) as api:
    api.client(roles="operator").post("/v1/detections", content=jpeg())
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
DEMO_MODEL = ROOT / "inference/delivery/demo_model"
START_SECONDS = 60


class RunningApi:
    """One service."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process, self.url, self._log = process, url, log

    def client(self, roles: str = "operator,camera", **changes: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {roles}"}, timeout=30, **changes)

    def children(self) -> list[psutil.Process]:
        """The processes that serve."""
        return [
            child
            for child in psutil.Process(self.process.pid).children()
            if "resource_tracker" not in " ".join(child.cmdline())
        ]

    def metrics(self) -> str:
        return httpx.get(f"{self.url}/metrics", timeout=10).text

    def log(self) -> str:
        return self._log.read_text()

    def stop(self, *, seconds: float = 15) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextmanager
def running_api(
    *, slow: float = 0, environment: Mapping[str, str] | None = None, **api: object
) -> Iterator[RunningApi]:
    """Runs until every process of it is ready. `api` are settings of that section."""
    with launched_api(slow=slow, environment=environment, **api) as running:
        count = int(str(api.get("processes", 1)))
        eventually(lambda: _ready(running) >= count, seconds=START_SECONDS)
        yield running


@contextmanager
def launched_api(
    *, slow: float = 0, environment: Mapping[str, str] | None = None, **api: object
) -> Iterator[RunningApi]:
    """Just started. Nothing of it is left at the end."""
    settings = {"engine": "fake", "processes": 1, "port": free_port()} | api
    port = settings["port"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    given = {f"SIGHTLINE_API__{name.upper()}": str(value) for name, value in settings.items()}
    with tempfile.TemporaryDirectory(prefix="sightline-api-test-") as folder:
        log = Path(folder) / "log"
        given |= {"SIGHTLINE_STACK__HOME": folder, "SLOW_ENGINE": str(slow), **(environment or {})}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.api_process"],
                env=kept | given,
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )
        running = RunningApi(process, f"http://127.0.0.1:{port}", log)
        family = []
        try:
            yield running
        finally:
            if process.poll() is None:
                family = psutil.Process(process.pid).children(recursive=True)
                running.stop()
            _, left = psutil.wait_procs(family, timeout=10)
            for one in left:
                one.kill()
            assert not left, f"still alive after the end: {left}\n{running.log()}"


def _ready(running: RunningApi) -> int:
    """How many processes have loaded a model, as the log says."""
    if running.process.poll() is not None:
        raise AssertionError(f"exit {running.process.returncode}\n{running.log()}")
    try:
        is_up = httpx.get(f"{running.url}/readyz", timeout=5).is_success
    except httpx.TransportError:
        return 0
    return running.log().count('"model_loaded"') if is_up else 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Any, seconds: float = 10) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    eventually(condition, seconds=seconds)
    return time.monotonic() - began
