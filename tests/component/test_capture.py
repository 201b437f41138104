"""One session against the real broker and registry."""

from __future__ import annotations

import hashlib
import threading
import time
from datetime import UTC, datetime

import pytest

from connectors.cameras.capture import Capture
from connectors.cameras.images import RejectedImage, captured_image
from connectors.kafka import make_producer
from contracts.errors import Misconfigured, Transient
from contracts.identifiers import milliseconds_of
from contracts.settings import CameraSettings, KafkaSettings, RegistrySettings, Settings
from contracts.topics import MAX_IMAGE_BYTES
from tests.support.images import jpeg
from tests.support.topic_reader import read_topic, session_of
from tests.support.waiting import eventually


def a_capture(settings: Settings, camera: str, **changes) -> Capture:
    return Capture(settings, camera_id=camera, source="a test", **changes)


def with_cameras(stack: Settings, **changes) -> Settings:
    return stack.model_copy(update={"cameras": CameraSettings(**changes)})


def an_image(shade: int = 90, size: int | None = None, **changes):
    data = jpeg(shade=shade)
    return captured_image(data if size is None else data.ljust(size, b"\0"), name="a.jpg", **changes)


def test_a_sessions_frames_are_in_order_valid_and_byte_for_byte(stack: Settings):
    capture = a_capture(stack, "component-order")
    session_id = capture.open()
    acknowledged: list[tuple[str, object]] = []
    images = [an_image(shade) for shade in range(50)]
    ids = [capture.submit(image, on_acknowledged=lambda *told: acknowledged.append(told)) for image in images]
    capture.reject(RejectedImage(name="b.txt", code="not_an_image", reason="a text"))
    summary = capture.close()

    assert (summary.captured, summary.acknowledged, summary.rejected) == (50, 50, {"not_an_image": 1})
    assert summary.is_closed
    assert summary.failure is None
    assert acknowledged == [(frame_id, None) for frame_id in ids]

    frames = read_topic(stack, "frames", session_of(session_id))
    assert [frame["frame_id"] for frame in frames] == ids
    assert [frame["sequence"] for frame in frames] == list(range(50))
    assert [frame["image"] for frame in frames] == [image.image for image in images]
    assert all(hashlib.sha256(frame["image"]).hexdigest() == frame["sha256"] for frame in frames)
    assert len({frame["traceparent"] for frame in frames}) == 50

    opened, *_, closed = read_topic(stack, "sessions", session_of(session_id))
    assert (opened["last_acknowledged"], opened["captured"], opened["closed_at"]) == (-1, 0, None)
    assert (closed["last_acknowledged"], closed["captured"], closed["rejected"]) == (49, 50, 1)
    assert closed["closed_at"] is not None


def test_the_session_is_alive_while_its_source_is_silent(stack: Settings):
    capture = a_capture(with_cameras(stack, heartbeat_seconds=0.2), "component-heartbeat")
    session_id = capture.open()
    capture.submit(an_image())
    time.sleep(1.5)
    capture.close()
    records = read_topic(stack, "sessions", session_of(session_id))
    assert 5 <= len(records) <= 10
    assert [record["closed_at"] is None for record in records] == [True] * (len(records) - 1) + [False]
    assert records[-2]["last_acknowledged"] == 0
    times = [record["updated_at"] for record in records]
    assert times == sorted(times)


def test_the_session_is_on_its_topic_before_its_first_frame(stack: Settings):
    capture = a_capture(stack, "component-before")
    session_id = capture.open()
    assert len(read_topic(stack, "sessions", session_of(session_id))) >= 1
    assert read_topic(stack, "frames", session_of(session_id)) == []
    capture.close()


def test_many_threads_submit_without_gap_or_double(stack: Settings):
    capture = a_capture(stack, "component-threads")
    session_id = capture.open()

    def submit() -> None:
        for _ in range(50):
            capture.submit(an_image())

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capture.close().acknowledged == 400
    frames = read_topic(stack, "frames", session_of(session_id))
    assert [frame["sequence"] for frame in frames] == list(range(400))
    assert len({frame["frame_id"] for frame in frames}) == 400


