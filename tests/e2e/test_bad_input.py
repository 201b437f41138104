"""Bad input has one named outcome each, and the stream goes on. The table for people is docs/bad-input.md.

files      ──► camera ──► rejected there, with a code        or    a prediction with a status
records of a foreign producer ──► a dead letter of every consumer of the topic, with one code for all of them
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
import cv2
import numpy as np
import psycopg
import pytest
import simplejpeg
from confluent_kafka import KafkaError, Producer

from connectors import dead_letters
from connectors.cameras.boards import simulate_board
from connectors.kafka import make_producer, producer_config
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.settings import Settings
from contracts.topics import ALL_TOPICS, MAX_RECORD_BYTES
from tests.support.command_line import finish, run, start, succeed
from tests.support.images import huge_png
from tests.support.records import a_frame_record, a_prediction_record, a_session_record
from tests.support.waiting import eventually

FRAMES = ("frames_to_s3", "frames_to_postgres", "stream")
PREDICTIONS = ("predictions_to_postgres",)
SESSIONS = ("sessions_to_postgres",)
SECONDS = 120

PIXELS = cv2.cvtColor(simulate_board(seed=21, index=0, size=320).image, cv2.COLOR_GRAY2BGR)
JPEG = simplejpeg.encode_jpeg(PIXELS, quality=90, colorspace="BGR")


def damaged() -> bytes:
    """Its header is sane, and in the middle of its pixels stands a marker that belongs to no image."""
    half = len(JPEG) // 2
    return JPEG[:half] + b"\xff\xc0" * 200 + JPEG[half + 400 :]


def png_of_16_bits() -> bytes:
    return cv2.imencode(".png", PIXELS.astype(np.uint16) * 257)[1].tobytes()


def cmyk() -> bytes:
    return simplejpeg.encode_jpeg(np.zeros((64, 64, 4), np.uint8), colorspace="CMYK")


def over_four_mebibytes() -> bytes:
    return JPEG + bytes(4 * 1024 * 1024)


# What the camera refuses: name and bytes of the file, code.
REJECTED: Mapping[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", "empty"),
    "text.jpg": (b"this is no picture", "not_an_image"),
    "over-the-limit.jpg": (over_four_mebibytes(), "too_large"),
}
# What the model is told about: name and bytes of the file, status of its prediction.
PREDICTED: Mapping[str, tuple[bytes, str]] = {
    "corrupt.jpg": (damaged(), "undecodable"),
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "undecodable"),
    "200-megapixels.png": (huge_png(20_000, 10_000), "too_large"),
    "cmyk.jpg": (cmyk(), "unsupported"),
    "16-bits.png": (png_of_16_bits(), "ok"),
    "sound.jpg": (JPEG, "ok"),
}


def rows(stack: Settings, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(stack.postgres.conninfo) as connection:
        return connection.execute(query, values).fetchall()


def assert_audit_closes(stack: Settings, camera: str, *, stored: int) -> None:
    outcome = run(stack, "audit", "--camera", camera, "--wait", str(SECONDS), "--json", seconds=SECONDS + 60)
    assert outcome.code == 0, outcome.out + outcome.err
    assert outcome.answer["stored"] == stored, outcome.out


@pytest.fixture(scope="module")
def a_folder_of_bad_files(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """All of them sent as one folder; the camera's summary."""
    folder = tmp_path_factory.mktemp("bad")
    for name, (data, _) in (REJECTED | PREDICTED).items():
        (folder / name).write_bytes(data)
    return "bad-files", succeed(stack, "send", folder, "--camera", "bad-files", "--json").answer


@pytest.mark.parametrize("name", REJECTED)
def test_a_file_that_is_no_frame_is_rejected_at_the_camera(a_folder_of_bad_files: tuple[str, Any], name: str) -> None:
    _, summary = a_folder_of_bad_files
    assert [reason for reason in summary["rejections"] if reason.startswith(f"{name}: ")]
    assert summary["reasons"][REJECTED[name][1]] == 1
    assert summary["rejected"] == len(REJECTED)


@pytest.mark.parametrize("name", PREDICTED)
def test_an_image_that_the_model_cannot_read_is_stored_with_a_status(
    stack: Settings, a_folder_of_bad_files: tuple[str, Any], name: str
) -> None:
    camera, _ = a_folder_of_bad_files
    assert_audit_closes(stack, camera, stored=len(PREDICTED))
    sequence = sorted(PREDICTED).index(name)  # a folder is sent in the order of its names
    found = rows(
        stack,
        "SELECT status, size_bytes, cardinality(labels) FROM predictions JOIN frames USING (frame_id)"
        " WHERE frames.camera_id = %s AND sequence = %s",
        camera,
        sequence,
    )
    data, status = PREDICTED[name]
    [(found_status, size, labels)] = found
    assert (found_status, size) == (status, len(data))
    assert labels == 0 or status == "ok"


@pytest.fixture(scope="module")
def codec(stack: Settings) -> Iterator[Codec]:
    registry = SchemaRegistry(stack.registry)
    yield Codec(registry)
    registry.close()


