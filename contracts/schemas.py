"""The Avro schemas on disk: avro/<topic>/v<N>.avsc, the source of records, tables and dataframes.

latest("frames")  → the newest version, as parsed JSON
versions("frames") → [(1, {...}), ...] oldest first
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from contracts.errors import Misconfigured

Schema = dict[str, Any]


def _folder(topic: str) -> Traversable:
    return files("contracts").joinpath("avro", topic)


@cache
def versions(topic: str) -> tuple[tuple[int, Schema], ...]:
    """All versions of a topic's schema, oldest first.

    Raises:
        Misconfigured: the topic has no schema, or its versions are not 1, 2, 3, ...
    """
    folder = _folder(topic)
    found = sorted(
        (int(entry.name.removeprefix("v").removesuffix(".avsc")), json.loads(entry.read_text("utf-8")))
        for entry in (folder.iterdir() if folder.is_dir() else ())
        if entry.name.endswith(".avsc")
    )
    if [number for number, _ in found] != list(range(1, len(found) + 1)) or not found:
        raise Misconfigured(f"contracts/avro/{topic} must hold v1.avsc, v2.avsc, ... without a gap")
    return tuple(found)


def latest(topic: str) -> Schema:
    """The newest version of a topic's schema."""
    return versions(topic)[-1][1]


def without_logical_types(schema: Any) -> Any:
    """The same schema with times as plain milliseconds.

    Codecs use this one: a time that Python's datetime cannot hold then reaches the validity rule as a number and is
    refused there, by all consumers alike, where a decoder would have failed in one of them.
    """
    if isinstance(schema, dict):
        if "logicalType" in schema:
            return schema["type"]
        return {name: without_logical_types(value) for name, value in schema.items()}
    if isinstance(schema, list):
        return [without_logical_types(value) for value in schema]
    return schema
