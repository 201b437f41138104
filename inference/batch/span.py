"""The time range of a job: `--since` belongs to it, `--until` does not.

--since ISO, --until ISO ──span_of──► (since, until), aware, one before the other
"""

from __future__ import annotations

import argparse
from datetime import datetime

from contracts.errors import Misconfigured
from contracts.times import instant


def add_span(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """The two options."""
    parser.add_argument(
        "--since", required=required, metavar="ISO", help="captured then or later; UTC unless it says so"
    )
    parser.add_argument("--until", required=required, metavar="ISO", help="captured before")


def span_of(given: argparse.Namespace) -> tuple[datetime, datetime] | None:
    """The range that was asked for; None: neither end was given.

    Raises:
        Misconfigured: half a range, an empty one, or a time that cannot be read.
    """
    if given.since is None and given.until is None:
        return None
    if given.since is None or given.until is None:
        raise Misconfigured("half a range: give both --since and --until")
    since, until = _time("--since", given.since), _time("--until", given.until)
    if since >= until:
        raise Misconfigured(
            f"the range is empty: --since {since.isoformat()} is not before --until {until.isoformat()}"
        )
    return since, until


def _time(name: str, text: str) -> datetime:
    try:
        return instant(text)
    except ValueError:
        raise Misconfigured(
            f"{name} {text!r} is no time: write it as 2026-11-25T08:00 or 2026-11-25T08:00+01:00"
        ) from None