Given = tuple[str, bytes | str | None, bytes | None]  # topic, key, value


def frame(**changes: Any) -> Callable[[Codec], Given]:
    def made(codec: Codec) -> Given:
        record = a_frame_record(JPEG, camera_id="bad-records") | changes
        return "frames", record["camera_id"], codec.encode("frames", record)

    return made


def frame_of(captured_at: int) -> Callable[[Codec], Given]:
    def made(codec: Codec) -> Given:
        record = a_frame_record(JPEG, camera_id="bad-records", captured_at=captured_at)
        return "frames", record["camera_id"], codec.encode("frames", record)

    return made


def image_of(size: int) -> Callable[[Codec], Given]:
    def made(codec: Codec) -> Given:
        record = a_frame_record(JPEG + bytes(size - len(JPEG)), camera_id="bad-records")
        return "frames", record["camera_id"], codec.encode("frames", record)

    return made


def prediction(**changes: Any) -> Callable[[Codec], Given]:
    def made(codec: Codec) -> Given:
        record = a_prediction_record(a_frame_record(camera_id="bad-records"), **changes)
        return "predictions", record["frame_id"], codec.encode("predictions", record)

    return made


def session(**changes: Any) -> Callable[[Codec], Given]:
    def made(codec: Codec) -> Given:
        record = a_session_record(camera_id="bad-records", **changes)
        return "sessions", record["session_id"], codec.encode("sessions", record)

    return made


def session_on_frames(codec: Codec) -> Given:
    """Under the camera's key: under its own the sinks say key_mismatch, which they ask first."""
    _, _key, value = session()(codec)
    return "frames", "bad-records", value


def raw(value: bytes | None) -> Callable[[Codec], Given]:
    return lambda _codec: ("frames", "bad-records", value)


# What each consumer of the topic refuses, with one code for all of them.
DEAD_LETTERED: Mapping[str, tuple[Callable[[Codec], Given], tuple[str, ...], str]] = {
    "garbage bytes": (raw(b"garbage of a foreign producer"), FRAMES, "undecodable"),
    "an empty value": (raw(b""), FRAMES, "undecodable"),
    "a tombstone": (raw(None), FRAMES, "not_a_record"),
    "a session on frames": (session_on_frames, FRAMES, "not_a_record"),
    "an unknown schema id": (raw(b"\x00" + struct.pack(">I", 2_000_000_000) + b"whatever"), FRAMES, "unknown_schema"),
    "a NUL in an id": (frame(camera_id="bad\x00records"), FRAMES, "unstorable_text"),
    "a NUL in a session's source": (session(source="folder\x00name"), SESSIONS, "unstorable_text"),
    "an over-long camera_id": (frame(camera_id="c" * 64), FRAMES, "bad_id"),
    "an over-long model name": (prediction(model_name="m" * 129), PREDICTIONS, "bad_id"),
    "a wrong object_key": (frame(object_key="date=2026-01-01/camera=other/x.jpg"), FRAMES, "object_key_mismatch"),
    "a wrong sha256": (frame(sha256="0" * 64), FRAMES, "sha256_mismatch"),
    "a time in 1970": (frame_of(1_000), FRAMES, "captured_at_out_of_window"),
    "a time in 2100": (frame_of(4_102_444_800_000), FRAMES, "captured_at_out_of_window"),
    "an image over 4 MiB": (image_of(4 * 1024 * 1024 + 1), FRAMES, "too_large"),
    "unequal arrays": (prediction(labels=["open"]), PREDICTIONS, "unequal_arrays"),
}


@pytest.fixture(scope="module")
def origins(stack: Settings, codec: Codec) -> dict[str, tuple[str, int, int]]:
    """All of them sent, good frames between them; where each of them lies."""
    producer = make_producer(stack)
    found: dict[str, tuple[str, int, int]] = {}
    for name, (make, _, _) in DEAD_LETTERED.items():
        topic, key, value = make(codec)

        def delivered(error: Any, message: Any, name: str = name) -> None:
            assert error is None, error
            found[name] = message.topic(), message.partition(), message.offset()

        producer.produce(topic, key=key, value=value, on_delivery=delivered)
    assert producer.flush(60) == 0
    return found


@pytest.mark.parametrize("name", DEAD_LETTERED)
def test_a_bad_record_is_a_dead_letter_of_every_consumer_for_one_reason(
    stack: Settings, origins: Mapping[str, tuple[str, int, int]], name: str
) -> None:
    _, consumers, code = DEAD_LETTERED[name]
    assert set(origins) == set(DEAD_LETTERED)

    def codes() -> dict[str, str]:
        letters = [letter for letter in dead_letters.read(stack, consumers) if letter.origin == origins[name]]
        found = {letter.consumer: letter.code for letter in letters}
        assert len(letters) == len(found), "refused twice by one consumer"
        assert set(found) == set(consumers), found
        return found

    assert set(eventually(codes, seconds=SECONDS).values()) == {code}


