"""The API of a real stack of profile full, asked as one of the demo people.

reviewer = Person(settings, "reviewer")
reviewer.review(frame_id, [("short", (1.0, 2.0, 3.0, 4.0))])
reviewer.get(f"/v1/frames/{frame_id}").json()
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import httpx

from contracts.settings import Settings
from sightline.stack import logins
from sightline.stack.home import Home

TOKEN_SECONDS = 200.0  # good for longer
Box = tuple[float, float, float, float]


class Person:
    """Keeps a token, and gets another one before it is too old."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._token, self._until = "", 0.0

    def ask(self, method: str, path: str, **rest: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._bearer()}"}
        return httpx.request(
            method, self._settings.api.url + path, headers=headers, timeout=60, trust_env=False, **rest
        )

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.ask("GET", path, params=query)

    def post(self, path: str, body: Any = None) -> Any:
        answer = self.ask("POST", path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def review(self, frame_id: str, boxes: Iterable[tuple[str, Box]]) -> dict[str, Any]:
        """These boxes and no others; none: nothing is there."""
        given = [{"label": label, "box": list(box)} for label, box in boxes]
        word = {"frame_id": frame_id, "verdict": "corrected" if given else "empty", "boxes": given}
        answer: dict[str, Any] = self.post("/v1/reviews", word | {"request_id": str(uuid4())})
        return answer

    def _bearer(self) -> str:
        if time.monotonic() > self._until:
            password = logins.read(Home(self._settings.stack.home)).people[self._name]
            form = {"grant_type": "password", "username": self._name, "password": password}
            url = f"{self._settings.auth.issuer}/protocol/openid-connect/token"
            answer = httpx.post(url, data=form | {"client_id": "sightline-demo"}, timeout=60, trust_env=False)
            assert answer.status_code == 200, answer.text
            self._token, self._until = str(answer.json()["access_token"]), time.monotonic() + TOKEN_SECONDS
        return self._token
