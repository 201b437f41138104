"""What the stores hold for a session, page by page: rows with their predictions from Postgres, objects from the store.

Each page is a short query of its own: a cursor that stays open for minutes would stop partitions from being attached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from contracts.identifiers import UUID7
from contracts.times import as_stored
from inference.persistence.audit.verdicts import NO_SESSION, Evidence, Expiration, Named, Witness
from inference.persistence.database import Connection
from inference.persistence.objects import Digest, FrameStore

PAGE: Final = 1000
_LISTED: Final = 100

# frame_id is bounded so that only the session's days are searched. A clock that was set by hours stays inside; what a
# camera kept while it was offline does not: it may be as old as the retention allows.
MARGIN: Final = timedelta(days=1)
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CLUE_DAYS: Final = 400  # of a session that says it took longer, the last ones are searched for clues
_PAGE: Final = """
    SELECT frame_id::text, sequence, captured_at, size_bytes, sha256, object_key
    FROM all_frames AS frames
    WHERE session_id = %(session_id)s
        AND frame_id >= uuid7_floor(%(earliest)s) AND frame_id < uuid7_floor(%(latest)s)
        AND sequence BETWEEN %(sequence)s AND %(last)s
        AND (sequence, frame_id) > (%(sequence)s, %(frame_id)s::uuid)
    ORDER BY sequence, frames.frame_id
    LIMIT %(limit)s
"""
# Some 100 partitions, each with an index by session: milliseconds, which few sessions need.
_COUNT: Final = """
    SELECT count(DISTINCT sequence) FROM all_frames
    WHERE session_id = %(session_id)s
        AND frame_id >= uuid7_floor(%(earliest)s) AND frame_id < uuid7_floor(%(latest)s)
        AND sequence BETWEEN %(sequence)s AND %(last)s
"""
_OLDEST: Final = """
    SELECT min(captured_at) FROM all_frames
    WHERE session_id = %(session_id)s AND frame_id < uuid7_floor(%(earliest)s)
"""
# On its own and bounded: inside the query above the planner would rather read the predictions of all days.
_PREDICTED: Final = """
    SELECT DISTINCT frame_id::text FROM all_predictions
    WHERE frame_id = ANY(%(ids)s::uuid[]) AND frame_id BETWEEN %(first)s::uuid AND %(last)s::uuid
"""

ReadObject = Callable[[str], Digest | None]
"""What is stored under a key: size and sha256."""


class Verified:
    """Sequences whose objects were read and were right: an audit that waits does not read them again.

    Kept as ranges, for nearly always it is one.
    """

    def __init__(self) -> None:
        self._ranges: list[list[int]] = []

    def __contains__(self, sequence: int) -> bool:
        return any(first <= sequence <= last for first, last in self._ranges)

    def add(self, sequence: int) -> None:
        """Adds a sequence; they are cheapest in order."""
        for known in self._ranges:
            if known[0] <= sequence <= known[1]:
                return
            if known[1] == sequence - 1:
                known[1] = sequence
                return
        self._ranges.append([sequence, sequence])


def read_from_metadata(store: FrameStore) -> ReadObject:
    """Reads an object's size and the digest in its metadata; its bytes stay unread."""

    def read(key: str) -> Digest | None:
        head = store.head(key)
        return None if head is None else Digest(size_bytes=head.size_bytes, sha256=head.metadata.get("sha256", "none"))

    return read


def read_evidence(
    connection: Connection, witness: Witness, read_object: ReadObject, pool: Executor, verified: Verified
) -> Iterator[Evidence]:
    """The rows of what is judged of a session, in order of sequence, each with what its object holds."""
    if not witness.acknowledged:
        return
    for rows in _pages(connection, witness):
        unread = [row for row in rows if row[1] not in verified]
        found = dict(zip((row[0] for row in unread), pool.map(read_object, [row[5] for row in unread]), strict=True))
        predicted = _predicted(connection, [row[0] for row in rows])
        for frame_id, sequence, captured_at, size_bytes, sha256, object_key in rows:
            expected = Digest(size_bytes=size_bytes, sha256=sha256)
            digest = found.get(frame_id) if frame_id in found else expected
            if digest == expected:
                verified.add(sequence)
            yield Evidence(
                frame_id=frame_id,
                sequence=sequence,
                captured_at=captured_at,
                size_bytes=size_bytes,
                sha256=sha256,
                object_key=object_key,
                has_prediction=frame_id in predicted,
                found=digest,
            )