def test_a_full_queue_makes_the_camera_wait_and_loses_nothing(stack: Settings):
    capture = a_capture(with_cameras(stack, queued_megabytes=8), "component-queue")
    session_id = capture.open()
    for shade in range(24):
        capture.submit(an_image(shade, size=MAX_IMAGE_BYTES))  # 96 MiB through a queue of 8
    summary = capture.close()
    assert (summary.acknowledged, summary.is_closed) == (24, True)
    frames = read_topic(stack, "frames", session_of(session_id))
    assert [frame["size_bytes"] for frame in frames] == [MAX_IMAGE_BYTES] * 24


def test_two_sessions_of_one_camera_are_both_stored(stack: Settings):
    first, second = a_capture(stack, "component-twice"), a_capture(stack, "component-twice")
    sessions = [first.open(), second.open()]
    for capture in (first, second, first):
        capture.submit(an_image())
    assert [first.close().acknowledged, second.close().acknowledged] == [2, 1]
    assert [len(read_topic(stack, "frames", session_of(session))) for session in sessions] == [2, 1]


def test_sessions_may_share_a_producer(stack: Settings):
    producer = make_producer(stack)
    captures = [a_capture(stack, f"component-shared-{number}", producer=producer) for number in range(2)]
    for capture in captures:
        capture.open()
    for _ in range(20):
        for capture in captures:
            capture.submit(an_image())
    assert [capture.close().acknowledged for capture in captures] == [20, 20]


def test_a_live_frame_keeps_the_time_at_which_it_was_captured(stack: Settings):
    capture = a_capture(stack, "component-live")
    session_id = capture.open()
    captured_at = datetime.now(UTC)
    time.sleep(0.2)
    frame_id = capture.submit(an_image(captured_at=captured_at))
    capture.close()
    [frame] = read_topic(stack, "frames", session_of(session_id))
    assert frame["captured_at"] == int(captured_at.timestamp() * 1000) == milliseconds_of(frame_id)


def test_a_callers_mistake_does_not_end_the_session(stack: Settings):
    def fail(_frame_id: str, _error: object) -> None:
        raise ZeroDivisionError

    capture = a_capture(stack, "component-callback")
    capture.open()
    for _ in range(3):
        capture.submit(an_image(), on_acknowledged=fail)
    assert capture.close().acknowledged == 3


@pytest.mark.parametrize(
    "away",
    [
        {"kafka": KafkaSettings(bootstrap_servers="127.0.0.1:1")},
        {"registry": RegistrySettings(url="http://127.0.0.1:1")},
    ],
    ids=["broker", "registry"],
)
def test_what_is_away_at_the_start_is_waited_for_until_a_stop(stack: Settings, away):
    stop = threading.Event()
    capture = a_capture(stack.model_copy(update=away), "component-away", stop=stop)
    outcome: list[Exception] = []

    def open_it() -> None:
        try:
            capture.open()
        except Transient as error:
            outcome.append(error)

    thread = threading.Thread(target=open_it)
    thread.start()
    waiting = "the broker" if "kafka" in away else "the schema registry"
    eventually(lambda: capture.snapshot().waiting_for == f"waiting for {waiting}", seconds=15)
    stop.set()
    thread.join(timeout=15)
    assert [str(error) for error in outcome] == ["stopped before the session was open: nothing was captured"]


def test_a_camera_id_is_checked_before_anything_is_sent(stack: Settings):
    from contracts.errors import Rejected

    with pytest.raises(Rejected, match=r"line-3\.top"):
        a_capture(stack, "Line 3")


def test_a_record_that_the_broker_refuses_for_good_ends_the_session_and_is_named(stack: Settings):
    # The client refuses it as the broker would: its limit is set lower than the contract's.
    producer = make_producer(stack, **{"message.max.bytes": 100_000})
    capture = a_capture(stack, "component-refused", producer=producer)
    capture.open()
    capture.submit(an_image())
    with pytest.raises(Exception, match="larger than") as caught:
        capture.submit(an_image(size=200_000))
    assert not isinstance(caught.value, Misconfigured)
    summary = capture.close()
    assert (summary.captured, summary.acknowledged, summary.is_closed) == (1, 1, True)
