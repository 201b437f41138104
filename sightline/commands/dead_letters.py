"""sightline dead-letters list | show ID | replay ID... | replay --all

    list     what was refused: by whom, why, where it came from
    show     one of them: headers, the decoded record without its image
    replay   sends records once more to their topic, as they are or edited; exit 1 when one was not sent

An id is CONSUMER:OFFSET, such as frames_to_s3:0. To correct a record: `show ID --json`, save what stands under "record"
as a file, edit it, `replay ID --edit FILE`; "image": "path" in it replaces the image.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from connectors.dead_letters import DeadLetter
    from connectors.replay import Outcome
    from contracts.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
Consumer = Annotated[list[str] | None, typer.Option(help="Only what this consumer refused; repeatable.")]
Reason = Annotated[str | None, typer.Option(help="Only with this reason code, such as sha256_mismatch.")]

commands = typer.Typer(no_args_is_help=True, help="The records that a consumer refused, and their way back.")


def register(app: typer.Typer) -> None:
    """Adds `sightline dead-letters`."""
    app.add_typer(commands, name="dead-letters")


@commands.command(name="list")
def show_all(
    *,
    consumer: Consumer = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest; 0 for all.", min=0)] = 100,
    as_json: AsJson = False,
) -> None:
    """Lists what was refused, oldest first."""
    from connectors.dead_letters import counts
    from connectors.letter_documents import summary
    from contracts.settings import Settings

    settings = Settings.load()
    rows = sorted(
        (summary(letter) for letter in _chosen(settings, consumer, reason)), key=lambda row: row["refused_at"]
    )
    shown = rows[-limit:] if limit else rows
    if as_json:
        _print_json({"counts": counts(settings), "matching": len(rows), "dead_letters": shown})
    else:
        _print_list(shown, matching=len(rows))


@commands.command()
def show(letter_id: Annotated[str, typer.Argument(metavar="ID")], *, as_json: AsJson = False) -> None:
    """Shows one dead letter: where it came from, its headers, its record without the image."""
    from connectors.dead_letters import find
    from connectors.letter_documents import whole
    from contracts.settings import Settings

    settings = Settings.load()
    letter = find(settings, letter_id)
    answer = whole(settings, letter)
    if as_json:
        _print_json(answer)
    else:
        _print_one(answer)


@commands.command()
def replay(
    letter_ids: Annotated[list[str] | None, typer.Argument(metavar="ID...")] = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="All of them, or all that --consumer and --reason leave.")
    ] = False,
    consumer: Consumer = None,
    reason: Reason = None,
    edit: Annotated[Path | None, typer.Option(help="JSON file with the corrected fields, for one ID.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sends records once more to the topic they came from, so that every consumer sees them. Harmless when repeated.

    What would be refused again stays: also the loser of an object_conflict, unless --edit gives it
    a frame_id, object_key and sequence of its own.
    """
    from connectors.dead_letters import find
    from connectors.letter_documents import outcome_of
    from connectors.replay import load_edit
    from connectors.replay import replay as replayed
    from contracts.settings import Settings

    ids = letter_ids or []
    if bool(ids) == every:
        raise typer.BadParameter("name the IDs, or give --all")
    if edit is not None and len(ids) != 1:
        raise typer.BadParameter("--edit corrects one record: give one ID")
    if ids and (consumer or reason):
        raise typer.BadParameter("--consumer and --reason go with --all")
    settings = Settings.load()
    fields = load_edit(edit) if edit is not None else None
    letters: Iterable[DeadLetter] = (
        _chosen(settings, consumer, reason) if every else [find(settings, letter_id) for letter_id in ids]
    )
    outcomes = replayed(settings, letters, edit=fields)
    if as_json:
        _print_json({"outcomes": [outcome_of(outcome) for outcome in outcomes]})
    else:
        _print_outcomes(outcomes)
    raise typer.Exit(0 if all(outcome.is_replayed for outcome in outcomes) else 1)


def _chosen(settings: Settings, consumers: list[str] | None, reason: str | None) -> Iterable[DeadLetter]:
    from connectors.dead_letters import CONSUMERS, read

    strangers = sorted(set(consumers or ()) - set(CONSUMERS))
    if strangers:
        raise typer.BadParameter(f"no consumer {', '.join(strangers)}; there are {', '.join(CONSUMERS)}")
    return (letter for letter in read(settings, consumers or CONSUMERS) if reason in {None, letter.code})


def _origin(row: dict[str, Any]) -> str:
    origin = row["origin"]
    return "/".join("?" if origin[part] is None else str(origin[part]) for part in ("topic", "partition", "offset"))


def _print_list(rows: list[dict[str, Any]], *, matching: int) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    if not rows:
        print("No dead letters.")
        return
    # The reason takes the room that is left: an id must be whole, to be copied.
    lines = [(row["id"], _origin(row), row["refused_at"][5:16].replace("T", " "), row["reason"]) for row in rows]
    names = ("id", "from", "when (UTC)")
    widths = [max(len(name), *(len(line[each]) for line in lines)) for each, name in enumerate(names)]
    fixed = (Column(name, no_wrap=True, min_width=width) for name, width in zip(names, widths, strict=True))
    table = Table(*fixed, Column("reason", overflow="fold"))
    for line in lines:
        table.add_row(*map(escape, line))
    Console().print(table)
    if matching > len(rows):
        print(f"The newest {len(rows)} of {matching}; --limit 0 shows all.")


def _print_one(answer: dict[str, Any]) -> None:
    for name in ("id", "reason", "stage", "exception", "refused_at", "key", "size_bytes", "sha256_of_value"):
        print(f"{name:16} {answer[name]}")
    print(f"{'from':16} {_origin(answer)}")
    print("headers")
    for name, value in answer["headers"].items():
        first, *more = (value or "").splitlines() or [""]
        print(f"  {name}: {first}{' ...' if more else ''}")
    if answer["record"] is None:
        print(f"record           {answer['undecodable']}\nbegins with      {answer['begins_with']}")
        return
    print("record")
    for name, value in answer["record"].items():
        print(f"  {name}: {value}")
    if "image" in answer:
        print(f"  image: {answer['image']['size_bytes']} bytes, sha256 {answer['image']['sha256']}")


def _print_outcomes(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.is_replayed:
            where = f"{outcome.topic}/{outcome.partition}/{outcome.offset}"
            print(f"{outcome.letter}: replayed to {where}{f', {outcome.reason}' if outcome.reason else ''}")
        else:
            print(f"{outcome.letter}: not replayed: {outcome.reason}")
    print(f"{sum(outcome.is_replayed for outcome in outcomes)} of {len(outcomes)} replayed.")


def _print_json(answer: Any) -> None:
    print(json.dumps(answer, indent=2, ensure_ascii=False))
