"""The Kafka clients' settings, and the topics.

Settings ──► producer_config ──► make_producer    acks=all, idempotent, waits for a broker that is away
         ──► consumer_config ──► make_consumer    offsets are moved by hand, fetches hold the largest image
         ──► ensure_topics                        creates what is missing, puts settings back, asserts partitions
consumer ──► read_between                        what a partition holds from one offset to another
KafkaError ──► translated ──► Transient | Rejected | Misconfigured
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from contracts.errors import Misconfigured, PipelineError, Rejected, Transient
from contracts.settings import Settings
from contracts.topics import (
    ALL_TOPICS,
    DEAD_LETTER_MARGIN,
    DEAD_LETTERS,
    FRAMES,
    MAX_RECORD_BYTES,
    PARTITIONER,
    Topic,
)

Config = dict[str, Any]

ADMIN_TIMEOUT_SECONDS: Final = 15.0
QUEUED_MEGABYTES: Final = 64
_STORE: Final = "the broker"  # for clients, who learn no address
_PATIENCE_SECONDS: Final = 15.0
_MEBIBYTE: Final = 1024 * 1024

# What a library says at error level while a broker restarts belongs into the log of the service, as a warning there.
_LIBRARY_LOG: Final = logging.getLogger("librdkafka")

_AWAY: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - the library's public names for local errors start so
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
        KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
        KafkaError._QUEUE_FULL,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.NETWORK_EXCEPTION,
    }
)
_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_NO_TOPIC: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)


def producer_config(settings: Settings, *, queued_megabytes: int = QUEUED_MEGABYTES, **overrides: Any) -> Config:
    """The settings of every producer; `overrides` are librdkafka's names, as **{"linger.ms": 50}.

    At most `queued_megabytes` wait for the broker.
    A record is given up never: a broker that is away is waited for, and the queue's bound makes the caller wait.
    """
    return {
        **_client_config(settings),
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": PARTITIONER,
        "compression.type": "none",
        "message.max.bytes": MAX_RECORD_BYTES,
        "queue.buffering.max.kbytes": queued_megabytes * 1024,
        "linger.ms": 5,
        "delivery.timeout.ms": 0,  # without limit
        # A broker that comes back may not know its topics for a moment; the default fails what is queued after 30 s.
        "topic.metadata.propagation.max.ms": 3_600_000,
        **overrides,
    }


def make_producer(settings: Settings, *, queued_megabytes: int = QUEUED_MEGABYTES, **overrides: Any) -> Any:
    """A confluent_kafka.Producer with `producer_config`. Its log lines come out of poll(), so keep calling it."""
    config = producer_config(settings, queued_megabytes=queued_megabytes, **overrides)
    return Producer(config, logger=_LIBRARY_LOG)


def consumer_config(settings: Settings, group: str, **overrides: Any) -> Config:
    """The settings of every consumer: it starts at the earliest record and moves its offsets by hand.

    At most `stream.queued_megabytes` are fetched ahead, so that a slow consumer does not fill the memory.
    """
    fetch_bytes = 32 * _MEBIBYTE
    return {
        **_client_config(settings),
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "fetch.message.max.bytes": 2 * MAX_RECORD_BYTES,
        "fetch.max.bytes": fetch_bytes,
        "receive.message.max.bytes": fetch_bytes + 2 * MAX_RECORD_BYTES,
        "queued.max.messages.kbytes": settings.stream.queued_megabytes * 1024,
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 3_000,
        "max.poll.interval.ms": 300_000,
        **overrides,
    }


def make_consumer(settings: Settings, group: str, **overrides: Any) -> Any:
    """A confluent_kafka.Consumer with `consumer_config`; subscribe or assign it yourself."""
    return Consumer(consumer_config(settings, group, **overrides), logger=_LIBRARY_LOG)


def read_between(consumer: Any, topic: str, first: int, end: int, *, until: float = float("inf")) -> Iterator[Any]:
    """The messages of a topic's only partition from offset `first` to before `end`. Assigns the consumer.

    Given up when nothing comes for a while, and at `until` (time.monotonic) whatever comes.

    Some offsets hold no message: those of transactions' markers and of what was aborted. So the end is reached when the
    consumer has passed it, whether or not with a message.

    Raises:
        Transient: the broker is away, or sends nothing.
        Misconfigured: the topic does not exist.
    """
    if first >= end:
        return
    partition = TopicPartition(topic, 0, first)
    consumer.assign([partition])
    last_news, position = time.monotonic(), first
    while position < end:
        left = until - time.monotonic()
        if left <= 0:
            raise Transient(f"reading {topic}: the broker took too long; try again")
        message = consumer.poll(min(1.0, left))
        if message is None:
            [reached] = consumer.position([partition])  # a negative one before the first answer
            if reached.offset > position:
                last_news, position = time.monotonic(), reached.offset
            elif time.monotonic() - last_news > _PATIENCE_SECONDS:
                raise Transient(
                    f"reading {topic}: nothing came for {_PATIENCE_SECONDS:.0f} s; is the broker up?", store=_STORE
                )
            continue
        if message.error():
            raise translated(message.error(), f"reading {topic}")
        last_news, position = time.monotonic(), message.offset() + 1
        if message.offset() < end:
            yield message


def make_admin(settings: Settings) -> Any:
    """A confluent_kafka AdminClient."""
    return AdminClient(_client_config(settings), logger=_LIBRARY_LOG)


def _client_config(settings: Settings) -> Config:
    return {
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "client.id": "sightline",
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2_000,  # the default of 10 s would add to every recovery
        "socket.keepalive.enable": True,
        "log.connection.close": False,
    }


def ensure_topics(settings: Settings, topics: Iterable[Topic] = ALL_TOPICS) -> list[str]:
    """Creates the missing topics, puts changed settings back, and asserts the number of partitions.

    Returns:
        What was changed, in words; empty when everything was as it should be.

    Raises:
        Transient: the broker is away.
        Misconfigured: a topic exists with another number of partitions.
    """
    wanted = tuple(topics)
    admin = make_admin(settings)
    existing = _partitions(admin)
    missing = [topic for topic in wanted if topic.name not in existing]
    _assert_partitions(wanted, existing)
    changes = _create(settings, admin, missing)
    return changes + _correct(settings, admin, [topic for topic in wanted if topic.name in existing])


def topic_config(settings: Settings, topic: Topic) -> dict[str, str]:
    """A topic's settings in this installation: the contract's, a limit on the size of frames, and dead letters that
    are kept longer where frames are.
    """
    config = dict(topic.config)
    if topic == FRAMES and settings.kafka.frames_partition_bytes is not None:
        config["retention.bytes"] = str(settings.kafka.frames_partition_bytes)
    if topic in DEAD_LETTERS:
        kept = max(topic.retention, settings.retention.period + DEAD_LETTER_MARGIN)
        config["retention.ms"] = str(kept // timedelta(milliseconds=1))
    return config


def assert_topics(
    settings: Settings, topics: Iterable[Topic] = ALL_TOPICS, *, timeout_seconds: float = ADMIN_TIMEOUT_SECONDS
) -> None:
    """Asserts that the topics exist with their number of partitions, changing nothing.

    Raises:
        Transient: the broker is away.
        Misconfigured: a topic is missing, or has another number of partitions.
    """
    wanted = tuple(topics)
    existing = _partitions(make_admin(settings), timeout_seconds)
    missing = sorted(topic.name for topic in wanted if topic.name not in existing)
    if missing:
        raise Misconfigured(f"the broker has no topic {', '.join(missing)}: `sightline up` creates them")
    _assert_partitions(wanted, existing)


def _partitions(admin: Any, timeout_seconds: float = ADMIN_TIMEOUT_SECONDS) -> dict[str, int]:
    try:
        metadata = admin.list_topics(timeout=timeout_seconds)
    except KafkaException as error:
        raise translated(error, "asking the broker for its topics") from error
    return {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}


def _assert_partitions(wanted: Iterable[Topic], existing: dict[str, int]) -> None:
    wrong = [
        f"{topic.name} has {existing[topic.name]} partitions instead of {topic.partitions}"
        for topic in wanted
        if existing.get(topic.name, topic.partitions) != topic.partitions
    ]
    if wrong:
        raise Misconfigured(
            f"{'; '.join(wrong)}. Order per camera depends on the count: move the data to a new topic with the right "
            "number, never alter it"
        )


def _create(settings: Settings, admin: Any, missing: list[Topic]) -> list[str]:
    if not missing:
        return []
    # Replication is the installation's choice: without a number the broker's default.replication.factor holds.
    new = [
        NewTopic(topic.name, num_partitions=topic.partitions, config=topic_config(settings, topic)) for topic in missing
    ]
    for name, created in admin.create_topics(new, operation_timeout=ADMIN_TIMEOUT_SECONDS).items():
        try:
            created.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # someone else was quicker
                raise translated(error, f"creating topic {name}") from error
    return [f"created topic {topic.name}" for topic in missing]


def _correct(settings: Settings, admin: Any, existing: list[Topic]) -> list[str]:
    """Puts every setting that differs from the contract back."""
    if not existing:
        return []
    resources = {topic.name: ConfigResource(ResourceType.TOPIC, topic.name) for topic in existing}
    changes: list[str] = []
    alterations: list[Any] = []
    answers = {resource.name: answer for resource, answer in admin.describe_configs([*resources.values()]).items()}
    for topic in existing:
        try:
            running = answers[topic.name].result(timeout=ADMIN_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise translated(error, f"reading the settings of topic {topic.name}") from error
        wrong = {name: value for name, value in topic_config(settings, topic).items() if running[name].value != value}
        if wrong:
            changes += [f"set {topic.name} {name}={value} (was {running[name].value})" for name, value in wrong.items()]
            entries = [
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in wrong.items()
            ]
            alterations.append(ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries))
    if alterations:
        for resource, altered in admin.incremental_alter_configs(alterations).items():
            try:
                altered.result(timeout=ADMIN_TIMEOUT_SECONDS)
            except KafkaException as error:
                raise translated(error, f"changing the settings of topic {resource.name}") from error
    return changes


def translated(error: KafkaException | KafkaError, doing: str) -> PipelineError:
    """Our error for the library's, to be raised from it. `doing` says what was tried, as in "reading frames"."""
    cause: Any = error.args[0] if isinstance(error, KafkaException) else error
    code = cause.code()
    if code in _TOO_LARGE:
        return Rejected(
            f"{doing}: the record is larger than {MAX_RECORD_BYTES} bytes, the broker's limit", code="too_large"
        )
    if code in _NO_TOPIC:
        return Misconfigured(f"{doing}: the topic does not exist; `sightline up` creates the topics", store=_STORE)
    if cause.fatal():
        return Transient(
            f"{doing}: the broker lost track of this producer ({cause.name()}): start it again", store=_STORE
        )
    if code in _AWAY or cause.retriable():
        return Transient(f"{doing}: the broker is away or busy ({cause.name()})", store=_STORE)
    return Misconfigured(f"{doing}: the broker refused with {cause.name()}: {cause.str()}", store=_STORE)
