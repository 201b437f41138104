"""`sightline trace`: one frame's whole life."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inference.persistence.trace import Trace


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("trace")(trace)


def trace(
    frame_id: Annotated[str, typer.Argument(help="As in the tables, the objects' names and the API's answers")],
    is_json: Annotated[bool, typer.Option("--json", help="Print it as JSON")] = False,
) -> None:
    """Tells one frame's whole life: record, object, row, predictions, refusals.

    Exit code 0 when something knows the frame, 1 when nothing does.
    """
    from contracts import logs
    from contracts.settings import Settings
    from inference.persistence.trace import trace as ask

    settings = Settings.load()
    logs.configure(level="WARNING", as_json=False)
    found = ask(settings, frame_id)
    print(json.dumps(found.as_document(), indent=2, default=_text) if is_json else in_words(found))
    if not found.is_known:
        raise typer.Exit(1)


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def in_words(found: Trace) -> str:
    """The trace for a person."""
    lines = [f"frame        {found.frame_id}"]
    if not found.is_known:
        lines.append("nothing knows this frame: no row, no object, no prediction, no dead letter")
        return "\n".join([*lines, *found.notes])
    lines += [*_row(found), *_object(found), *_predictions(found)]
    lines += [
        f"{'refused' if not n else '':<13}{letter.letter_id}: {letter.reason}" for n, letter in enumerate(found.letters)
    ]
    lines += [f"note         {note}" for note in found.notes]
    lines += ["", *(f"{at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"Z  {event}" for at, event in found.timeline())]
    return "\n".join(lines)


def _row(found: Trace) -> list[str]:
    row = found.row
    if row is None:
        return ["row          none"]
    is_there = {True: "still there", False: "no longer there", None: "not asked"}[found.is_in_topic]
    state = "no record" if found.session is None else "closed" if found.session["closed_at"] else "open"
    return [
        f"camera       {row['camera_id']}",
        f"session      {row['session_id']}, sequence {row['sequence']} ({state})",
        f"record       topic frames, partition {row['kafka_partition']}, offset {row['kafka_offset']} ({is_there})",
        f"row          {row['width']} x {row['height']} {row['encoding']}, {row['size_bytes']} bytes",
        f"sha256       {row['sha256']}",
        f"trace        {row['traceparent'] or 'none'}",
    ]


def _object(found: Trace) -> list[str]:
    stored = found.object
    if stored is None:
        return ["object       none"]
    if not stored.exists:
        return [f"object       MISSING: {stored.key}"]
    verdict = {
        True: "its bytes are the row's",
        False: f"DIFFERS from the row: {stored.size_bytes} bytes, sha256 {stored.sha256}",
        None: f"{stored.size_bytes} bytes, sha256 {stored.sha256}, no row to compare with",
    }[stored.matches_row]
    return [f"object       {stored.key}", f"             {verdict}"]


def _predictions(found: Trace) -> list[str]:
    if not found.predictions:
        return ["predictions  none"]
    return [
        f"{'' if n else 'predictions':<13}{row['model_name']} v{row['model_version']} "
        f"({row['role']}, {row['engine']}): {row['status']}, {row['detections']} detections"
        for n, row in enumerate(found.predictions)
    ]
