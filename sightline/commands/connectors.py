"""sightline connectors plan | apply | status | restart [NAME]

    plan     what `apply` would do; exit 1 when there is something to do
    apply    does it, and waits until every connector runs
    status   connectors and tasks; exit 1 when one of ours does not run
    restart  all tasks of one connector, or of all of ours, failed or not

Only connectors that Sightline configured are changed; others are listed as foreign.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from connectors.connect_admin import Connector
    from connectors.reconcile import Action

_LOG_WIDTH: Final = 240  # characters

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]

commands = typer.Typer(no_args_is_help=True, help="The sinks: Kafka Connect's connectors as they should be and are.")


def register(app: typer.Typer) -> None:
    """Adds `sightline connectors`."""
    app.add_typer(commands, name="connectors")


@commands.command()
def plan(*, as_json: AsJson = False) -> None:
    """Shows what `apply` would do. Exit 1 when there is something to do."""
    from connectors.connect_admin import KafkaConnectAdmin
    from connectors.reconcile import desired, foreign
    from connectors.reconcile import plan as planned
    from contracts.settings import Settings

    settings = Settings.load()
    wanted, running = desired(settings), KafkaConnectAdmin(settings.connect).connectors()
    actions, strangers = planned(wanted, running), foreign(wanted, running)
    if as_json:
        _print_json({"actions": [_action(action) for action in actions], "foreign": strangers})
    else:
        _print_actions(actions, nothing="Nothing to do: Kafka Connect runs what it should.")
        if strangers:
            print(f"Left alone, not ours: {', '.join(strangers)}")
    raise typer.Exit(1 if actions else 0)


@commands.command()
def apply(
    *,
    wait: Annotated[float, typer.Option(help="Seconds to wait until every connector runs.", min=1)] = 120,
    as_json: AsJson = False,
) -> None:
    """Makes Kafka Connect run what it should and waits until it does. Harmless when repeated."""
    from connectors.apply import apply as applied
    from contracts import logs
    from contracts.settings import Settings

    logs.configure(level="WARNING", as_json=False)
    actions = applied(Settings.load(), wait_seconds=wait)
    if as_json:
        _print_json({"actions": [_action(action) for action in actions]})
        return
    _print_actions(actions, nothing="Nothing to do.")
    print("Every connector runs.")


@commands.command()
def status(
    *,
    result: Annotated[Path | None, typer.Option(help="Write the --json document into this file too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Shows connectors and tasks. Exit 1 when one of ours does not run."""
    from connectors.connect_admin import KafkaConnectAdmin
    from connectors.reconcile import desired, is_ours
    from contracts.settings import Settings

    settings = Settings.load()
    running = KafkaConnectAdmin(settings.connect).connectors()
    missing = sorted(desired(settings).keys() - running.keys())
    entries = {name: _connector(entry) for name, entry in sorted(running.items())}
    if result is not None:
        from inference.batch.job import hand_over

        hand_over(json.dumps({"connectors": entries, "missing": missing}), result)
    if as_json:
        _print_json({"connectors": entries, "missing": missing})
    else:
        _print_status(list(running.values()), missing)
    is_well = not missing and all(entry.is_running for entry in running.values() if is_ours(entry.config))
    raise typer.Exit(0 if is_well else 1)


@commands.command()
def restart(
    name: Annotated[str | None, typer.Argument(help="One connector; without it, all of ours.")] = None,
    *,
    only_failed: Annotated[bool, typer.Option("--only-failed", help="Leave what runs alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Restarts a connector and its tasks. The watchdog looks after it again from then on."""
    from connectors.connect_admin import KafkaConnectAdmin
    from connectors.reconcile import is_ours
    from contracts.settings import Settings

    admin = KafkaConnectAdmin(Settings.load().connect)
    names = [name] if name else sorted(each for each, entry in admin.connectors().items() if is_ours(entry.config))
    for each in names:
        admin.restart(each, only_failed=only_failed)
    if as_json:
        _print_json({"restarted": names})
    else:
        print(
            f"Restarted {', '.join(names)}."
            if names
            else "There is no connector of ours: `sightline connectors apply`."
        )


def _action(action: Action) -> dict[str, Any]:
    return {
        "action": str(action.kind),
        "connector": action.connector,
        "changed": list(action.changed),
        "reason": action.reason,
    }


def _connector(entry: Connector) -> dict[str, Any]:
    from connectors.reconcile import is_ours, reason_of

    tasks = [
        {"task": task.task, "state": task.state, "worker": task.worker, "reason": reason_of(task.trace)}
        if task.trace
        else {"task": task.task, "state": task.state, "worker": task.worker}
        for task in entry.tasks
    ]
    return {
        "state": entry.state,
        "is_running": entry.is_running,
        "is_ours": is_ours(entry.config),
        "topics": entry.config.get("topics", ""),
        "tasks": tasks,
        "traces": list(entry.traces),
    }


def _print_actions(actions: list[Action], *, nothing: str) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    if not actions:
        print(nothing)
        return
    table = Table("action", Column("connector", no_wrap=True), "what differs")
    for action in actions:
        table.add_row(str(action.kind), action.connector, ", ".join(action.changed) or action.reason)
    Console().print(table)


def _print_status(running: list[Connector], missing: list[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from connectors.reconcile import is_ours, reason_of

    table = Table(Column("connector", no_wrap=True), "state", "tasks", "topic", "what is wrong")
    for entry in sorted(running, key=lambda entry: entry.name):
        name = entry.name if is_ours(entry.config) else f"{entry.name} (not ours)"
        states = ", ".join(task.state for task in entry.tasks) or "none"
        reasons = "; ".join(dict.fromkeys(reason_of(trace) for trace in entry.traces))
        table.add_row(name, entry.state, states, entry.config.get("topics", ""), escape(reasons))
    for name in missing:
        table.add_row(name, "MISSING", "none", "", "`sightline connectors apply` creates it")
    # In a log nothing is cut off: the reason is what it is read for.
    Console(width=None if sys.stdout.isatty() else _LOG_WIDTH).print(table)


def _print_json(answer: Any) -> None:
    print(json.dumps(answer, indent=2, ensure_ascii=False))
