"""Erasing a camera: everything of it goes, also what people said; only the ledger in expirations tells that it was there.

    count(settings, camera)  what there is, and until when the topics remember it
    erase(settings, camera)  1 intended: every number of its sessions   2 objects   3 data sets with copies of them
                             4 rows, in one transaction   5 counted again   6 done

Killed between any two of them, the same command finishes it. Kafka cannot delete one camera's records: whoever reads a
topic from its beginning sees them until `forgotten_by`. What the sinks write again until then goes by erasing again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connectors.kafka import topic_config
from contracts.errors import Rejected, Transient
from contracts.identifiers import CAMERA_ID
from contracts.logs import get_logger
from contracts.settings import Settings
from contracts.times import as_stored
from contracts.topics import CONTRACT_TOPICS, DEAD_LETTERS, SESSION_SILENCE, Topic
from inference.persistence import copies, old_objects
from inference.persistence.database import Connection, connect
from inference.persistence.datasets import set_store
from inference.persistence.expirations import only_one
from inference.persistence.objects import FrameStore

REASON: Final = "erased"

# The broker deletes whole segments: one is begun after seven days at the latest, and looked at every five minutes.
_SEGMENT: Final = timedelta(days=7)
_DAY: Final = timedelta(days=1)
_OF_CAMERA: Final = "camera_id = %(camera)s"
_CLAIMS: Final = f"frame_id IN (SELECT frame_id FROM all_frames WHERE {_OF_CAMERA})"  # noqa: S608 - texts of our own

# In the order in which they are deleted: what hangs on frames before the frames.
_TABLES: Final = {
    "review_requests": _OF_CAMERA,
    "review_claims": _CLAIMS,
    "reviews": _OF_CAMERA,
    "detections": _OF_CAMERA,
    "predictions": _OF_CAMERA,
    "frames": _OF_CAMERA,
    "kept_detections": _OF_CAMERA,
    "kept_predictions": _OF_CAMERA,
    "kept_frames": _OF_CAMERA,
    "frame_conflicts": _OF_CAMERA,
    "sessions": _OF_CAMERA,
}
_SENDS: Final = f"SELECT count(*) FROM sessions WHERE {_OF_CAMERA} AND closed_at IS NULL AND updated_at > %(silent)s"  # noqa: S608
_UNDER_WAY: Final = (
    f"SELECT count(*) FROM expirations WHERE {_OF_CAMERA} AND reason = %(reason)s AND state = 'intended'"  # noqa: S608
)
_INTEND: Final = """
    WITH numbers AS (
        SELECT session_id, last_acknowledged AS last FROM sessions WHERE camera_id = %(camera)s
        UNION ALL
        SELECT session_id, max(sequence) FROM all_frames WHERE camera_id = %(camera)s GROUP BY session_id
    )
    INSERT INTO expirations (camera_id, session_id, first_sequence, last_sequence, reason, state)
    SELECT %(camera)s, session_id, 0, max(last), %(reason)s, 'intended' FROM numbers
    WHERE last >= 0 AND NOT EXISTS (
        SELECT FROM expirations AS taken WHERE taken.session_id = numbers.session_id
            AND taken.reason = %(reason)s AND taken.last_sequence >= numbers.last
    )
    GROUP BY session_id
"""
_DONE: Final = """
    UPDATE expirations SET state = 'done', done_at = now() AT TIME ZONE 'UTC'
    WHERE camera_id = %(camera)s AND reason = %(reason)s AND state = 'intended'
"""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What there is of a camera."""

    camera: str
    rows: Mapping[str, int]  # by table
    objects: int
    data_sets: Sequence[str]  # keys' prefixes of those with copies of its images; an erasure takes them whole
    trainings: Sequence[str]  # folders on this machine with copies; they stay
    forgotten_by: Mapping[str, str]  # day by which a topic will have forgotten the camera, by topic
    is_under_way: bool  # an erasure that was interrupted

    @property
    def is_gone(self) -> bool:
        """Neither row nor object nor data set is left."""
        return self.objects == 0 and not self.data_sets and not any(self.rows.values())

    def as_document(self) -> dict[str, Any]:
        """For a script."""
        return asdict(self)


