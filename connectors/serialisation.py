"""Records to bytes and back: Avro in Confluent's wire format.

    byte 0   0
    1..4     schema id in the registry, big endian
    5..      the record, Avro binary

A record is a mapping with times as whole milliseconds (see contracts.schemas.without_logical_types). What was written
with an older or newer version of the contract is read as the newest version on disk.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import fastavro

from connectors.schema_registry import SchemaRegistry
from contracts import schemas
from contracts.errors import Rejected
from contracts.records import Record

_HEADER: Final = struct.Struct(">bI")
_MAGIC: Final = 0
_INT_RANGE: Final = (-(2**31), 2**31 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contract:
    """A topic's newest schema on disk, ready for the codec."""

    full_name: str
    schema: Any
    int_fields: tuple[str, ...]


class Codec:
    """Encodes and decodes the records of all topics. Safe for use by several threads."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry
        self._contracts: dict[str, _Contract] = {}
        self._headers: dict[str, bytes] = {}
        self._writers: dict[tuple[str, int], Any] = {}

    def prepare(self, *topics: str) -> None:
        """Asks the registry now for what encoding these topics needs, so that it is not needed any more.

        Raises:
            Misconfigured: a schema is not registered.
            Transient: the registry is away.
        """
        for topic in topics:
            self._header(topic)

    def encode(self, topic: str, record: Record) -> bytes:
        """The record's bytes, written with the newest schema on disk.

        Raises:
            Rejected: the record does not fit the schema (unencodable).
            Misconfigured: the schema is not registered.
            Transient: the registry is away (only before its first answer for this topic).
        """
        contract = self._contract(topic)
        out = BytesIO()
        out.write(self._header(topic))
        try:
            fastavro.schemaless_writer(out, contract.schema, record, strict_allow_default=True)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise Rejected(f"the record does not fit the schema of {topic}: {error}", code="unencodable") from error
        _refuse_wide_ints(contract, record, code="unencodable")
        return out.getvalue()

    def decode(self, topic: str, payload: bytes | None) -> Record:
        """The record in a message's value.

        Raises:
            Rejected: no value, or another topic's record (not_a_record); an id that stands for no Avro schema
                (unknown_schema); bytes that their schema cannot read (undecodable).
            Transient: the registry is away and the id was not seen before.
        """
        if payload is None:
            raise Rejected("the value is null", code="not_a_record")
        if len(payload) < _HEADER.size:
            raise Rejected(f"{len(payload)} bytes: not a record in Confluent's wire format", code="undecodable")
        magic, schema_id = _HEADER.unpack_from(payload)
        if magic != _MAGIC:
            raise Rejected(f"the first byte is {magic}, not 0: not Confluent's wire format", code="undecodable")
        contract = self._contract(topic)
        writer = self._writer(topic, schema_id)
        stream = BytesIO(payload)
        stream.seek(_HEADER.size)
        try:
            # The reader's schema is left out where it is the writer's: resolution costs time.
            reader = None if writer is contract.schema else contract.schema
            record: Record = fastavro.schemaless_reader(stream, writer, reader)
        except Exception as error:  # garbage raises anything: EOFError, IndexError, MemoryError
            raise Rejected(
                f"the value cannot be read with schema {schema_id}: {type(error).__name__} {str(error)[:200]}",
                code="undecodable",
            ) from error
        _refuse_wide_ints(contract, record, code="undecodable")
        return record

    def _header(self, topic: str) -> bytes:
        header = self._headers.get(topic)
        if header is None:
            header = self._headers[topic] = _HEADER.pack(_MAGIC, self._registry.id_of(topic))
        return header

    def _contract(self, topic: str) -> _Contract:
        if topic not in self._contracts:
            plain = schemas.without_logical_types(schemas.latest(topic))
            self._contracts[topic] = _Contract(
                full_name=_full_name(plain),
                schema=fastavro.parse_schema(plain),
                int_fields=tuple(field["name"] for field in plain["fields"] if field["type"] == "int"),
            )
        return self._contracts[topic]

    def _writer(self, topic: str, schema_id: int) -> Any:
        """The schema behind an id, checked to be this topic's."""
        found = self._writers.get((topic, schema_id))
        if found is not None:
            return found
        contract = self._contract(topic)
        registered = self._registry.schema_by_id(schema_id)
        try:
            plain = schemas.without_logical_types(registered)
            parsed = fastavro.parse_schema(plain)
        except Exception as error:  # anybody may register anything, a JSON schema too: the record that names it is bad
            raise Rejected(
                f"the registry's schema {schema_id} is not Avro: {type(error).__name__} {str(error)[:200]}",
                code="unknown_schema",
            ) from error
        if not isinstance(plain, dict) or _full_name(plain) != contract.full_name:
            raise Rejected(
                f"schema {schema_id} is not a version of {topic}: its record is not {contract.full_name}",
                code="not_a_record",
            )
        found = contract.schema if parsed == contract.schema else parsed
        self._writers[topic, schema_id] = found
        return found


def _full_name(schema: schemas.Schema) -> str:
    return f"{schema.get('namespace', '')}.{schema.get('name', '')}"


def _refuse_wide_ints(contract: _Contract, record: Record, *, code: str) -> None:
    """Fastavro reads and writes an int as a long; the Java decoder refuses what does not fit, so both must."""
    least, most = _INT_RANGE
    for name in contract.int_fields:
        if not least <= record[name] <= most:
            raise Rejected(f"{name} does not fit 32 bits", code=code)
