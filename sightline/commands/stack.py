"""sightline up · down · status · logs: the local stack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TextIO

import typer


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)
    app.command("logs")(logs)


def up(
    profile: str | None = typer.Option(
        None, help="core, or full: with logins (Keycloak), the API, the shadow and Airflow. Remembered; core at first."
    ),
    port_base: int | None = typer.Option(None, help="Moves all ports: 21000 for a second clone. Remembered."),
    workers: int | None = typer.Option(None, min=1, max=6, help="Stream worker processes. Remembered."),
    first_model: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Who is champion first: a folder. Remembered.")
    ] = None,
    airflow: bool | None = typer.Option(
        None, "--airflow/--no-airflow", help="In profile full: with Airflow or without. Remembered; with it at first."
    ),
    as_json: bool = typer.Option(False, "--json", help="The services as JSON on stdout, progress on stderr."),
) -> None:
    """Starts what is not running, waits until all of it takes work, and shows where everything is."""
    import json
    import sys
    import time

    from contracts import logs as log_settings
    from contracts.errors import Misconfigured
    from contracts.settings import Settings
    from sightline.stack import up as stack_up
    from sightline.stack.report import service_rows, table

    if profile is not None and profile not in stack_up.PROFILES:
        raise Misconfigured(f"there is no profile {profile}: the profiles are {', '.join(stack_up.PROFILES)}")
    settings = Settings.load()
    log_settings.configure(level="ERROR", as_json=False)
    stream = sys.stderr if as_json else sys.stdout
    begun = time.monotonic()
    stack = stack_up.up(
        settings,
        _say(stream),
        profile=profile,
        port_base=port_base,
        workers=workers,
        first_model=first_model,
        airflow=airflow,
    )
    rows = service_rows(stack)
    if as_json:
        print(json.dumps([row.as_dict() for row in rows], indent=1))
        return
    print(table(rows))
    if stack.settings.stack.profile == "full":
        print(f"\npeople and their passwords: {stack.home.logins_file}")
        print("a token for a script: sightline token --user scientist")
    print(f"\nup in {time.monotonic() - begun:.0f} s, {sum(row.memory_bytes for row in rows) / 2**20:,.0f} MiB in all")


def down(
    delete_data: bool = typer.Option(False, "--delete-data", help="Deletes what was stored, and the passwords."),
    yes: bool = typer.Option(False, "--yes", help="With --delete-data: do not ask."),
) -> None:
    """Stops everything of this stack, in order. Data stays."""
    import sys

    from contracts.settings import Settings
    from sightline.stack.down import down as stack_down

    settings = Settings.load()
    if delete_data and not yes:
        typer.confirm(f"delete all frames, predictions and models in {settings.stack.home}?", abort=True)
    stack_down(settings, _say(sys.stdout), delete_data=delete_data)


def status(as_json: bool = typer.Option(False, "--json", help="The same as JSON.")) -> None:
    """Shows services, connectors, lag, dead letters and open sessions. Exit code 1 unless all is well."""
    import json

    from contracts import logs as log_settings
    from contracts.settings import Settings
    from sightline.stack.status import look, page

    settings = Settings.load()
    log_settings.configure(level="ERROR", as_json=False)
    found = look(settings)
    print(json.dumps(found.as_dict(), indent=1) if as_json else page(found))
    raise typer.Exit(0 if found.is_well else 1)


def logs(
    service: str | None = typer.Argument(None, help="One service; all without."),
    follow: bool = typer.Option(False, "-f", "--follow", help="Waits for more."),
    lines: int = typer.Option(20, "-n", "--lines", min=0, help="The last lines of each."),
) -> None:
    """Shows the end of the services' logs."""
    from contracts.settings import Settings
    from sightline.stack.log_files import show

    show(Settings.load(), service, lines=lines, follow=follow)


def _say(stream: TextIO) -> Callable[[str], None]:
    """Whole lines, also when several threads speak."""

    def say(line: str) -> None:
        stream.write(f"{line}\n")
        stream.flush()

    return say
