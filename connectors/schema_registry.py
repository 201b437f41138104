"""The schema registry: what is on disk is registered there, and nothing else.

    contracts/avro/<topic>/v<N>.avsc ──register_all──► subject <topic>-value ──► ids in every record

Only the bootstrap registers; producers look their schema's id up, consumers look schemas up by id.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

import httpx2  # what the registry client speaks through
from confluent_kafka.schema_registry import (
    ConfigCompatibilityLevel,
    Schema,
    SchemaRegistryClient,
    SchemaRegistryError,
    ServerConfig,
)

from contracts import schemas
from contracts.errors import Misconfigured, Rejected, Transient
from contracts.settings import RegistrySettings
from contracts.topics import CONTRACT_TOPICS, subject

LEVEL: Final = "FULL_TRANSITIVE"
TIMEOUT_SECONDS: Final = 10

_STORE: Final = "the schema registry"  # for clients, who learn no address
_CONFLICT: Final = 409
_UNPROCESSABLE: Final = 422
_NOT_FOUND: Final = 404
_UNKNOWN: Final = frozenset({40401, 40402, 40403})  # subject, version, schema
_BUSY: Final = frozenset({408, 425, 429})


class SchemaRegistry:
    """Speaks to one registry over its Confluent-compatible API.

    Every call raises Transient while the registry is away. What it answered once is kept: ids and schemas never change.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it writes a line for every request
        # Waiting is the caller's business, who can say so: no retries hidden in here.
        self._client: Any = SchemaRegistryClient(
            {"url": settings.confluent_url, "timeout": TIMEOUT_SECONDS, "max.retries": 0}
        )
        self._schemas: dict[int, schemas.Schema] = {}
        self._ids: dict[str, int] = {}

    def register_all(self) -> dict[str, list[int]]:
        """Sets the compatibility, then registers every version on disk, oldest first. Harmless when repeated.

        Returns:
            The ids by topic, oldest version first.

        Raises:
            Rejected: a version is incompatible with an older one in the registry, in the registry's words.
        """
        self.set_and_assert_compatibility()
        return {
            topic.name: [self._register(topic.name, number, schema) for number, schema in schemas.versions(topic.name)]
            for topic in CONTRACT_TOPICS
        }

    def set_and_assert_compatibility(self) -> None:
        """Sets FULL_TRANSITIVE for all and for each subject, and reads it back: a registry enforces nothing until told.

        Raises:
            Misconfigured: the registry answers with another level.
        """
        for name in (None, *(subject(topic.name) for topic in CONTRACT_TOPICS)):
            with _translated(f"setting the compatibility of {name or 'all subjects'}"):
                self._client.set_config(
                    subject_name=name, config=ServerConfig(compatibility=ConfigCompatibilityLevel[LEVEL])
                )
        self.assert_compatibility()

    def assert_compatibility(self) -> None:
        """Asserts FULL_TRANSITIVE for all and for each subject, changing nothing.

        Raises:
            Misconfigured: the registry answers with another level.
        """
        for name in (None, *(subject(topic.name) for topic in CONTRACT_TOPICS)):
            with _translated(f"reading the compatibility of {name or 'all subjects'}"):
                level = str(self._client.get_compatibility(name))
            if level != LEVEL:
                raise Misconfigured(
                    f"the registry's compatibility of {name or 'all subjects'} is {level}, not {LEVEL}: "
                    "`sightline contracts register` sets it"
                )

    def assert_registered(self) -> None:
        """Asserts that every version on disk is registered and the compatibility is set.

        Raises:
            Misconfigured: a version is missing.
        """
        self.assert_compatibility()
        missing = [
            f"{topic.name} v{number}"
            for topic in CONTRACT_TOPICS
            for number, schema in schemas.versions(topic.name)
            if self._lookup(topic.name, schema) is None
        ]
        if missing:
            raise Misconfigured(f"not registered: {', '.join(missing)}. `sightline contracts register` does it")

    def id_of(self, topic: str) -> int:
        """The id of a topic's newest version on disk.

        Raises:
            Misconfigured: it is not registered.
        """
        if topic not in self._ids:
            found = self._lookup(topic, schemas.latest(topic))
            if found is None:
                raise Misconfigured(
                    f"the newest schema of {topic} is not registered: `sightline contracts register` does it"
                )
            self._ids[topic] = found
        return self._ids[topic]

    def schema_by_id(self, schema_id: int) -> schemas.Schema:
        """The schema that an id stands for.

        Raises:
            Rejected: the registry has no such Avro schema (unknown_schema).
        """
        if schema_id not in self._schemas:
            with _translated(f"asking for schema {schema_id}", not_found="unknown_schema"):
                answer = self._client.get_schema(schema_id)
            try:
                self._schemas[schema_id] = json.loads(answer.schema_str)
            except (TypeError, ValueError, RecursionError) as error:
                raise Rejected(f"schema {schema_id} is not an Avro schema", code="unknown_schema") from error
        return self._schemas[schema_id]

    def registered_versions(self, topic: str) -> dict[int, schemas.Schema]:
        """What the registry holds for a topic, by its own version numbers; empty for an unknown subject."""
        try:
            with _translated(f"listing the versions of {topic}", not_found="unknown_subject"):
                numbers = self._client.get_versions(subject(topic))
                return {
                    number: json.loads(self._client.get_version(subject(topic), number).schema.schema_str)
                    for number in numbers
                }
        except Rejected as error:
            if error.code == "unknown_subject":
                return {}
            raise

    def is_compatible(self, topic: str, schema: schemas.Schema) -> bool:
        """Whether the registry would take this schema as a topic's next version. Registers nothing."""
        with _translated(f"testing a schema of {topic}"):
            return bool(self._client.test_compatibility_all_versions(subject(topic), _as_avro(schema)))

    def register(self, topic: str, schema: schemas.Schema) -> int:
        """Registers one schema as a topic's next version.

        Raises:
            Rejected: the registry refuses it as incompatible (incompatible_schema), in its words.
        """
        with _translated(f"registering a schema of {topic}"):
            return int(self._client.register_schema(subject(topic), _as_avro(schema)))

    def close(self) -> None:
        """Closes the connections. What was answered before stays known."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _register(self, topic: str, number: int, schema: schemas.Schema) -> int:
        known = self._lookup(topic, schema)
        if known is not None:
            return known
        with _translated(f"registering {topic} v{number}"):
            return int(self._client.register_schema(subject(topic), _as_avro(schema)))

    def _lookup(self, topic: str, schema: schemas.Schema) -> int | None:
        try:
            with _translated(f"looking up the schema of {topic}", not_found="unknown_schema"):
                return int(self._client.lookup_schema(subject(topic), _as_avro(schema)).schema_id)
        except Rejected as error:
            if error.code == "unknown_schema":
                return None
            raise


def _as_avro(schema: schemas.Schema) -> Any:
    return Schema(json.dumps(schema), "AVRO")


@contextmanager
def _translated(doing: str, *, not_found: str = "") -> Iterator[None]:
    """Turns what the client raises into ours; `not_found` is the Rejected code that a 404 becomes."""
    try:
        yield
    except httpx2.TransportError as error:
        raise Transient(f"{doing}: the schema registry is away ({type(error).__name__})", store=_STORE) from error
    except SchemaRegistryError as error:
        status = error.http_status_code
        words = str(error.error_message)[:500]
        if status >= 500 or status in _BUSY:
            raise Transient(f"{doing}: the schema registry answered {status}: {words}", store=_STORE) from error
        # A proxy or a wrong path answers 404 too: only the registry's own codes say that it does not know something.
        if status == _NOT_FOUND and not_found and error.error_code in _UNKNOWN:
            raise Rejected(f"{doing}: the schema registry does not know it", code=not_found) from error
        if status in {_CONFLICT, _UNPROCESSABLE}:
            raise Rejected(f"{doing}: the schema registry refused: {words}", code="incompatible_schema") from error
        raise Misconfigured(
            f"{doing}: the schema registry answered {status}: {words}. Check its URL", store=_STORE
        ) from error