def test_a_record_over_the_limit_is_refused_by_the_broker(stack: Settings) -> None:
    """Also one whose producer would have let it pass."""
    producer = Producer(producer_config(stack) | {"message.max.bytes": 4 * MAX_RECORD_BYTES})
    errors: list[KafkaError | None] = []
    producer.produce(
        "frames", key="bad-records", value=bytes(MAX_RECORD_BYTES + 1024), on_delivery=lambda e, _: errors.append(e)
    )
    assert producer.flush(60) == 0
    [error] = errors
    assert error is not None
    assert error.code() == KafkaError.MSG_SIZE_TOO_LARGE


@pytest.mark.parametrize("topic", [topic.name for topic in ALL_TOPICS])
def test_a_record_that_is_small_only_compressed_is_refused_by_the_broker(stack: Settings, topic: str) -> None:
    """The limit is for what consumers must hold; 16 MiB of zeros are 1 kB of zstd."""
    config = producer_config(stack) | {"message.max.bytes": 32 * MAX_RECORD_BYTES, "compression.type": "zstd"}
    producer = Producer(config)
    errors: list[KafkaError | None] = []
    producer.produce(topic, key="bad-records", value=bytes(16 * 2**20), on_delivery=lambda e, _: errors.append(e))
    assert producer.flush(60) == 0
    [error] = errors
    assert error is not None
    assert error.code() == KafkaError.MSG_SIZE_TOO_LARGE


@pytest.mark.parametrize("camera", ["bad\tid", "c" * 64, "Upper", "-first", "../up", ""])
def test_a_camera_id_that_does_not_fit_is_refused_before_anything_is_sent(stack: Settings, camera: str) -> None:
    outcome = run(stack, "send", "simulator:?size=320", "--camera", camera, "--count", "1")
    assert outcome.code == 2
    assert "--camera" in outcome.err


def test_a_second_frame_with_the_same_id_and_other_bytes_is_named_and_the_first_one_stays(
    stack: Settings, codec: Codec
) -> None:
    first = a_frame_record(JPEG, camera_id="bad-twins")
    other = cv2.imencode(".jpg", 255 - PIXELS)[1].tobytes()
    second = a_frame_record(
        other, **{name: first[name] for name in ("frame_id", "camera_id", "session_id", "captured_at")}, sequence=1
    )
    assert second["object_key"] == first["object_key"]
    producer = make_producer(stack)
    origins: list[tuple[str, int, int]] = []

    def send(record: dict[str, Any]) -> None:
        def delivered(error: Any, message: Any) -> None:
            assert error is None, error
            origins.append((message.topic(), message.partition(), message.offset()))

        producer.produce("frames", key="bad-twins", value=codec.encode("frames", record), on_delivery=delivered)
        assert producer.flush(60) == 0

    send(first)
    stored = "SELECT sha256, sequence FROM frames WHERE frame_id = %s"
    eventually(lambda: rows(stack, stored, first["frame_id"]) and image_at(stack, first["object_key"]), seconds=SECONDS)
    send(second)

    def letter() -> Any:
        found = dead_letters.read(stack, ["frames_to_s3"])
        return next((each for each in found if each.origin == origins[1]), None)

    assert eventually(letter, seconds=SECONDS).code == "object_conflict"
    conflicts = "SELECT sha256, stored_sha256 FROM frame_conflicts WHERE frame_id = %s"
    eventually(lambda: rows(stack, conflicts, first["frame_id"]), seconds=SECONDS)
    assert rows(stack, conflicts, first["frame_id"]) == [(second["sha256"], first["sha256"])]
    assert rows(stack, stored, first["frame_id"]) == [(first["sha256"], 0)]
    assert image_at(stack, first["object_key"]) == JPEG


def image_at(stack: Settings, key: str) -> bytes | None:
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


def test_two_sessions_of_one_camera_at_once_are_both_stored_and_warned_about(stack: Settings) -> None:
    camera = "bad-shared-name"
    order = ("send", "simulator:?size=320", "--camera", camera, "--fps", "5", "--count", "100", "--json")
    both = [start(stack, *order), start(stack, *order)]

    def warning() -> str | None:
        said = run(stack, "status", "--json").answer["warnings"]
        return next((text for text in said if camera in text), None)

    text = eventually(warning, seconds=60)
    assert text is not None
    assert "2 open sessions" in text
    for sending in both:
        assert finish(sending).answer["acknowledged"] == 100
    assert_audit_closes(stack, camera, stored=200)


def test_the_stream_goes_on_after_all_of_it(
    stack: Settings, a_folder_of_bad_files: tuple[str, Any], origins: Mapping[str, Any]
) -> None:
    succeed(stack, "send", "simulator:?size=320", "--camera", "bad-then-good", "--count", "20")
    assert_audit_closes(stack, "bad-then-good", stored=20)
    status = run(stack, "status", "--json").answer
    assert [row["name"] for row in status["connectors"] if row["reason"]] == []
    assert status["is_well"]
    assert all(row["restarts"] == 0 for row in status["services"] if row["name"].startswith(("stream", "connect")))
