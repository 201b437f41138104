"""Refused records on the real stack: named with reason and origin, replayed once good, stored once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest

from connectors import dead_letters
from connectors.dead_letters import DeadLetter
from connectors.kafka import make_consumer, make_producer
from connectors.replay import load_edit, replay
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.errors import Rejected
from contracts.settings import Settings
from contracts.topics import HEADER_EXCEPTION, HEADER_STAGE
from tests.support.command_line import run, succeed
from tests.support.records import a_frame_record, a_prediction_record
from tests.support.waiting import eventually

Origin = tuple[str, int, int]
FRAME_SINKS = ("frames_to_s3", "frames_to_postgres")


@pytest.fixture(scope="module")
def codec(stack: Settings) -> Iterator[Codec]:
    registry = SchemaRegistry(stack.registry)
    yield Codec(registry)
    registry.close()


@pytest.fixture(scope="module")
def send(stack: Settings) -> Callable[..., Origin]:
    producer = make_producer(stack)

    def sent(topic: str, key: str | bytes | None, value: bytes) -> Origin:
        acknowledged: list[Any] = []
        producer.produce(
            topic, value=value, key=key, on_delivery=lambda error, message: acknowledged.append((error, message))
        )
        producer.flush(30)
        [(error, message)] = acknowledged
        assert error is None, error
        return message.topic(), message.partition(), message.offset()

    return sent


def letter_of(stack: Settings, consumer: str, origin: Origin) -> DeadLetter:
    """Waits for the dead letter of a record."""
    return eventually(
        lambda: next((letter for letter in dead_letters.read(stack, [consumer]) if letter.origin == origin), None)
    )


def rows(stack: Settings, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(stack.postgres.conninfo) as connection:
        return connection.execute(query, values).fetchall()


def stored_rows(stack: Settings, frame_id: str) -> int:
    return rows(stack, "SELECT count(*) FROM frames WHERE frame_id = %s", frame_id)[0][0]


def stored_image(stack: Settings, key: str) -> bytes | None:
    client = boto3.client(
        "s3",
        endpoint_url=stack.s3.endpoint_url,
        region_name=stack.s3.region,
        aws_access_key_id=stack.s3.access_key,
        aws_secret_access_key=stack.s3.secret_key.get_secret_value(),
    )
    try:
        return client.get_object(Bucket=stack.s3.frames_bucket, Key=key)["Body"].read()
    except client.exceptions.NoSuchKey:
        return None
    finally:
        client.close()


def test_every_sink_names_a_bad_frame_by_reason_and_origin(
    stack: Settings, codec: Codec, send: Callable[..., Origin]
) -> None:
    frame = a_frame_record(camera_id="letters-digest", sha256="0" * 64)
    origin = send("frames", "letters-digest", codec.encode("frames", frame))
    for sink in FRAME_SINKS:
        letter = letter_of(stack, sink, origin)
        assert (letter.consumer, letter.code, letter.key) == (sink, "sha256_mismatch", b"letters-digest")
        assert (letter.stage, letter.replayed_from) == ("TRANSFORMATION", None)
        assert letter.exception == "sightline.connect.Violation"
        assert codec.decode("frames", letter.payload) == frame
        assert abs(letter.refused_at.timestamp() - time.time()) < 600
        assert dead_letters.find(stack, letter.id) == letter
    assert stored_rows(stack, frame["frame_id"]) == 0
    assert stored_image(stack, frame["object_key"]) is None


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"garbage of a foreign producer", "undecodable"),
        (b"\x00\x7f\xff\xff\xf0 of a registry elsewhere", "unknown_schema"),
        (b"", "undecodable"),
    ],
)
def test_what_cannot_be_decoded_is_named_with_its_bytes(
    stack: Settings, send: Callable[..., Origin], value: bytes, code: str
) -> None:
    origin = send("frames", "letters-garbage", value)
    for sink in FRAME_SINKS:
        letter = letter_of(stack, sink, origin)
        assert (letter.code, letter.payload) == (code, value)


def test_a_record_of_the_largest_size_is_not_lost_on_its_way_to_the_dead_letters(
    stack: Settings, send: Callable[..., Origin]
) -> None:
    origin = send("frames", "letters-large", b"\x01" * (5 * 1024 * 1024 - 200))
    for sink in FRAME_SINKS:
        assert letter_of(stack, sink, origin).code == "undecodable"


def test_a_bad_prediction_does_not_stop_the_good_ones(
    stack: Settings, codec: Codec, send: Callable[..., Origin]
) -> None:
    bad, good = (a_frame_record(camera_id="letters-prediction") for _ in range(2))
    origin = send(
        "predictions", bad["frame_id"], codec.encode("predictions", a_prediction_record(bad, labels=["open"]))
    )
    send("predictions", good["frame_id"], codec.encode("predictions", a_prediction_record(good)))
    assert letter_of(stack, "predictions_to_postgres", origin).code == "unequal_arrays"
    query = "SELECT labels, confidences, boxes, latency_ms FROM predictions WHERE frame_id = %s"
    [stored] = eventually(lambda: rows(stack, query, good["frame_id"]))
    assert stored == (["open", "short"], pytest.approx([0.9, 0.5]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 40.0)
    assert rows(stack, query, bad["frame_id"]) == []


def test_what_would_be_refused_again_is_not_replayed(
    stack: Settings, codec: Codec, send: Callable[..., Origin]
) -> None:
    frame = a_frame_record(camera_id="letters-again", sha256="0" * 64)
    letter = letter_of(stack, "frames_to_s3", send("frames", "letters-again", codec.encode("frames", frame)))
    garbage = letter_of(stack, "frames_to_s3", send("frames", "letters-again", b"still garbage"))
    before = dead_letters.counts(stack)["frames_to_s3"]
    outcomes = replay(stack, [letter, garbage])
    assert [outcome.is_replayed for outcome in outcomes] == [False, False]
    assert "sha256_mismatch" in outcomes[0].reason
    assert "first byte" in outcomes[1].reason
    assert dead_letters.counts(stack)["frames_to_s3"] == before


def test_an_edited_record_ends_as_object_and_row_and_replaying_it_twice_changes_nothing(
    stack: Settings, codec: Codec, send: Callable[..., Origin], tmp_path: Path
) -> None:
    image = b"\xff\xd8 the right picture \xff\xd9"
    frame = a_frame_record(camera_id="letters-edited", sha256="0" * 64)
    origin = send("frames", "letters-edited", codec.encode("frames", frame))
    letters = [letter_of(stack, sink, origin) for sink in FRAME_SINKS]
    (tmp_path / "right.jpg").write_bytes(image)
    (tmp_path / "edit.json").write_text(json.dumps({"width": 320, "image": "right.jpg"}))
    edit = load_edit(tmp_path / "edit.json")

    first, second = replay(stack, letters, edit=edit)
    assert (first.is_replayed, second.is_replayed, first.topic) == (True, True, "frames")
    assert (first.partition, first.offset) == (second.partition, second.offset), "one record, sent once"

    def is_stored() -> bool:
        return stored_rows(stack, frame["frame_id"]) == 1 and stored_image(stack, frame["object_key"]) == image

    eventually(is_stored)
    query = "SELECT width, sha256, size_bytes, kafka_partition, kafka_offset FROM frames WHERE frame_id = %s"
    [row] = rows(stack, query, frame["frame_id"])
    assert row == (320, hashlib.sha256(image).hexdigest(), len(image), first.partition, first.offset)

    [again] = replay(stack, letters[:1], edit=edit)
    assert again.offset is not None
    eventually(lambda: committed(stack, "frames_to_postgres", "frames", again.partition) > again.offset)
    assert rows(stack, query, frame["frame_id"]) == [row]
    assert rows(stack, "SELECT 1 FROM frame_conflicts WHERE frame_id = %s", frame["frame_id"]) == []
    assert is_stored()


def committed(stack: Settings, connector: str, topic: str, partition: int | None) -> int:
    from confluent_kafka import TopicPartition

    consumer = make_consumer(stack, f"connect-{connector}")
    try:
        [found] = consumer.committed([TopicPartition(topic, partition)], timeout=10)
        return int(found.offset)
    finally:
        consumer.close()


def test_a_record_is_replayed_as_it_is_once_the_cause_is_gone(
    stack: Settings, codec: Codec, send: Callable[..., Origin]
) -> None:
    """The record came with the wrong key; another producer's record is good, and only its letter was written."""
    frame = a_frame_record(camera_id="letters-cause-gone")
    value = codec.encode("frames", frame)
    producer = make_producer(stack)
    consumed = Consumed(topic="frames", partition=0, offset=1, key=b"letters-cause-gone", value=value)
    dead_letters.write(producer, "stream", consumed, "unknown_schema: the registry had no schema then")
    producer.flush(30)
    letter = eventually(
        lambda: next((found for found in dead_letters.read(stack, ["stream"]) if found.payload == value), None)
    )
    assert (letter.code, letter.origin, letter.key) == ("unknown_schema", ("frames", 0, 1), b"letters-cause-gone")
    headers = dict(letter.headers)
    assert headers[HEADER_STAGE] == b"VALIDATION"
    assert headers[HEADER_EXCEPTION] == b"contracts.errors.Rejected"
    assert headers["kept"] == b"as it came"

    [outcome] = replay(stack, [letter])
    assert outcome.is_replayed, outcome.reason
    eventually(lambda: stored_rows(stack, frame["frame_id"]) == 1)
    eventually(lambda: stored_image(stack, frame["object_key"]) == frame["image"])


