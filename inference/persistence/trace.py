"""One frame's whole life: where its record lay, where its image lies, what was predicted, what was refused.

trace(settings, frame_id) ──► Trace ──► timeline()    what happened when, oldest first
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from confluent_kafka import KafkaException, TopicPartition

from connectors import dead_letters
from connectors.kafka import make_consumer, translated
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.errors import Misconfigured, Rejected, Transient
from contracts.identifiers import UUID7, from_milliseconds, milliseconds_of
from contracts.object_keys import EXTENSIONS
from contracts.settings import Settings
from contracts.topics import FRAMES, PREDICTIONS
from inference.persistence.database import Connection, connect
from inference.persistence.objects import FrameStore

Row = dict[str, Any]

_PATIENCE_SECONDS: Final = 10.0
_FRAME: Final = "SELECT * FROM all_frames WHERE frame_id = %s"
_SESSION: Final = "SELECT * FROM sessions WHERE session_id = %s"
_CONFLICTS: Final = "SELECT * FROM frame_conflicts WHERE frame_id = %s ORDER BY noticed_at"
_EXPIRATIONS: Final = (
    "SELECT * FROM expirations WHERE session_id = %s AND %s BETWEEN first_sequence AND last_sequence ORDER BY 1"
)
_PREDICTIONS: Final = """
    SELECT predictions.*, (
        SELECT count(*) FROM all_detections AS detections
        WHERE (detections.frame_id, detections.model_name, detections.model_version)
            = (predictions.frame_id, predictions.model_name, predictions.model_version)
    ) AS detections
    FROM all_predictions AS predictions WHERE frame_id = %s ORDER BY inferred_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedObject:
    """The image where it should lie."""

    key: str
    exists: bool
    size_bytes: int | None = None
    sha256: str | None = None  # of the bytes, just read
    matches_row: bool | None = None  # None: there is no row to compare with
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedLetter:
    """Where the frame, or a prediction of it, was refused."""

    letter_id: str
    topic: str  # of the refused record
    reason: str
    refused_at: datetime


@dataclass(kw_only=True)
class Trace:
    """What all stores know of a frame. Rows are as in their tables; ids are text, times aware."""

    frame_id: str
    captured_at: datetime  # from the id
    row: Row | None = None
    is_in_topic: bool | None = None  # None: nobody knows
    object: TracedObject | None = None
    predictions: list[Row] = field(default_factory=list)  # with the number of rows in detections
    session: Row | None = None
    conflicts: list[Row] = field(default_factory=list)
    expirations: list[Row] = field(default_factory=list)
    letters: list[TracedLetter] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what could not be asked

    @property
    def is_known(self) -> bool:
        """Whether anything knows the frame."""
        exists = self.object is not None and self.object.exists
        return bool(self.row or exists or self.predictions or self.conflicts or self.letters)

    def as_document(self) -> dict[str, Any]:
        """For a script or a client."""
        return {
            "is_known": self.is_known,
            **asdict(self),
            "timeline": [{"at": at, "event": event} for at, event in self.timeline()],
        }

    def timeline(self) -> list[tuple[datetime, str]]:
        """What happened when, oldest first."""
        return sorted(self._events(), key=lambda event: event[0])

    def _events(self) -> Iterator[tuple[datetime, str]]:
        if self.session:
            yield self.session["started_at"], f"session {self.session['session_id']} began ({self.session['source']})"
            if self.session["closed_at"]:
                yield self.session["closed_at"], "session closed"
        where = f" as number {self.row['sequence']} of its session by {self.row['camera_id']}" if self.row else ""
        yield self.captured_at, f"captured{where}"
        for row in self.predictions:
            model = f"{row['model_name']} v{row['model_version']}"
            seen = f"{len(row['labels'])} detections" if row["status"] == "ok" else row["status"]
            yield (
                row["inferred_at"],
                f"{model} ({row['role']}, {row['engine']}): {seen} after {row['latency_ms']:.0f} ms",
            )
        for letter in self.letters:
            yield letter.refused_at, f"{letter.topic} record refused, {letter.letter_id}: {letter.reason}"
        for row in self.conflicts:
            place = f"{FRAMES.name}/{row['kafka_partition']}/{row['kafka_offset']}"
            yield row["noticed_at"], f"another frame with this id was refused ({place}, sha256 {row['sha256']})"
        for row in self.expirations:
            yield row["done_at"] or row["requested_at"], f"expired ({row['state']}): {row['reason']}"


