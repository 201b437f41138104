"""sightline demo: the whole way once, with the commands that a user has."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("demo")(demo)


def demo(
    source: str = typer.Argument("", help="Your own images, folder, video or stream; 120 generated boards without."),
    camera: str = typer.Option("demo", help="The camera's name."),
    wait: float = typer.Option(600, min=1, help="Seconds to wait until every frame is accounted for."),
) -> None:
    """Starts the stack, sends frames, waits until the audit closes, and shows what was detected.

    The stack stays up: `sightline down` ends it.
    """
    from contracts import logs
    from contracts.settings import Settings
    from sightline import demonstration

    logs.configure(level="WARNING", as_json=False)
    demonstration.send_and_wait(source, camera=camera, wait_seconds=wait)
    settings = Settings.load()
    shown = demonstration.latest(settings, camera=camera)
    sheet = demonstration.write_contact_sheet(settings, shown)
    print(demonstration.table(shown))
    print(f"\ncontact sheet  {sheet}")
    print(demonstration.addresses(settings))