class Consumed:
    """A message as a consumer gets it."""

    def __init__(self, *, topic: str, partition: int, offset: int, key: bytes, value: bytes) -> None:
        self.topic, self.partition, self.offset = (lambda: topic), (lambda: partition), (lambda: offset)
        self.key, self.value = (lambda: key), (lambda: value)
        self.headers = lambda: [("kept", b"as it came"), ("__connect.errors.topic", b"of an earlier refusal")]


def test_a_value_too_large_to_park_is_found_again_at_its_origin(
    stack: Settings, codec: Codec, send: Callable[..., Origin]
) -> None:
    frame = a_frame_record(b"\xff\xd8" + b"x" * 5000, camera_id="letters-omitted")
    value = codec.encode("frames", frame)
    topic, partition, offset = send("frames", "letters-omitted", value)
    small = make_producer(stack, **{"message.max.bytes": 4000})
    consumed = Consumed(topic=topic, partition=partition, offset=offset, key=b"letters-omitted", value=value)
    dead_letters.write(small, "stream", consumed, "undecodable: as if")
    small.flush(30)
    letter = letter_of(stack, "stream", (topic, partition, offset))
    assert letter.payload is None
    [outcome] = replay(stack, [letter])
    assert outcome.is_replayed, outcome.reason


@pytest.mark.parametrize("letter_id", ["frames_to_s3:99999999", "nobody:1", "frames_to_s3", "frames_to_s3:-1", ""])
def test_an_unknown_id_is_refused_with_what_there_is(stack: Settings, letter_id: str) -> None:
    with pytest.raises(Rejected) as refused:
        dead_letters.find(stack, letter_id)
    assert refused.value.code == "unknown_dead_letter"


