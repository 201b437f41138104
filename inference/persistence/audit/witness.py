"""What the cameras say they captured: the sessions table, and ahead of it what its sink has not written yet.

    topic sessions, from the sink's committed offset to the end ─┐
                    and at least that of the last minute         ├─► merged as the table's trigger does ──► Witness
    table sessions                                              ─┘
So a session that was closed a moment ago is judged as closed, and none is overlooked because its row is late; and what
was acknowledged a moment ago is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import KafkaException, TopicPartition

from connectors.kafka import make_consumer, read_between, translated
from connectors.serialisation import Codec
from contracts.errors import Rejected
from contracts.identifiers import from_milliseconds, milliseconds
from contracts.records import Session
from contracts.settings import Settings
from contracts.times import as_stored
from contracts.topics import SESSIONS
from contracts.validity import violation
from inference.persistence.audit.evidence import MARGIN
from inference.persistence.audit.verdicts import GRACE, News, Witness
from inference.persistence.database import Connection

_SINK_GROUP: Final = "connect-sessions_to_postgres"  # Connect's own naming of a connector's consumer group
# Twice: a session whose oldest record here is younger than GRACE said nothing for as long before it.
_RECENT: Final = 2 * GRACE
_PATIENCE_SECONDS: Final = 15.0
_COLUMNS: Final = (
    "session_id::text, camera_id, source, started_at, last_acknowledged, captured, rejected, closed_at, updated_at"
)
_LAST_BEFORE: Final = """
    SELECT max(sequence) FROM all_frames
    WHERE session_id = %(session_id)s
        AND frame_id >= uuid7_floor(%(earliest)s) AND frame_id < uuid7_floor(%(since)s)
        AND sequence < coalesce(
            (
                SELECT min(sequence) FROM all_frames
                WHERE session_id = %(session_id)s AND frame_id >= uuid7_floor(%(since)s)
            ),
            %(end)s
        )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A record of the sessions topic, and when the broker took it."""

    session: Session
    at: datetime


def read_witnesses(
    connection: Connection, recent: Iterable[Heard], *, camera: str | None, since: datetime | None
) -> list[Witness]:
    """The sessions of a camera with news since a time, in order of their start.

    Args:
        connection: to the database.
        recent: the topic's last records, oldest first, with all that may not be in the table yet; read before calling.
        camera: only this camera's.
        since: only those with news since then, judged from the first frame captured since then.
    """
    newer: dict[str, Witness] = {}
    news: defaultdict[str, list[News]] = defaultdict(list)
    for heard in recent:
        witness = _witness(heard.session)
        known = newer.get(witness.session_id)
        newer[witness.session_id] = _merged(known, witness) if known else witness
        told = news[witness.session_id]
        if not told or witness.last_acknowledged > told[-1].last_acknowledged:
            told.append(News(at=heard.at, last_acknowledged=witness.last_acknowledged))
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions "  # noqa: S608 - names of our own
        "WHERE (%(camera)s::text IS NULL OR camera_id = %(camera)s) "
        "AND (%(since)s::timestamptz IS NULL OR updated_at >= %(since)s OR session_id = ANY(%(newer)s::uuid[]))",
        {"camera": camera, "since": since, "newer": list(newer)},
    ).fetchall()
    for row in rows:
        witness = _from_row(row)
        recently = newer.get(witness.session_id)
        newer[witness.session_id] = _merged(witness, recently) if recently else witness
    found = [
        replace(witness, news=tuple(news[witness.session_id]))
        for witness in newer.values()
        if (camera is None or witness.camera_id == camera) and (since is None or witness.updated_at >= since)
    ]
    found.sort(key=lambda witness: (witness.started_at, witness.session_id))
    return found if since is None else [_from_first_since(connection, witness, since) for witness in found]


def _witness(session: Session) -> Witness:
    return Witness(
        session_id=session.session_id,
        camera_id=session.camera_id,
        source=session.source,
        started_at=session.started_at,
        last_acknowledged=session.last_acknowledged,
        captured=session.captured,
        rejected=session.rejected,
        closed_at=session.closed_at,
        updated_at=session.updated_at,
    )


def _from_row(row: tuple[Any, ...]) -> Witness:
    names = ("session_id", "camera_id", "source", "started_at", "last_acknowledged", "captured", "rejected")
    return Witness(**dict(zip((*names, "closed_at", "updated_at"), row, strict=True)))


def _merged(older: Witness, newer: Witness) -> Witness:
    """Each field moves in one direction only, as in the table."""
    return replace(
        older,
        last_acknowledged=max(older.last_acknowledged, newer.last_acknowledged),
        captured=max(older.captured, newer.captured),
        rejected=max(older.rejected, newer.rejected),
        closed_at=older.closed_at or newer.closed_at,
        updated_at=max(older.updated_at, newer.updated_at),
    )


def _from_first_since(connection: Connection, witness: Witness, since: datetime) -> Witness:
    """The witness, judged from the sequence after the last one captured before `since` and before all captured later.

    What an offline camera kept comes late and out of order: it hides none of those around it, and is judged with them.
    """
    bounds = {
        "session_id": witness.session_id,
        "since": as_stored(since),
        "earliest": as_stored(witness.started_at - MARGIN),
        "end": witness.last_acknowledged + 1,
    }
    [(last_before,)] = connection.execute(_LAST_BEFORE, bounds)
    return witness if last_before is None else replace(witness, first_sequence=last_before + 1)


def until_last_before(connection: Connection, witness: Witness, until: datetime) -> Witness:
    """The witness, judged up to the sequence before the first one captured at `until` or later.

    Asked again every round: as long as none of those is stored, nothing tells which of the missing ones are later.
    """
    row = connection.execute(
        "SELECT min(sequence) FROM all_frames WHERE session_id = %s AND frame_id >= uuid7_floor(%s) "
        "AND frame_id < uuid7_floor(%s)",
        (witness.session_id, as_stored(until), as_stored(datetime.now(UTC) + MARGIN)),
    ).fetchone()
    first_after = None if row is None else row[0]
    if first_after is None and witness.started_at >= until:
        first_after = 0
    if first_after is None or first_after > witness.last_acknowledged:
        return witness
    # A gap at the session's end is beyond the range too.
    return replace(witness, last_acknowledged=first_after - 1, captured=first_after)


def read_recent(settings: Settings, codec: Codec) -> list[Heard]:
    """The last minute's records of the sessions topic and all that its sink has not committed, oldest first.

    Moves no offset.

    Raises:
        Transient: the broker or the registry is away.
    """
    consumer = make_consumer(settings, _SINK_GROUP)
    try:
        first, end = _bounds(consumer)
        messages = read_between(consumer, SESSIONS.name, first, end)
        return [heard for message in messages if (heard := _heard(codec, message))]
    except KafkaException as error:
        raise translated(error, f"reading {SESSIONS.name}") from error
    finally:
        consumer.close()


def _bounds(consumer: Any) -> tuple[int, int]:
    partition = TopicPartition(SESSIONS.name, 0)
    first, end = consumer.get_watermark_offsets(partition, timeout=_PATIENCE_SECONDS)
    [committed] = consumer.committed([partition], timeout=_PATIENCE_SECONDS)
    since = TopicPartition(SESSIONS.name, 0, milliseconds(datetime.now(UTC) - _RECENT))
    [recent] = consumer.offsets_for_times([since], timeout=_PATIENCE_SECONDS)
    if recent.offset < 0:  # nothing came since then
        recent.offset = end
    return max(first, min(committed.offset, recent.offset)), end  # a group without an offset has a negative one


def _heard(codec: Codec, message: Any) -> Heard | None:
    """The record in a message; None for what the sink refuses."""
    try:
        record = codec.decode(SESSIONS.name, message.value())
    except Rejected:
        return None
    key = (message.key() or b"").decode("utf-8", errors="replace")
    _, broker_time_ms = message.timestamp()
    if violation(SESSIONS.name, record, key=key, broker_time_ms=broker_time_ms) is not None:
        return None
    return Heard(session=Session.from_record(record), at=from_milliseconds(broker_time_ms))
