"""What a session writes last when a person gives up, with a broker in memory that keeps some acknowledgements back."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from connectors.cameras import capture as module
from connectors.cameras.capture import Capture
from connectors.cameras.images import captured_image
from contracts.errors import Misconfigured
from contracts.records import Record
from contracts.settings import CameraSettings, Settings
from tests.support.fake_kafka import FakeProducer, a_codec
from tests.support.images import jpeg
from tests.support.waiting import eventually


class SlowBroker(FakeProducer):
    """Acknowledges sessions at once, of the frames only the first three."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.left = 3

    def produce(self, topic: str, *, on_delivery: Any = None, **record: Any) -> None:
        if topic == "frames":
            self.left -= 1
            if self.left < 0:
                return
        super().produce(topic, on_delivery=on_delivery, **record)

    def sessions(self) -> list[Record]:
        return [a_codec().decode("sessions", record["value"]) for record in self.sent["sessions"]]


@pytest.fixture
def give_up() -> threading.Event:
    return threading.Event()


def an_open_session(producer: FakeProducer, give_up: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Capture:
    monkeypatch.setattr(module, "assert_topics", lambda *_, **__: None)
    settings = Settings(cameras=CameraSettings(heartbeat_seconds=3600))
    capture = Capture(settings, camera_id="c1", source="a test", give_up=give_up, producer=producer, codec=a_codec())
    capture.open()
    for _ in range(5):
        capture.submit(captured_image(jpeg(), name="a.jpg"))
    eventually(lambda: capture.snapshot().acknowledged == 3, seconds=10, every=0.01)
    return capture


def test_a_session_that_could_not_be_opened_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(FakeProducer):
        def produce(self, *_: Any, **__: Any) -> None:
            raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))

    monkeypatch.setattr(module, "assert_topics", lambda *_, **__: None)
    capture = Capture(Settings(), camera_id="refused", source="a test", producer=Refusing(), codec=a_codec())
    with pytest.raises(Misconfigured):
        capture.open()
    eventually(lambda: "pulse-refused" not in {thread.name for thread in threading.enumerate()}, seconds=5, every=0.05)


def test_what_was_acknowledged_before_a_person_gave_up_is_recorded(
    give_up: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = SlowBroker()
    capture = an_open_session(producer, give_up, monkeypatch)
    give_up.set()
    summary = capture.close()
    assert (summary.is_closed, summary.captured, summary.acknowledged) == (False, 5, 3)
    opened, last = producer.sessions()
    assert (opened["last_acknowledged"], last["last_acknowledged"]) == (-1, 2)
    assert (last["captured"], last["closed_at"]) == (5, None)


@pytest.mark.parametrize("away", [{"is_up": False}, {"_queue": 0}], ids=["broker away", "queue full"])
def test_a_broker_that_is_away_is_not_waited_for(
    away: dict[str, Any], give_up: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = SlowBroker()
    capture = an_open_session(producer, give_up, monkeypatch)
    for name, value in away.items():
        setattr(producer, name, value)
    give_up.set()
    began = time.monotonic()
    assert not capture.close().is_closed
    assert time.monotonic() - began < 5
    assert len(producer.sessions()) == 1
