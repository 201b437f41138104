"""Sends a refused record once more to the topic it came from, so that all of its consumers see it.

    dead letter ──► its record, or an edited one ──► good now? ──► origin topic, under the record's key
                                                    └─► refused, with the reason: it would only die again

Every consumer writes by upsert, so replaying what is stored already, or replaying twice, changes nothing. What lost
against another image of the same frame_id is not sent as it is: it would lose again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException, TopicPartition

from connectors.dead_letters import HEADER_OMITTED_BYTES, HEADER_REPLAYED_FROM, DeadLetter, without_error_headers
from connectors.kafka import make_consumer, make_producer, translated
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.errors import Rejected, Transient
from contracts.identifiers import milliseconds
from contracts.records import RECORD_TYPES, Record
from contracts.settings import Settings
from contracts.topics import KEY_FIELDS
from contracts.validity import UNSTORABLE, violation

OBJECT_CONFLICT: Final = "object_conflict"  # the S3 sink's code
# A session of its own would have no record of its session, which the audit names as well.
_RESCUE: Final = (
    "To store this image too, wait until its session is closed and give it with --edit a frame_id and object_key of its "
    "own and a sequence beyond all that the session captured (the audit counts the loser as refused already, and a copy "
    "beyond the end not at all); else leave it"
)
_PATIENCE_SECONDS: Final = 60.0
_FETCH_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one dead letter."""

    letter: str  # its id
    is_replayed: bool
    reason: str = ""  # why not
    topic: str | None = None  # where the record lies now
    partition: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayable:
    """A record that is good now, ready to be sent."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes | None]]


def replay(
    settings: Settings, letters: Iterable[DeadLetter], *, edit: Mapping[str, Any] | None = None
) -> list[Outcome]:
    """Sends each letter's record once more; a record that several consumers refused is sent once.

    Args:
        settings: where broker and registry are.
        letters: read beforehand: what they cause to be refused again is not replayed in the same run.
        edit: fields that replace those of the record (see `load_edit`).

    Raises:
        Rejected: the edit holds text that cannot be stored (bad_edit).
        Transient: the broker or the registry is away, or a record was not acknowledged in time.
    """
    _refuse_unstorable(edit)
    registry = SchemaRegistry(settings.registry)
    try:
        return _replay_all(settings, letters, Codec(registry), edit)
    finally:
        registry.close()


def _replay_all(
    settings: Settings, letters: Iterable[DeadLetter], codec: Codec, edit: Mapping[str, Any] | None
) -> list[Outcome]:
    producer = make_producer(settings)
    sent: dict[tuple[str, int, int], Outcome] = {}
    outcomes: list[Outcome] = []
    for letter in letters:
        twin = sent.get(letter.origin) if letter.origin else None
        if twin is not None:
            outcome = Outcome(
                letter=letter.id,
                is_replayed=True,
                reason=f"the same record as {twin.letter}",
                topic=twin.topic,
                partition=twin.partition,
                offset=twin.offset,
            )
        else:
            outcome = _replay_one(settings, producer, codec, letter, edit)
            if outcome.is_replayed and letter.origin:
                sent[letter.origin] = outcome
        outcomes.append(outcome)
    return outcomes


def load_edit(file: Path) -> dict[str, Any]:
    """The fields in a JSON file, as `sightline dead-letters show ID --json` prints them under "record".

    `image` is the path of an image file, relative to the JSON file; its size_bytes and sha256 are filled in.
    Without `image` the record keeps the one it has.

    Raises:
        Rejected: the file is not a JSON object, or the image cannot be read.
    """
    try:
        edit = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Rejected(f"{file} cannot be read as JSON: {error}", code="bad_edit") from error
    if not isinstance(edit, dict):
        raise Rejected(f"{file} must hold a JSON object with the fields of the record", code="bad_edit")
    if isinstance(edit.get("image"), str):
        path = file.parent / edit["image"]
        try:
            image = path.read_bytes()
        except OSError as error:
            raise Rejected(f"the image {path} cannot be read: {error.strerror}", code="bad_edit") from error
        edit |= {"image": image, "size_bytes": len(image), "sha256": hashlib.sha256(image).hexdigest()}
    elif "image" in edit:
        raise Rejected('"image" must be the path of an image file: correct it, or leave it out', code="bad_edit")
    return edit


def _refuse_unstorable(edit: Mapping[str, Any] | None) -> None:
    """JSON can write half of a surrogate pair, which neither Avro nor an answer in UTF-8 can say; and NUL."""
    waiting: list[Any] = [edit]  # a list, for JSON may be nested deeper than functions can call each other
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and UNSTORABLE.search(value):
            raise Rejected(
                f"the edit holds a character that Postgres cannot store in {value[:80]!a}: leave it out",
                code="bad_edit",
            )


def prepare(
    codec: Codec,
    letter: DeadLetter,
    payload: bytes | None,
    edit: Mapping[str, Any] | None,
    *,
    now: datetime,
    retention: timedelta,
) -> Replayable:
    """The record to send, checked by the rule that every consumer applies.

    Raises:
        Rejected: its origin is not a topic of ours, it still cannot be decoded, it still breaks the rule, or another
            image is stored in its place.
        Transient: the registry is away.
    """
    topic = letter.origin_topic
    if topic not in RECORD_TYPES:
        raise Rejected(f"its origin {topic!r} is no topic of ours: it cannot be replayed", code="no_origin")
    if letter.code == OBJECT_CONFLICT and edit is None:
        raise Rejected(
            "another image is stored under its frame_id, and the first stored stays: sent again it would only be refused "
            f"and noted as a conflict again. {_RESCUE}",
            code=OBJECT_CONFLICT,
        )
    record = _edited(topic, codec, payload, edit)
    if letter.code == OBJECT_CONFLICT and _number(record) == _number(codec.decode(topic, payload)):
        raise Rejected(
            "its session_id and sequence may be those of the stored frame, and the audit would find the sequence twice "
            f"for ever. {_RESCUE}",
            code=OBJECT_CONFLICT,
        )
    value = codec.encode(topic, record) if edit is not None else payload or b""  # refuses wrong types first
    key = letter.key if edit is None else str(record[KEY_FIELDS[topic]]).encode()
    broken = violation(topic, record, key=_decoded_key(key), broker_time_ms=milliseconds(now), retention=retention)
    if broken is not None:
        raise Rejected(f"it would be refused again, {broken}: correct it with --edit", code=broken.code)
    headers = [entry for entry in without_error_headers(letter.headers) if entry[0] != HEADER_REPLAYED_FROM]
    return Replayable(topic=topic, key=key, value=value, headers=[*headers, (HEADER_REPLAYED_FROM, letter.id.encode())])


def _number(record: Record) -> tuple[Any, Any]:
    """What a camera counts a frame by; the audit wants one frame for each."""
    return record["session_id"], record["sequence"]


def _edited(topic: str, codec: Codec, payload: bytes | None, edit: Mapping[str, Any] | None) -> Record:
    known = frozenset(field.name for field in fields(RECORD_TYPES[topic]))
    if edit is None:
        return codec.decode(topic, payload)
    strangers = sorted(edit.keys() - known)
    if strangers:
        raise Rejected(f"{topic} has no field {', '.join(strangers)}: correct the edited record", code="bad_edit")
    if known <= edit.keys():
        return dict(edit)
    try:
        return codec.decode(topic, payload) | dict(edit)
    except Rejected as error:
        missing = ", ".join(sorted(known - edit.keys()))
        raise Rejected(
            f"{error}; so the edited record must hold every field: add {missing}", code=error.code
        ) from error


def _decoded_key(key: bytes | None) -> str | None:
    return None if key is None else key.decode("utf-8", errors="replace")


def _replay_one(
    settings: Settings, producer: Any, codec: Codec, letter: DeadLetter, edit: Mapping[str, Any] | None
) -> Outcome:
    try:
        payload = _payload(settings, letter)
        ready = prepare(codec, letter, payload, edit, now=datetime.now(UTC), retention=settings.retention.period)
    except Rejected as error:
        return Outcome(letter=letter.id, is_replayed=False, reason=str(error))
    partition, offset = _send(producer, ready)
    return Outcome(letter=letter.id, is_replayed=True, topic=ready.topic, partition=partition, offset=offset)


def _send(producer: Any, ready: Replayable) -> tuple[int, int]:
    """Sends one record and waits until the broker has it; its partition and offset."""
    acknowledged: list[tuple[Any, Any]] = []
    try:
        producer.produce(
            ready.topic,
            value=ready.value,
            key=ready.key,
            headers=ready.headers,
            on_delivery=lambda error, message: acknowledged.append((error, message)),
        )
    except KafkaException as error:
        raise translated(error, f"replaying to {ready.topic}") from error
    producer.flush(_PATIENCE_SECONDS)
    if not acknowledged:
        raise Transient(f"the broker did not acknowledge a replay to {ready.topic} in {_PATIENCE_SECONDS:.0f} s")
    refusal, message = acknowledged[0]
    if refusal is not None:
        raise translated(refusal, f"replaying to {ready.topic}")
    return message.partition(), message.offset()


def _payload(settings: Settings, letter: DeadLetter) -> bytes | None:
    """The record's value; read at its origin where the dead letter had no room for it."""
    if HEADER_OMITTED_BYTES not in dict(letter.headers) or letter.origin is None:
        return letter.payload
    topic, partition, offset = letter.origin
    consumer = make_consumer(settings, "sightline-dead-letters", **{"auto.offset.reset": "error"})
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        message = consumer.poll(_FETCH_SECONDS)
    finally:
        consumer.close()
    if message is None or message.error() or message.offset() != offset:
        raise Rejected(f"its value was too large to park and is no longer at {topic}/{partition}/{offset}", code="gone")
    value: bytes | None = message.value()
    return value
