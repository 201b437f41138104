"""Frames that were captured in the past, sent through the real topic: a closed session of real images on a given day.

    frames = send(settings, "line-1", days_ago(9), boards(5))      the records, in their order

The broker takes them as new; the validity rule does so too, for as long as they are younger than the retention.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

from connectors.cameras.boards import Drift, encode_jpeg, simulate_board
from connectors.kafka import make_producer
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.identifiers import milliseconds, new_id
from contracts.records import Record
from contracts.settings import Settings
from contracts.topics import FRAMES, SESSIONS
from inference.domain.split import BLOCK, TRAIN, part_of
from tests.support.records import a_frame_record, a_session_record

SIDE = 320  # pixels


def days_ago(days: int) -> datetime:
    """Noon of that day, UTC."""
    return datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=days)


def boards(count: int, *, seed: int = 7, drift: Drift | None = None) -> list[bytes]:
    """Simulated boards as JPEG."""
    return [encode_jpeg(simulate_board(seed, index, size=SIDE, drift=drift)) for index in range(count)]


def session_to_learn_from(camera: str, began: datetime, *, frames: int) -> str:
    """An id of which no block is the gate's: what people are asked to review is drawn from the others."""
    while True:
        session_id = new_id(began)
        if all(part_of(camera, session_id, sequence) == TRAIN for sequence in range(0, frames, BLOCK)):
            return session_id


def send(settings: Settings, camera: str, began: datetime, images: Sequence[bytes]) -> list[Record]:
    """One image a second from `began` on, and the session that says so. Waits until the broker has them all."""
    session_id = session_to_learn_from(camera, began, frames=len(images))
    records = [
        a_frame_record(
            image,
            camera_id=camera,
            session_id=session_id,
            sequence=sequence,
            captured_at=milliseconds(began + timedelta(seconds=sequence)),
            width=SIDE,
            height=SIDE,
        )
        for sequence, image in enumerate(images)
    ]
    ended = milliseconds(began + timedelta(seconds=len(images)))
    session = a_session_record(
        session_id=session_id,
        camera_id=camera,
        started_at=milliseconds(began),
        last_acknowledged=len(images) - 1,
        captured=len(images),
        closed_at=ended,
        updated_at=ended,
    )
    producer = make_producer(settings)
    with closing(SchemaRegistry(settings.registry)) as registry:
        codec = Codec(registry)
        for record in records:
            producer.produce(FRAMES.name, key=camera, value=codec.encode(FRAMES.name, record))
        producer.produce(SESSIONS.name, key=session_id, value=codec.encode(SESSIONS.name, session))
    assert producer.flush(60) == 0
    return records