def trace(settings: Settings, frame_id: str) -> Trace:
    """Asks every store for one frame. The broker and the registry may be away: then the notes say what is missing.

    Raises:
        Rejected: this is no frame's id (bad_id).
        Transient: Postgres or the object store is away.
    """
    frame_id = frame_id.strip().lower()
    if not UUID7.fullmatch(frame_id):
        raise Rejected(f"{frame_id!r} is no frame's id: they are UUIDs of version 7", code="bad_id")
    found = Trace(frame_id=frame_id, captured_at=from_milliseconds(milliseconds_of(frame_id)))
    with connect(settings) as connection:
        _ask_database(connection, found)
    _ask_object_store(settings, found)
    try:
        _ask_broker(settings, found)
    except (Transient, Misconfigured) as error:
        found.notes.append(f"dead letters were not searched: {error}")
    return found


def _rows(connection: Connection, query: str, *values: object) -> list[Row]:
    cursor = connection.execute(query, values)
    names = [column.name for column in cursor.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in cursor]
    for row in rows:
        row.update({name: str(row[name]) for name in ("frame_id", "session_id") if name in row})
    return rows


def _ask_database(connection: Connection, found: Trace) -> None:
    found.row = next(iter(_rows(connection, _FRAME, found.frame_id)), None)
    found.predictions = _rows(connection, _PREDICTIONS, found.frame_id)
    found.conflicts = _rows(connection, _CONFLICTS, found.frame_id)
    if found.row:
        session_id = found.row["session_id"]
        found.session = next(iter(_rows(connection, _SESSION, session_id)), None)
        found.expirations = _rows(connection, _EXPIRATIONS, session_id, found.row["sequence"])


def _ask_object_store(settings: Settings, found: Trace) -> None:
    store = FrameStore(settings.s3)
    try:
        store.check()
        key = found.row["object_key"] if found.row else _search(store, found)
        if key is None:
            return
        head, digest = store.head(key), store.digest(key)
        if head is None or digest is None:
            found.object = TracedObject(key=key, exists=False)
            return
        expected = (found.row["size_bytes"], found.row["sha256"]) if found.row else None
        found.object = TracedObject(
            key=key,
            exists=True,
            size_bytes=digest.size_bytes,
            sha256=digest.sha256,
            matches_row=None if expected is None else expected == (digest.size_bytes, digest.sha256),
            metadata=head.metadata,
        )
    finally:
        store.close()


def _search(store: FrameStore, found: Trace) -> str | None:
    """The key of a frame without a row: its day is in its id, its camera is one of that day's."""
    cameras = {row["camera_id"] for row in [*found.predictions, *found.conflicts]}
    day = f"date={found.captured_at.date().isoformat()}/"
    folders = [f"{day}camera={camera}/" for camera in sorted(cameras)] or store.folders(day)
    keys = (f"{folder}{found.frame_id}.{extension}" for folder in folders for extension in EXTENSIONS.values())
    return next((key for key in keys if store.head(key) is not None), None)


def _ask_broker(settings: Settings, found: Trace) -> None:
    if found.row:
        found.is_in_topic = _is_in_topic(settings, found.row["kafka_partition"], found.row["kafka_offset"])
    registry = SchemaRegistry(settings.registry)
    try:
        codec = Codec(registry)
        needle = re.compile(re.escape(found.frame_id.encode()))
        for letter in dead_letters.read(settings):
            if letter.origin_topic not in {FRAMES.name, PREDICTIONS.name} or not needle.search(letter.payload or b""):
                continue
            try:
                record = codec.decode(letter.origin_topic, letter.payload)
            except Rejected:
                continue
            if record["frame_id"] == found.frame_id:
                found.letters.append(
                    TracedLetter(
                        letter_id=letter.id,
                        topic=letter.origin_topic,
                        reason=letter.reason,
                        refused_at=letter.refused_at,
                    )
                )
    finally:
        registry.close()


def _is_in_topic(settings: Settings, partition: int, offset: int) -> bool:
    consumer = make_consumer(settings, "sightline-trace")  # it joins nothing and commits nothing
    try:
        first, end = consumer.get_watermark_offsets(TopicPartition(FRAMES.name, partition), timeout=_PATIENCE_SECONDS)
    except KafkaException as error:
        raise translated(error, f"reading {FRAMES.name}") from error
    finally:
        consumer.close()
    return bool(first <= offset < end)