def count(settings: Settings, camera: str) -> Traces:
    """Counts everything of a camera, and changes nothing.

    Raises:
        Rejected: this is no camera's name (bad_camera).
        Transient: Postgres or the object store is away.
    """
    if not CAMERA_ID.fullmatch(camera):
        raise Rejected(f"{camera!r} is no camera's name", code="bad_camera")
    with (
        closing(FrameStore(settings.s3)) as store,
        closing(set_store(settings)) as sets,
        connect(settings, autocommit=True) as connection,
    ):
        store.check()
        return _count(settings, connection, store, sets, camera)


def erase(settings: Settings, camera: str, say: Callable[[str], None]) -> Traces:
    """Erases a camera.

    Returns:
        What there was when the call began.

    Raises:
        Rejected: no camera's name (bad_camera), nothing is known of it (unknown_camera), or it sends (camera_sends).
        Transient: a store is away, another run is under way, or something came in meanwhile: the same call finishes it.
    """
    before = count(settings, camera)
    values = {"camera": camera, "reason": REASON}
    with (
        closing(FrameStore(settings.s3)) as store,
        closing(set_store(settings)) as sets,
        connect(settings, autocommit=True) as connection,
    ):
        if before.is_gone and not before.is_under_way:
            raise Rejected(f"nothing is known of camera {camera}: check its name", code="unknown_camera")
        _refuse_one_that_sends(connection, camera)
        with only_one(connection):
            ranges = connection.execute(_INTEND, values).rowcount
            say(f"{ranges} sessions written down")
            say(f"{_objects(store, camera, is_deleting=True)} objects deleted")
            holding = copies.sets_with(connection, sets, camera)  # by its rows too: before they go
            for prefix in holding:
                copies.delete_set(sets, prefix)
            say(f"{len(holding)} data sets deleted")
            say(f"{_delete_rows(connection, values)} rows deleted")
            left = _count(settings, connection, store, sets, camera)
            if not left.is_gone:
                raise Transient(f"something of {camera} came in meanwhile: run the same command again")
            say("counted again: nothing left")
            connection.execute(_DONE, values)
    log.info("camera_erased", camera=camera, objects=before.objects, rows=sum(before.rows.values()))
    return before


def forgotten_by(settings: Settings, topic: Topic, now: datetime) -> str:
    """The day by which the broker will have deleted what it took until now."""
    kept = timedelta(milliseconds=int(topic_config(settings, topic)["retention.ms"]))
    return (now + kept + _SEGMENT + _DAY).date().isoformat()


def _count(settings: Settings, connection: Connection, store: FrameStore, sets: FrameStore, camera: str) -> Traces:
    rows = {}
    for table, condition in _TABLES.items():
        query = f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608 - names of our own
        [(rows[table],)] = connection.execute(query, {"camera": camera}).fetchall()
    [(under_way,)] = connection.execute(_UNDER_WAY, {"camera": camera, "reason": REASON}).fetchall()
    now = datetime.now(UTC)
    return Traces(
        camera=camera,
        rows=rows,
        objects=_objects(store, camera, is_deleting=False),
        data_sets=copies.sets_with(connection, sets, camera),
        trainings=copies.trainings_with(settings, camera),
        forgotten_by={topic.name: forgotten_by(settings, topic, now) for topic in (*CONTRACT_TOPICS, *DEAD_LETTERS)},
        is_under_way=under_way > 0,
    )


def _refuse_one_that_sends(connection: Connection, camera: str) -> None:
    silent = as_stored(datetime.now(UTC) - SESSION_SILENCE)
    [(sends,)] = connection.execute(_SENDS, {"camera": camera, "silent": silent}).fetchall()
    if sends:
        raise Rejected(f"camera {camera} sends: stop it, then erase it", code="camera_sends")


def _objects(store: FrameStore, camera: str, *, is_deleting: bool) -> int:
    """Deletes, or counts, all that lies in the camera's folders."""
    found = 0
    for day in old_objects.days(store):
        for keys in store.pages(f"date={day.isoformat()}/camera={camera}/"):
            if is_deleting:
                store.delete_many(keys)
            found += len(keys)
    return found


def _delete_rows(connection: Connection, values: dict[str, str]) -> int:
    deleted = 0
    with connection.transaction():
        for table, condition in _TABLES.items():
            deleted += connection.execute(f"DELETE FROM {table} WHERE {condition}", values).rowcount  # noqa: S608
    return deleted