def test_a_frame_of_1970_and_one_of_2100_are_refused_with_their_time(
    stack: Settings, codec: Codec, send: Callable[..., Origin]
) -> None:
    for captured_at in (1000, 4_102_444_800_000):
        frame = a_frame_record(camera_id="letters-times", captured_at=captured_at)
        origin = send("frames", "letters-times", codec.encode("frames", frame))
        assert letter_of(stack, "frames_to_postgres", origin).code == "captured_at_out_of_window"


def test_the_command_line_lists_shows_edits_and_replays(
    stack: Settings, codec: Codec, send: Callable[..., Origin], tmp_path: Path
) -> None:
    frame = a_frame_record(camera_id="letters-cli", width=0)
    origin = send("frames", "letters-cli", codec.encode("frames", frame))
    letter = letter_of(stack, "frames_to_s3", origin)

    listed = succeed(stack, "dead-letters", "list", "--consumer", "frames_to_s3", "--reason", "bad_number", "--json")
    entry = next(entry for entry in listed.answer["dead_letters"] if entry["id"] == letter.id)
    assert entry["origin"] == dict(zip(("topic", "partition", "offset"), origin, strict=True))
    assert listed.answer["counts"]["frames_to_s3"] >= 1
    assert letter.id in succeed(stack, "dead-letters", "list", "--limit", "0").out

    shown = succeed(stack, "dead-letters", "show", letter.id, "--json").answer
    assert shown["record"] == {name: value for name, value in frame.items() if name != "image"}
    assert shown["image"] == {"size_bytes": frame["size_bytes"], "sha256": frame["sha256"]}
    assert frame["sha256"] in succeed(stack, "dead-letters", "show", letter.id).out

    refused = run(stack, "dead-letters", "replay", letter.id, "--json")
    assert (refused.code, refused.answer["outcomes"][0]["is_replayed"]) == (1, False)
    (tmp_path / "edit.json").write_text(json.dumps(shown["record"] | {"width": 64}))
    replayed = succeed(stack, "dead-letters", "replay", letter.id, "--edit", tmp_path / "edit.json")
    assert f"{letter.id}: replayed to frames/" in replayed.out
    eventually(lambda: stored_rows(stack, frame["frame_id"]) == 1)
    eventually(lambda: stored_image(stack, frame["object_key"]) == frame["image"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["replay"], 2),
        (["replay", "frames_to_s3:0", "--all"], 2),
        (["replay", "--all", "--edit", "x.json"], 2),
        (["list", "--consumer", "nobody"], 2),
        (["show", "nobody:0"], 65),
    ],
)
def test_wrong_usage_is_told(stack: Settings, arguments: list[str], code: int) -> None:
    assert run(stack, "dead-letters", *arguments).code == code
