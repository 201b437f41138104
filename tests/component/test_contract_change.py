"""A change of a contract, in its order: migration, registry, producers. On a topic and a table of the test's own.

table   a nullable column more       the sink of the old program goes on
registry   v2, FULL_TRANSITIVE       old and new records can both be read
producers                            old and new ones side by side, as while a fleet of cameras is updated
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import ConfigCompatibilityLevel, ServerConfig
from psycopg import sql

from connectors.schema_registry import LEVEL, SchemaRegistry
from connectors.serialisation import Codec
from contracts import schemas
from contracts.compatibility import incompatibilities
from contracts.errors import Misconfigured, Rejected
from contracts.identifiers import from_milliseconds
from contracts.records import Record, Session
from contracts.settings import Settings
from contracts.topics import subject
from inference.persistence import connect
from tests.support.records import a_session_record

V1 = schemas.latest("sessions")
V2 = copy.deepcopy(V1)
V2["fields"].append({"name": "site", "type": ["null", "string"], "default": None, "doc": "where the camera hangs"})


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """A contract like that of sessions, nobody else's."""

    settings: Settings
    topic: str
    folder: Path  # of its versions on disk
    registry: SchemaRegistry
    programs: ExitStack

    def write(self, number: int, schema: schemas.Schema) -> None:
        (self.folder / f"v{number}.avsc").write_text(json.dumps(schema))
        schemas.versions.cache_clear()

    def a_program(self) -> Codec:
        """One that knows the versions on disk now, whatever comes later."""
        codec = Codec(self.programs.enter_context(SchemaRegistry(self.settings.registry)))
        codec.prepare(self.topic)
        codec.encode(self.topic, a_session_record(site=None) if "site" in self.fields() else a_session_record())
        return codec

    def fields(self) -> list[str]:
        return [field["name"] for field in schemas.latest(self.topic)["fields"]]

    def alter(self, statement: str) -> None:
        with connect(self.settings) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self.topic)))

    def store(self, record: Record) -> None:
        row = {name: self._value(name, value) for name, value in record.items()}
        with connect(self.settings) as connection:
            connection.execute(
                sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    sql.Identifier(self.topic),
                    sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join([sql.Placeholder()] * len(row)),
                ),
                [*row.values()],
            )

    def sites(self) -> list[Any]:
        with connect(self.settings) as connection:
            found = connection.execute(sql.SQL("SELECT site FROM {}").format(sql.Identifier(self.topic)))
            return [row[0] for row in found]

    @staticmethod
    def _value(name: str, value: Any) -> Any:
        is_time = name in Session.TIMES and value is not None
        return from_milliseconds(value).replace(tzinfo=None) if is_time else value


@pytest.fixture
def scratch(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scratch]:
    topic = f"scratch-{uuid.uuid4()}"
    (tmp_path / topic).mkdir()
    of_the_project = schemas._folder
    monkeypatch.setattr(schemas, "_folder", lambda name: tmp_path / name if name == topic else of_the_project(name))
    with SchemaRegistry(stack.registry) as registry, ExitStack() as programs:
        made = Scratch(settings=stack, topic=topic, folder=tmp_path / topic, registry=registry, programs=programs)
        made.write(1, V1)
        registry.register(topic, V1)
        registry._client.set_config(subject(topic), ServerConfig(compatibility=ConfigCompatibilityLevel[LEVEL]))
        made.alter("CREATE TABLE {} (LIKE sessions INCLUDING ALL)")
        try:
            yield made
        finally:
            made.alter("DROP TABLE {}")
            schemas.versions.cache_clear()


def test_a_nullable_field_is_added_by_migration_then_registry_then_producers(scratch: Scratch) -> None:
    topic, registry = scratch.topic, scratch.registry
    old = scratch.a_program()
    before = a_session_record(camera_id="before")

    # 1. The migration. What the old program reads still fits the table.
    scratch.store(old.decode(topic, old.encode(topic, before)))
    scratch.alter("ALTER TABLE {} ADD COLUMN site text")
    scratch.store(old.decode(topic, old.encode(topic, a_session_record())))

    # 2. The registry. A producer that came before it would not start.
    scratch.write(2, V2)
    assert incompatibilities(V1, V2) == []
    with pytest.raises(Misconfigured, match="not registered"):
        scratch.a_program()
    assert registry.is_compatible(topic, V2)
    registry.register(topic, V2)
    assert [*registry.registered_versions(topic).values()] == [V1, V2]

    # 3. The producers, one after the other: whoever reads understands both.
    new = scratch.a_program()
    after = a_session_record(camera_id="after", site="hall 2")
    of_old, of_new = old.encode(topic, before), new.encode(topic, after)
    assert of_old[:5] != of_new[:5], "one schema for both"
    without_site = {name: value for name, value in after.items() if name != "site"}
    assert [old.decode(topic, value) for value in (of_old, of_new)] == [before, without_site]
    assert [new.decode(topic, value) for value in (of_old, of_new)] == [before | {"site": None}, after]
    scratch.store(new.decode(topic, of_new))
    assert scratch.sites() == [None, None, "hall 2"]


def test_a_registry_or_producers_first_would_fill_a_table_that_lacks_the_column(scratch: Scratch) -> None:
    scratch.write(2, V2)
    scratch.registry.register(scratch.topic, V2)
    new = scratch.a_program()
    value = new.encode(scratch.topic, a_session_record(site="hall 2"))
    with pytest.raises(Misconfigured, match="a column is missing: run the migrations"):
        scratch.store(new.decode(scratch.topic, value))


def test_a_change_that_old_programs_could_not_read_is_refused(scratch: Scratch) -> None:
    broken = copy.deepcopy(V1)
    broken["fields"].append({"name": "site", "type": "string"})
    assert incompatibilities(V1, broken)
    with pytest.raises(Rejected) as refused:
        scratch.registry.register(scratch.topic, broken)
    assert refused.value.code == "incompatible_schema"
    assert [*scratch.registry.registered_versions(scratch.topic).values()] == [V1]
