"""`sightline erase CAMERA`: everything of one camera goes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inference.persistence.erasure import Traces


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("erase")(erase)


def erase(
    camera: Annotated[str, typer.Argument(help="Whose frames, predictions, reviews and sessions go")],
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing")] = False,
    is_json: Annotated[
        bool, typer.Option("--json", help="Print what there was as JSON; asks nothing: give --yes")
    ] = False,
) -> None:
    """Erases one camera from the tables and the object store. There is no way back.

    What stays are the rows of `expirations` that say so. Kafka cannot delete one camera's records: the answer names the
    day by which each topic will have forgotten them, and the folders of trainings on this machine that hold copies.
    Data sets of labels that hold its images go whole: export them again, without it.
    """
    from contracts import logs
    from contracts.settings import Settings
    from inference.persistence import erasure

    settings = Settings.load()
    logs.configure(level="WARNING", as_json=False)
    if is_dry:
        there = erasure.count(settings, camera)
    else:
        if not is_sure:
            if is_json or not is_somebody_there():
                raise typer.BadParameter("nobody can be asked here: look with --dry-run, then give --yes")
            print(in_words(erasure.count(settings, camera), is_erased=False))
            typer.confirm(f"Erase all of {camera}? There is no way back", abort=True)
        there = erasure.erase(settings, camera, _quiet if is_json else print)
    if is_json:
        print(json.dumps({"is_erased": not is_dry, **there.as_document()}, indent=2))
    else:
        print(in_words(there, is_erased=not is_dry))


def is_somebody_there() -> bool:
    """Whether a question would reach a person."""
    return sys.stdin.isatty()


def _quiet(_line: str) -> None:
    """Says nothing: the one document is all that --json prints."""


def in_words(there: Traces, *, is_erased: bool) -> str:
    """What there is or was, for a person."""
    rows = ", ".join(f"{count} {table}" for table, count in there.rows.items() if count) or "no rows"
    return "\n".join(
        [
            f"{there.camera}: {'erased' if is_erased else 'there are'} {rows}, {there.objects} objects",
            *(
                f"data set {prefix} {'went' if is_erased else 'goes'} with it: it holds its images"
                for prefix in there.data_sets
            ),
            *(f"copies of its images stay in {folder}: delete it" for folder in there.trainings),
            *(f"topic {topic} will have forgotten it by {day}" for topic, day in there.forgotten_by.items()),
        ]
    )
