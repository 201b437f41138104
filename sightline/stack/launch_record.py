"""What launch.py notes about a service's starts."""

from __future__ import annotations

import json

from sightline.stack.home import Home


def starts_of(home: Home, service: str) -> int:
    """How often it was started since the last start by `up`; 0 when it never was."""
    try:
        return int(json.loads(home.lives(service).read_text())["starts"])
    except (OSError, ValueError, KeyError):
        return 0
