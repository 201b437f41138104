"""A client that keeps asking the API for detections, and remembers every answer.

with asking(settings) as load:
    ... break something ...
load.answers.statuses      Counter of HTTP statuses
load.answers.broken        connections that failed, one text each
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from connectors.cameras.boards import encode_jpeg, simulate_board
from contracts.settings import Settings
from tests.support.command_line import run
from tests.support.waiting import eventually

PAUSE_SECONDS = 0.25
TOKEN_SECONDS = 200.0  # of the 300 that one lives


@dataclass(kw_only=True)
class Answers:
    """Every answer of the API."""

    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    without_retry_after: int = 0  # of those that answered 503


class Load:
    """One image after the other, with pauses."""

    def __init__(self, settings: Settings) -> None:
        self.answers = Answers()
        self._settings = settings
        self._image = encode_jpeg(simulate_board(seed=9, index=0, size=640))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.failure: BaseException | None = None

    def start(self) -> None:
        self._thread.start()
        eventually(lambda: self.answers.statuses[200] > 2 or self.failure, seconds=60)

    def stop(self) -> Answers:
        self._stop.set()
        self._thread.join(60)
        if self.failure is not None:
            raise self.failure
        return self.answers

    def _ask(self) -> None:
        try:
            self._keep_asking()
        except BaseException as error:  # noqa: BLE001 - raised by stop()
            self.failure = error

    def _keep_asking(self) -> None:
        token, until = token_of(self._settings, "operator"), time.monotonic() + TOKEN_SECONDS
        with httpx.Client(base_url=self._settings.api.url, timeout=30, trust_env=False) as client:
            while not self._stop.is_set():
                if time.monotonic() > until:
                    token, until = token_of(self._settings, "operator"), time.monotonic() + TOKEN_SECONDS
                self._ask_once(client, token)
                self._stop.wait(PAUSE_SECONDS)

    def _ask_once(self, client: httpx.Client, token: str) -> None:
        try:
            answer = client.post("/v1/detections", content=self._image, headers={"Authorization": f"Bearer {token}"})
        except httpx.HTTPError as error:
            self.answers.broken.append(repr(error))
            return
        self.answers.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            self.answers.versions[answer.json()["model"]["version"]] += 1
        elif answer.status_code == 503 and "retry-after" not in answer.headers:
            self.answers.without_retry_after += 1


@contextmanager
def asking(settings: Settings) -> Iterator[Load]:
    load = Load(settings)
    load.start()
    try:
        yield load
    finally:
        load.stop()


def token_of(settings: Settings, person: str) -> str:
    """An access token of a demo user."""
    outcome = run(settings, "token", "--user", person)
    assert outcome.code == 0, outcome.err
    return outcome.out.strip()


def get(settings: Settings, path: str, person: str = "viewer", *, token: str = "") -> httpx.Response:
    """One answer of the API."""
    headers = {"Authorization": f"Bearer {token or token_of(settings, person)}"}
    return httpx.get(f"{settings.api.url}{path}", headers=headers, timeout=30, trust_env=False)
