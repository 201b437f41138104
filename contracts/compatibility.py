"""Which schema change is refused, offline: FULL_TRANSITIVE against every older version on disk.

    incompatibilities(older, newer) → what breaks, in words; empty = compatible
      backward   the newer schema reads what the older wrote
      forward    the older schema reads what the newer wrote

The rule is Avro's schema resolution (Avro 1.12 specification, "Schema Resolution"), as far as the contracts use it:
records, unions, arrays and primitives. The house rule on top: a new field is nullable with default null.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from contracts import schemas

# writer's type → reader's types that it is promoted to
_PROMOTIONS: Final[dict[str, frozenset[str]]] = {
    "int": frozenset({"long", "float", "double"}),
    "long": frozenset({"float", "double"}),
    "float": frozenset({"double"}),
    "string": frozenset({"bytes"}),
    "bytes": frozenset({"string"}),
}


def incompatibilities(older: schemas.Schema, newer: schemas.Schema) -> list[str]:
    """What a change from `older` to `newer` breaks, backward and forward, and against the house rule."""
    problems = [f"backward (new reader, old data): {problem}" for problem in _unreadable(newer, older, older["name"])]
    problems += [f"forward (old reader, new data): {problem}" for problem in _unreadable(older, newer, newer["name"])]
    known = {field["name"] for field in older["fields"]}
    for field in newer["fields"]:
        is_optional = (
            isinstance(field["type"], list) and field["type"][:1] == ["null"] and field.get("default", 0) is None
        )
        if field["name"] not in known and not is_optional:
            problems.append(f"{newer['name']}.{field['name']}: a new field must be nullable with default null")
    return problems


def check(topic: str, history: Sequence[tuple[int, schemas.Schema]] | None = None) -> list[str]:
    """What is incompatible among all versions of a topic, each against every older one."""
    found = schemas.versions(topic) if history is None else history
    return [
        f"{topic} v{number} against v{older_number}: {problem}"
        for position, (number, newer) in enumerate(found)
        for older_number, older in found[:position]
        for problem in incompatibilities(older, newer)
    ]


def _unreadable(reader: Any, writer: Any, path: str) -> list[str]:
    """Why `reader` cannot read what `writer` wrote."""
    if isinstance(writer, list):
        return [problem for branch in writer for problem in _unreadable(reader, branch, path)]
    if isinstance(reader, list):
        if any(not _unreadable(branch, writer, path) for branch in reader):
            return []
        return [f"{path}: no branch of the reader's union reads {_name(writer)}"]
    if _name(reader) != _name(writer):
        is_promoted = _name(reader) in _PROMOTIONS.get(_name(writer), frozenset())
        return [] if is_promoted else [f"{path}: {_name(writer)} cannot be read as {_name(reader)}"]
    if _name(writer) == "array":
        return _unreadable(reader["items"], writer["items"], f"{path}[]")
    if _name(writer) == "record":
        return _unreadable_record(reader, writer, path)
    if _logical_type(reader) != _logical_type(writer):
        # Avro would read it as the plain type; a time would silently become a number.
        return [f"{path}: logical type {_logical_type(writer)} cannot be read as {_logical_type(reader)}"]
    return []


def _unreadable_record(reader: Any, writer: Any, path: str) -> list[str]:
    if (reader["name"], reader.get("namespace")) != (writer["name"], writer.get("namespace")):
        return [f"{path}: the record's name changed from {writer['name']} to {reader['name']}"]
    written = {field["name"]: field for field in writer["fields"]}
    problems = []
    for field in reader["fields"]:
        field_path = f"{path}.{field['name']}"
        if field["name"] in written:
            problems += _unreadable(field["type"], written[field["name"]]["type"], field_path)
        elif "default" not in field:
            problems.append(f"{field_path}: not in the data, and without a default")
    return problems


def _name(schema: Any) -> str:
    return str(schema["type"] if isinstance(schema, dict) else schema)


def _logical_type(schema: Any) -> str | None:
    return schema.get("logicalType") if isinstance(schema, dict) else None
