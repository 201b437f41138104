"""Waiting for what another process will do, with the last answer in the failure."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(ask: Callable[[], T], *, seconds: float = 60, every: float = 0.3) -> T:
    """The first true answer; an AssertionError counts as not yet."""
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            answer = ask()
            if answer:
                return answer
            last = answer
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s; the last answer was {last!r}")
        time.sleep(every)
