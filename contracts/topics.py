"""The topics, their keys and their settings, in one place.

    frames        camera_id   6 partitions   one record per captured image, the image inside
    predictions   frame_id    6 partitions   one record per frame and model version
    sessions      session_id  1 partition    what each camera process captured: the audit's witness
    dead-letters.<consumer>   1 partition    what a consumer refused, with the reason in the headers

The number of partitions never changes: order per camera depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

MAX_IMAGE_BYTES: Final = 4 * 1024 * 1024
MAX_RECORD_BYTES: Final = 5 * 1024 * 1024
# A dead letter is the refused record with the reason, a stack trace included, in its headers: it must still fit.
MAX_DEAD_LETTER_BYTES: Final = 6 * 1024 * 1024

# The broker measures a batch against max.message.bytes as it stores it. Stored as a producer compressed it, 70 kB may be
# 700 MB to every consumer, again and again; stored uncompressed, it is refused. JPEG and PNG do not compress anyway.
COMPRESSION: Final = "uncompressed"

# The Java clients' default, so that records of one key share a partition whoever writes them.
PARTITIONER: Final = "murmur2_random"

STREAM_CONSUMER: Final = "stream"

# A camera says every second that it lives. Without a close and without news for so long, a session is open, no longer
# in progress: the audit does not wait for more of it.
SESSION_SILENCE: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic as the bootstrap creates it and asserts it."""

    name: str
    partitions: int
    key_field: str = ""  # the record field that equals the key; dead letters have none
    max_record_bytes: int = MAX_RECORD_BYTES
    retention: timedelta = timedelta(days=30)

    @property
    def config(self) -> dict[str, str]:
        """The broker's topic settings, before what an installation adds (connectors.kafka.topic_config)."""
        return {
            "cleanup.policy": "delete",
            "compression.type": COMPRESSION,
            "max.message.bytes": str(self.max_record_bytes),
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": str(int(self.retention.total_seconds() * 1000)),
        }


FRAMES: Final = Topic(name="frames", partitions=6, key_field="camera_id")
PREDICTIONS: Final = Topic(name="predictions", partitions=6, key_field="frame_id")
SESSIONS: Final = Topic(name="sessions", partitions=1, key_field="session_id")

CONTRACT_TOPICS: Final = (FRAMES, PREDICTIONS, SESSIONS)
KEY_FIELDS: Final = {topic.name: topic.key_field for topic in CONTRACT_TOPICS}

# Every consumer that can refuse a record; the connectors carry the names of their configurations.
SINKS: Final = ("frames_to_s3", "frames_to_postgres", "predictions_to_postgres", "sessions_to_postgres")


def dead_letters_topic(consumer: str) -> str:
    """The dead-letter topic of a connector, or of the stream worker ("stream")."""
    return f"dead-letters.{consumer}"


# A frame that was refused has no row: its dead letter accounts for it as long as its session is audited, so it outlives
# the frames' own retention (validity.RETENTION) by as much as a topic keeps records.
DEAD_LETTER_MARGIN: Final = timedelta(days=30)

DEAD_LETTERS: Final = tuple(
    Topic(
        name=dead_letters_topic(consumer),
        partitions=1,
        max_record_bytes=MAX_DEAD_LETTER_BYTES,
        retention=timedelta(days=90) + DEAD_LETTER_MARGIN,
    )
    for consumer in (*SINKS, STREAM_CONSUMER)
)

ALL_TOPICS: Final = (*CONTRACT_TOPICS, *DEAD_LETTERS)


def subject(topic: str) -> str:
    """The registry's subject for a topic's values (TopicNameStrategy)."""
    return f"{topic}-value"


# Connect writes these headers on a dead letter; the stream worker writes the same, so that one reader serves both.
HEADER_TOPIC: Final = "__connect.errors.topic"
HEADER_PARTITION: Final = "__connect.errors.partition"
HEADER_OFFSET: Final = "__connect.errors.offset"
HEADER_CONSUMER: Final = "__connect.errors.connector.name"
HEADER_STAGE: Final = "__connect.errors.stage"
HEADER_EXCEPTION: Final = "__connect.errors.exception.class.name"
HEADER_REASON: Final = "__connect.errors.exception.message"
