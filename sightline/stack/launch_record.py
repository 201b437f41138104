"""What launch.py notes about a service's starts."""

from __future__ import annotations

import json
import time
from typing import Final

from sightline.stack.home import Home
from sightline.stack.launch import LONGEST_PAUSE_SECONDS, YOUNG_SECONDS, next_pause

_SECOND_PAUSE: Final = next_pause(lived_seconds=0, last_pause=next_pause(lived_seconds=0, last_pause=0))
_RECENT_SECONDS: Final = YOUNG_SECONDS + LONGEST_PAUSE_SECONDS + 10


def starts_of(home: Home, service: str) -> int:
    """How often it was started since the last start by `up`; 0 when it never was."""
    try:
        return int(json.loads(home.lives(service).read_text())["starts"])
    except (OSError, ValueError, KeyError):
        return 0


def is_restarting(home: Home, service: str) -> bool:
    """Whether it died young twice in a row and its last start is recent: supervisord calls that running.

    One kill is no such thing. A pause before the next start leaves the record as it is, so the time is longer than the
    longest young life and the longest pause together.
    """
    try:
        record = json.loads(home.lives(service).read_text())
        return bool(record["pause"] >= _SECOND_PAUSE and time.time() - record["at"] < _RECENT_SECONDS)
    except (OSError, ValueError, KeyError):
        return False