def _pages(connection: Connection, witness: Witness) -> Iterator[list[tuple[Any, ...]]]:
    bounds = _bounds(connection, witness)
    sequence, frame_id = witness.first_sequence, "00000000-0000-0000-0000-000000000000"
    while True:
        rows = connection.execute(_PAGE, bounds | {"sequence": sequence, "frame_id": frame_id}).fetchall()
        yield rows
        if len(rows) < PAGE:
            return
        frame_id, sequence = rows[-1][0], rows[-1][1]


def _bounds(connection: Connection, witness: Witness) -> dict[str, Any]:
    """Where the session's rows are: in its days; from its oldest frame on where those days lack something."""
    earliest, latest = _days(witness)
    bounds = {
        "session_id": witness.session_id,
        "earliest": as_stored(max(earliest - MARGIN, _FIRST)),
        "latest": as_stored(latest + MARGIN),
        "sequence": witness.first_sequence,
        "last": witness.last_acknowledged,
        "limit": PAGE,
    }
    [(found,)] = connection.execute(_COUNT, bounds)
    if found < witness.acknowledged:
        [(oldest,)] = connection.execute(_OLDEST, bounds)
        bounds["earliest"] = bounds["earliest"] if oldest is None else oldest.replace(tzinfo=None)
    return bounds


def _days(witness: Witness) -> tuple[datetime, datetime]:
    """When the session was, as it says; but never in the future, where no frame can have been stored."""
    now = datetime.now(UTC)
    times = [min(max(at, _FIRST), now) for at in (witness.started_at, witness.updated_at)]
    return min(times), max(times)


def _predicted(connection: Connection, ids: list[str]) -> set[str]:
    """Which of these frames have a prediction."""
    if not ids:
        return set()
    rows = connection.execute(_PREDICTED, {"ids": ids, "first": min(ids), "last": max(ids)})
    return {row[0] for row in rows}


def read_expirations(connection: Connection, witness: Witness) -> list[Expiration]:
    """What the retention took of a session, or is about to."""
    rows = connection.execute(
        "SELECT first_sequence, last_sequence FROM expirations WHERE session_id = %s", (witness.session_id,)
    )
    return [Expiration(first_sequence=first, last_sequence=last) for first, last in rows]


def read_without_session(
    connection: Connection, known: Iterable[str], *, camera: str | None, since: datetime | None, until: datetime
) -> list[Named]:
    """Sessions that left frames but no record. Those of the last moments are left out: their record may be later.

    Args:
        connection: to the database.
        known: session ids that are known though they have no row yet.
        camera: only frames of this camera.
        since: only frames captured since then.
        until: only frames captured before then.
    """
    rows = connection.execute(
        "SELECT session_id::text, min(camera_id), count(*), min(sequence), max(sequence) FROM all_frames AS frames "
        "WHERE frame_id >= uuid7_floor(%(since)s) AND frame_id < uuid7_floor(%(until)s) "
        "AND (%(camera)s::text IS NULL OR camera_id = %(camera)s) "
        "AND NOT EXISTS (SELECT FROM sessions WHERE sessions.session_id = frames.session_id) "
        "GROUP BY session_id ORDER BY session_id",
        {
            "since": as_stored(since or _FIRST),
            "until": as_stored(until),
            "camera": camera,
        },
    )
    late = set(known)
    return [
        Named(
            session_id=session_id,
            camera_id=camera_id,
            sequence=None,
            frame_id=None,
            problem=NO_SESSION,
            detail=f"{count} frames with sequences {first} to {last}, but no record of the session",
        )
        for session_id, camera_id, count, first, last in rows
        if session_id not in late
    ]


def find_objects_without_row(
    connection: Connection, store: FrameStore, witness: Witness, is_explained: Callable[[str], bool]
) -> Iterator[str]:
    """Keys of the session's camera and days whose frames have no row: a clue to which frame a missing row was."""
    earliest, latest = _days(witness)
    day = max(earliest, latest - timedelta(days=_CLUE_DAYS)).date()
    while day <= latest.date():
        for keys in store.pages(f"date={day.isoformat()}/camera={witness.camera_id}/"):
            stems = ((key.rpartition("/")[2].partition(".")[0], key) for key in keys)
            ids = {stem: key for stem, key in stems if UUID7.fullmatch(stem)}  # what others put there is no frame
            rows = connection.execute(
                "SELECT frame_id::text FROM all_frames WHERE frame_id = ANY(%s::uuid[])", (list(ids),)
            )
            stored = {row[0] for row in rows}
            yield from (key for frame_id, key in ids.items() if frame_id not in stored and not is_explained(frame_id))
        day += timedelta(days=1)
