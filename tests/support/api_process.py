"""The API as a process of its own, with tokens that say what their bearer may, and no database.

    python -m tests.support.api_process     as `python -m inference.api`, in the environment given

A token is "operator,camera": the roles. SLOW_ENGINE=0.2 has the fake engine take so long for an image, SLOW_LOAD=2 for
its loading. Every process of the service imports this module, so that what is replaced here is replaced in all of them.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from inference.api.identity import Identity
from inference.api.problems import Problem


class Believer:
    """Believes a token's own words."""

    def remembered(self, token: str) -> Identity | None:
        return None if token == "expired" else self.verify(token)

    def verify(self, token: str) -> Identity:
        if token == "expired":
            raise Problem(401, "token_expired", "the token has expired", headers={"WWW-Authenticate": "Bearer"})
        return Identity(subject="s", name="somebody", roles=frozenset(token.split(",")), client="a-test")


class NoDatabase:
    """For routes that ask none."""

    def close(self) -> None:
        pass


def replace() -> None:
    """Puts the stand-ins where the service looks for its parts."""
    from inference.api import parts
    from inference.engines import fake_engine

    parts.Verifier = lambda _settings: Believer()
    parts.Database = lambda _settings, **_: NoDatabase()
    seconds = float(os.environ.get("SLOW_ENGINE", "0"))
    loading = float(os.environ.get("SLOW_LOAD", "0"))

    def load(_folder: object, **_: object) -> fake_engine.FakeEngine:
        time.sleep(loading)
        return fake_engine.FakeEngine(seconds_per_image=seconds)

    if seconds or loading:
        fake_engine.load = load


def main() -> Any:
    from inference.api.__main__ import main as serve

    return serve()


if __name__ == "__mp_main__":  # a process of the service; the parent needs none of it
    replace()

if __name__ == "__main__":
    sys.exit(main())
