from __future__ import annotations

import copy
from typing import Any

import pytest

from contracts import schemas
from contracts.compatibility import check, incompatibilities


def changed(field: str | None = None, **changes: Any) -> schemas.Schema:
    """The frames schema with one field changed, or with `added` appended, or `removed` taken out."""
    schema = copy.deepcopy(schemas.latest("frames"))
    for entry in schema["fields"]:
        if entry["name"] == field:
            entry.update({name: value for name, value in changes.items() if name in {"type", "name", "default"}})
    if "added" in changes:
        schema["fields"].append(changes["added"])
    if "removed" in changes:
        schema["fields"] = [entry for entry in schema["fields"] if entry["name"] != changes["removed"]]
    return schema


@pytest.mark.parametrize(
    "newer",
    [
        changed(added={"name": "gain", "type": ["null", "float"], "default": None}),
        changed(removed="traceparent"),
        changed("width", type="int"),
    ],
    ids=["a nullable field with default null", "an optional field taken out", "nothing"],
)
def test_a_compatible_change_passes(newer: schemas.Schema) -> None:
    assert incompatibilities(schemas.latest("frames"), newer) == []


@pytest.mark.parametrize(
    ("newer", "named"),
    [
        (changed(added={"name": "gain", "type": "float"}), "gain"),
        (changed(added={"name": "gain", "type": "float", "default": 1.0}), "must be nullable"),
        (changed(added={"name": "gain", "type": ["null", "float"]}), "must be nullable"),
        (changed(removed="sha256"), "sha256"),
        (changed("sequence", type="string"), "sequence"),
        (changed("sequence", type="int"), "sequence"),
        (changed("width", type="long"), "width"),
        (changed("camera_id", name="camera"), "camera"),
        (changed("camera_id", type=["null", "string"]), "camera_id"),
        (changed("traceparent", type="string"), "traceparent"),
        (changed("captured_at", type="long"), "logical type"),
        (changed("captured_at", type={"type": "long", "logicalType": "timestamp-micros"}), "logical type"),
        (changed("encoding", type={"type": "enum", "name": "Encoding", "symbols": ["jpeg"]}), "encoding"),
        (schemas.latest("frames") | {"name": "Image"}, "name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "schema",
)
def test_a_breaking_change_is_refused_and_named(newer: schemas.Schema, named: str) -> None:
    problems = incompatibilities(schemas.latest("frames"), newer)
    assert any(named in problem for problem in problems)


@pytest.mark.parametrize("topic", ["frames", "predictions", "sessions"])
def test_every_version_on_disk_is_fully_compatible_with_every_older_one(topic: str) -> None:
    assert check(topic) == []


def test_a_breaking_version_on_disk_is_named_with_both_versions() -> None:
    history = [(1, schemas.latest("frames")), (2, schemas.latest("frames")), (3, changed(removed="sha256"))]
    problems = check("frames", history)
    assert any(problem.startswith("frames v3 against v1") for problem in problems)
    assert any(problem.startswith("frames v3 against v2") for problem in problems)
