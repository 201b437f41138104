"""`sightline contracts`: do the schemas on disk hold together, and does the registry have them?"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    commands = typer.Typer(no_args_is_help=True, help="The schemas: check them offline, register them, compare them.")
    commands.command("check")(check)
    commands.command("register")(register_schemas)
    commands.command("diff")(diff)
    app.add_typer(commands, name="contracts")


def check(is_json: AsJson = False) -> None:
    """Checks all versions on disk offline: FULL_TRANSITIVE, and the typed records. Exit code 1 when one is broken."""
    from contracts.compatibility import check as incompatibilities
    from contracts.schemas import versions
    from contracts.topics import CONTRACT_TOPICS

    problems = {
        topic.name: [*incompatibilities(topic.name), *_record_differences(topic.name)] for topic in CONTRACT_TOPICS
    }
    if is_json:
        print(json.dumps({"problems": problems}))
    else:
        for topic, found in problems.items():
            numbers = ", ".join(f"v{number}" for number, _ in versions(topic))
            print(f"{topic}: {numbers} {'agree' if not found else 'do NOT agree'}")
            for problem in found:
                print(f"  {problem}")
    if any(problems.values()):
        raise typer.Exit(1)


def register_schemas(is_json: AsJson = False) -> None:
    """Registers every version on disk, oldest first, and sets and asserts FULL_TRANSITIVE. Harmless when repeated."""
    from connectors.schema_registry import LEVEL, SchemaRegistry
    from contracts.settings import Settings

    with SchemaRegistry(Settings.load().registry) as registry:
        ids = registry.register_all()
    if is_json:
        print(json.dumps({"compatibility": LEVEL, "ids": ids}))
        return
    for topic, found in ids.items():
        print(f"{topic}: " + ", ".join(f"v{number} has id {one}" for number, one in enumerate(found, start=1)))
    print(f"compatibility {LEVEL}")


def diff(is_json: AsJson = False) -> None:
    """Compares the disk with the registry. Exit code 1 when they differ."""
    from connectors.schema_registry import SchemaRegistry
    from contracts import schemas
    from contracts.settings import Settings
    from contracts.topics import CONTRACT_TOPICS

    with SchemaRegistry(Settings.load().registry) as registry:
        differences = {
            topic.name: _differences(dict(schemas.versions(topic.name)), registry.registered_versions(topic.name))
            for topic in CONTRACT_TOPICS
        }
    if is_json:
        print(json.dumps({"differences": differences}))
    else:
        for name, found in differences.items():
            print(f"{name}: {'the same on disk and in the registry' if not found else 'differs'}")
            for difference in found:
                print(f"  {difference}")
    if any(differences.values()):
        raise typer.Exit(1)


def _differences(on_disk: dict[int, Any], registered: dict[int, Any]) -> list[str]:
    """What one side has and the other has not, in words. The registry's own numbers need not be those on disk."""
    found = [
        f"v{number} is on disk and not registered: `sightline contracts register`"
        for number, schema in on_disk.items()
        if schema not in registered.values()
    ]
    found += [
        f"the registry's version {number} is not on disk: this clone is older than what runs"
        for number, schema in registered.items()
        if schema not in on_disk.values()
    ]
    return found


def _record_differences(topic: str) -> list[str]:
    """Where the typed record and the newest schema name other fields, or order them otherwise."""
    from dataclasses import fields

    from contracts.records import RECORD_TYPES
    from contracts.schemas import latest

    typed = [field.name for field in fields(RECORD_TYPES[topic])]
    written = [field["name"] for field in latest(topic)["fields"]]
    if typed == written:
        return []
    return [f"{topic}: the typed record has {', '.join(typed)}; the newest schema has {', '.join(written)}"]
