"""`sightline audit`: is every acknowledged frame accounted for?"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from contracts.times import instant

if TYPE_CHECKING:
    from inference.persistence.audit import Report

_SHOWN: Final = 20
_SHOWN_SESSIONS: Final = 40
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST_WAIT: Final = 86_400.0  # seconds
_COUNTS: Final = ("stored", "dead_lettered", "expired", "pending")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("audit")(audit)


def audit(
    camera: Annotated[str | None, typer.Option("--camera", "-c", help="Only this camera's sessions")] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only frames captured since then: 2h, 90m, 7d, or a time such as 2026-01-02T03:04Z"),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(min=0, max=_LONGEST_WAIT, help="Judge again for up to so many seconds, until nothing is missing"),
    ] = 0,
    is_quick: Annotated[
        bool, typer.Option("--quick", help="Compare the objects' metadata; their bytes stay unread")
    ] = False,
    is_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
) -> None:
    """Accounts for every frame that a camera's session says was acknowledged.

    Each is stored (object, row and prediction), dead-lettered or expired; anything else is a problem and is named.
    Exit code 0 when the audit closes, 1 when it does not, 75 when a store is away.
    """
    from contracts import logs
    from contracts.settings import Settings
    from inference.persistence.audit import as_document
    from inference.persistence.audit import audit as account

    if math.isnan(wait):  # it is neither below the least nor above the most
        raise typer.BadParameter("write a number of seconds", param_hint="--wait")
    settings = Settings.load()
    logs.configure(level="WARNING", as_json=False)
    now = datetime.now(UTC)
    report = account(
        settings,
        camera=camera,
        since=None if since is None else _time(since, now),
        wait=timedelta(seconds=wait),
        is_quick=is_quick,
    )
    print(json.dumps(as_document(report), indent=2) if is_json else in_words(report))
    if not report.is_closed:
        raise typer.Exit(1)


def _time(text: str, now: datetime) -> datetime:
    span = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    try:
        if span:
            return now - timedelta(**{_UNITS[span[2]]: float(span[1])})
        return instant(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            "write 2h, 90m, 7d, or a time such as 2026-01-02T03:04Z", param_hint="--since"
        ) from error


def in_words(report: Report) -> str:
    """The report for a person."""
    lines = [_table(report)] if report.sessions else []
    lines += _listed("problem", report.problem_count, _named(report.problems))
    pending = [named for verdict in report.sessions for named in verdict.pending_frames]
    lines += _listed("frame on its way", report.total("pending"), _named(pending))
    letters = [named for verdict in report.sessions for named in verdict.dead_letters]
    lines += _listed("dead-lettered frame", report.total("dead_lettered"), _named(letters))
    apart = [f"{letter.origin}  {letter.letter_id}: {letter.reason}" for letter in report.unreadable]
    lines += _listed("dead letter that tells no frame, counted apart", len(apart), apart)
    lines += _listed("object without a row", len(report.objects_without_row), report.objects_without_row)
    return "\n".join([*lines, _conclusion(report)])


def _conclusion(report: Report) -> str:
    parts = [
        f"{report.total('stored')} stored",
        f"{report.total('dead_lettered')} dead-lettered",
        f"{report.total('expired')} expired",
    ]
    if report.total("pending"):
        parts.append(f"{report.total('pending')} on their way (sessions in progress)")
    missing = report.total("problem_count")
    if missing:
        parts.append(f"{missing} unaccounted for")
    words = "audit closed" if report.is_closed else "audit NOT closed"
    if report.without_session:
        words += f" ({len(report.without_session)} sessions without a record)"
    quick = " (objects by their metadata only)" if report.is_quick else ""
    return f"{words}: {report.acknowledged} acknowledged = {' + '.join(parts)}{quick}"


def _listed(what: str, count: int, entries: list[str]) -> list[str]:
    if not count:
        return []
    shown = [f"  {entry}" for entry in entries[:_SHOWN]]
    more = [f"  ... and {count - len(shown)} more (--json names them)"] if count > len(shown) else []
    return [f"{count} x {what}:", *shown, *more, ""]


def _named(entries: list[Any]) -> list[str]:
    return [
        f"{named.problem}: camera {named.camera_id}, session {named.session_id}"
        + (f", sequence {named.sequence}" if named.sequence is not None else "")
        + (f", frame {named.frame_id}" if named.frame_id else "")
        + (f" ({named.detail})" if named.detail else "")
        for named in entries
    ]


def _table(report: Report) -> str:
    from rich.console import Console
    from rich.table import Table

    # Sessions that have something to say come first: with many, the others are only counted.
    ordered = sorted(report.sessions, key=lambda verdict: (verdict.is_settled, verdict.state == "closed"))
    shown = ordered[:_SHOWN_SESSIONS]
    page = Table(box=None, pad_edge=False)
    for heading in ("camera", "session", "state"):
        page.add_column(heading, no_wrap=True)
    for heading in ("acknowledged", "stored", "dead-lettered", "expired", "on its way", "problems"):
        page.add_column(heading, justify="right")
    for verdict in shown:
        counts = (verdict.witness.acknowledged, *(getattr(verdict, name) for name in (*_COUNTS, "problem_count")))
        state = verdict.state
        if state == "open":
            state += f", no news since {verdict.witness.updated_at:%Y-%m-%d %H:%M:%S}Z"
        page.add_row(verdict.witness.camera_id, verdict.witness.session_id, state, *map(str, counts))
    console = Console(width=180)
    with console.capture() as captured:
        console.print(page)
    hidden = len(ordered) - len(shown)
    return captured.get() + (f"... and {hidden} more sessions (--json names them)\n" if hidden else "")
